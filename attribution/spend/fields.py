"""A fact of spend by name, as JSON carries it: the columns of the plain CSV, read by the same rules, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from attribution.errors import Rejected
from attribution.spend.cells import is_empty
from attribution.spend.fact import MICROS, SpendFact
from attribution.spend.formats import FORMATS, Bound, Layout
from attribution.spend.histories import Histories
from attribution.spend.rows import RowReader
from attribution.spend.sheet import Record, ReportFile, Sheet

MAX_TEXT = 1024
"""Characters of one field."""
REQUIRED = {
    "day": "Send the account's day, such as 2026-10-01.",
    "ad_network": "Send the network, such as google_ads.",
    "cost": "Send the cost in major units, such as 1234.50; a cost of nothing is 0.",
    "currency": "Send the currency, an ISO 4217 code; none is guessed.",
}
"""Fields that no fact can do without, and what to do about it."""
_NO_CAMPAIGN = "Send campaign_id or campaign with it, or the same money could be counted twice."
_MAX_EXPONENT = 30
# A platform may have its own word for a time zone, and whatever was read from a report can be said here.
_LAYOUT = Layout(
    FORMATS["plain"],
    len(FORMATS["plain"].columns),
    tuple(
        Bound(
            column.field, "text" if column.field == "time_zone" else column.reading, (column.field,), (index,)
        )
        for index, column in enumerate(FORMATS["plain"].columns)
    ),
    (),
    "",
)
NAMES: tuple[str, ...] = tuple(bound.field for bound in _LAYOUT.bound)
"""Every field that is read; others are not looked at."""
_COUNTS = ("impressions", "clicks", "views", "installs")
_TEXTS = (
    *("ad_network", "account_id", "campaign_id", "campaign", "ad_group_id", "ad_group", "ad_id", "ad"),
    *("currency", "bid_strategy", "time_zone"),
)
_MILLIONTHS = ("platform_conversions", "platform_value", "bid")


class FieldReader:
    """Reads the facts of one import."""

    def __init__(self, imported_at: datetime) -> None:
        """``imported_at`` (UTC) is how new figures are that do not say it (``as_of``)."""
        self._rows = RowReader(Sheet(ReportFile("", b"", imported_at), _LAYOUT, ()), Histories(), {})

    def fact_of(self, fields: Mapping[str, Any]) -> SpendFact:
        """The fact that decoded JSON says; numbers as ``int`` or ``Decimal``, never as binary fractions.

        Raises ``Rejected`` that names the field: reasons of ``attribution.spend.cells`` and of money, and
        ``missing_field``, ``wrong_type``, ``too_long``, ``campaign_unknown``.
        """
        texts = tuple(_text(name, fields.get(name)) for name in NAMES)
        for name, remedy in REQUIRED.items():
            if is_empty(texts[NAMES.index(name)]):
                raise Rejected("missing_field", remedy, name)
        row = self._rows.row(Record(0, texts))
        if isinstance(row, list):
            first = row[0]
            is_lost = first.reason == "campaign_unknown"
            raise Rejected(first.reason, _NO_CAMPAIGN if is_lost else first.remedy, first.column)
        return row.fact


def fields_of(fact: SpendFact) -> dict[str, str | int]:
    """What ``FieldReader`` reads as ``fact`` (but for ``imported_at``); fields that say nothing are left out."""
    fields: dict[str, str | int] = {"day": fact.day.isoformat(), "cost": _decimal(fact.cost)}
    fields |= {name: text for name in _TEXTS if (text := getattr(fact, name))}
    fields |= {name: count for name in _COUNTS if (count := getattr(fact, name))}
    if fact.reach is not None:
        fields["reach"] = fact.reach
    fields |= {
        name: _decimal(millionths) for name in _MILLIONTHS if (millionths := getattr(fact, name)) is not None
    }
    fields["as_of"] = fact.as_of.isoformat()
    return fields


def _text(name: str, value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            text = value
        case bool():
            raise Rejected("wrong_type", "Send a text or a number.", name)
        case int():
            if abs(value) >= 10**_MAX_EXPONENT:
                raise Rejected("out_of_range", "Send a number as people write it.", name)
            text = str(value)
        case Decimal():
            exponent = value.as_tuple().exponent
            if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
                raise Rejected("out_of_range", "Send a number as people write it.", name)
            text = format(value, "f")
        case _:
            raise Rejected("wrong_type", "Send a text or a number.", name)
    if len(text) > MAX_TEXT:
        raise Rejected("too_long", f"At most {MAX_TEXT} characters.", name)
    return text


def _decimal(millionths: int) -> str:
    whole, rest = divmod(abs(millionths), MICROS)
    decimals = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if millionths < 0 else ''}{whole}{decimals}"
