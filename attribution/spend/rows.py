"""One record of a report as a fact of its own: cells read by their column, names filled from histories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from attribution.errors import Rejected
from attribution.money import currency_of
from attribution.spend import cells
from attribution.spend.fact import Level, SpendFact
from attribution.spend.formats import Bound
from attribution.spend.histories import Histories
from attribution.spend.sheet import BadCell, Record, Sheet

_READ: dict[str, Callable[[str], Any]] = {
    "text": str.strip,
    "id": cells.parse_id,
    "network": cells.parse_network,
    "zone": lambda text: cells.zone_of(text.strip()).key,
    "currency": lambda text: currency_of(text).code,
    "day": cells.parse_day,
    "us_day": cells.parse_us_day,
    "hour": cells.parse_day_of_hour,
    "micros": cells.parse_micros,
    "decimal": cells.parse_millionths,
    "count": cells.parse_count,
    "instant": cells.parse_instant,
    "slashed_day": lambda text: cells.parse_day(text.strip().replace("/", "-")),
    "instant_day": cells.parse_day_of_instant,
    "standing": cells.parse_standing,
}
READINGS = frozenset((*_READ, "midnight"))
"""How a column of ``spend_columns.tsv`` can be read; ``midnight`` needs the account's zone."""
_TEXTS = frozenset(
    (
        *("account_id", "campaign_id", "campaign", "ad_group_id", "ad_group", "ad_id", "ad"),
        *("currency", "bid_strategy", "time_zone"),
    )
)
_SIGNLESS = frozenset(("platform_conversions", "bid"))


class Assumed(msgspec.Struct, frozen=True):
    """What the person who imports knows and the report does not say. A report's own word goes first."""

    currency: str = ""
    time_zone: str = ""
    account_id: str = ""


_NOTHING = Assumed()


class Row(msgspec.Struct, frozen=True):
    """A record that could be read."""

    line: int
    fact: SpendFact
    segments: tuple[str, ...]
    """Cells that tell it from other rows of the same key."""
    is_rounded: bool
    stands: bool = True
    """False: a commission that was declined. It costs nothing, and takes the place of what it was before."""


class RowReader:
    """Reads the records of one sheet; ``empty`` counts cells without a figure in columns that the file has."""

    def __init__(self, sheet: Sheet, histories: Histories, assumed: Mapping[str, Assumed]) -> None:
        """``assumed`` is by ad network, "" for all others. Raises ``Rejected`` for an unknown currency or time zone."""
        for one in assumed.values():
            if one.currency:
                currency_of(one.currency)
            if one.time_zone:
                cells.zone_of(one.time_zone)
        self.empty: Counter[str] = Counter()
        self._sheet = sheet
        self._layout = sheet.layout
        self._histories = histories
        self._assumed = assumed

    def values(self, record: Record) -> dict[str, Any] | list[BadCell]:
        """Field by field what the record says, without empty cells; or what is wrong with it."""
        if len(record.cells) != self._layout.width:
            size = f"{len(record.cells)} cells, but {self._layout.width} columns"
            remedy = f"{size}: quote cells that hold the delimiter."
            return [self._bad(record, "", "", "malformed_line", remedy)]
        values: dict[str, Any] = {}
        bad: list[BadCell] = []
        for bound in self._layout.bound:
            for header, index in zip(bound.headers, bound.indexes, strict=True):
                text = record.cells[index]
                if cells.is_empty(text):
                    self.empty[bound.field] += bound.reading in ("count", "decimal", "micros")
                    continue
                try:
                    value = self._read(bound, text)
                except Rejected as rejected:
                    bad.append(self._bad(record, header, text, rejected.reason, rejected.message))
                    continue
                values[bound.field] = self._sum(values.get(bound.field), value)
        return bad or values

    def row(self, record: Record) -> Row | list[BadCell]:
        """The record as a fact of its own."""
        values = self.values(record)
        if isinstance(values, list):
            return values
        bad = [
            self._bad(
                record,
                self.header_of(field),
                "",
                "empty_cell",
                "This cell may not be empty; a cost of nothing is 0.",
            )
            for field in ("day", "cost")
            if field not in values
        ]
        if "period_end" in values and values["period_end"] != values.get("day"):
            remedy = "This row is the sum of several days: export again with a breakdown by day."
            text = str(values["period_end"])
            bad.append(self._bad(record, self.header_of("period_end"), text, "not_one_day", remedy))
        if bad:
            return bad
        day: date = values["day"]
        texts = {field: str(value) for field, value in values.items() if field in _TEXTS}
        network = str(values.get("ad_network") or self._layout.format.ad_network)
        texts["currency"] = texts.get("currency") or self._layout.currency
        texts["time_zone"] = texts.get("time_zone") or self._layout.format.time_zone
        assumed = self._assumed_of(network)
        texts["account_id"] = texts.get("account_id") or assumed.account_id
        if network == "google_ads":
            texts["account_id"] = texts["account_id"].replace("-", "")  # exports write 123-456-7890
        self._histories.fill(network, day, texts)
        texts["currency"] = texts["currency"] or assumed.currency
        texts["time_zone"] = texts["time_zone"] or assumed.time_zone
        bad = self._check(record, network, texts, self._level(texts))
        if bad:
            return bad
        texts["currency"] = currency_of(texts["currency"]).code
        stands = bool(values.get("stands", True))
        if not stands:
            values |= dict.fromkeys(values.keys() & {"cost", "platform_value"}, cells.Amount(0))
        fact = SpendFact(
            day=day,
            ad_network=network,
            level=self._level(texts),
            cost=int(values["cost"]),
            impressions=values.get("impressions", 0),
            reach=values.get("reach"),
            clicks=values.get("clicks", 0),
            views=values.get("views", 0),
            installs=values.get("installs", 0),
            platform_conversions=_whole(values.get("platform_conversions")),
            platform_value=_whole(values.get("platform_value")),
            bid=_whole(values.get("bid")),
            as_of=values.get("as_of", self._sheet.file.imported_at),
            imported_at=self._sheet.file.imported_at,
            **texts,
        )
        segments = tuple(record.cells[index].strip() for index in self._layout.segments)
        return Row(record.line, fact, segments, bool(getattr(values["cost"], "is_rounded", False)), stands)

    def header_of(self, field: str) -> str:
        """The header of a field as the file writes it; the field's name if the file has no such column."""
        return next((bound.headers[0] for bound in self._layout.bound if bound.field == field), field)

    def _assumed_of(self, network: str) -> Assumed:
        return self._assumed.get(network) or self._assumed.get("", _NOTHING)

    def _level(self, texts: Mapping[str, str]) -> Level:
        if self._layout.format.kind != "plain":
            return self._layout.level
        for level in (Level.ad, Level.ad_group, Level.campaign):
            if texts.get(f"{level}_id") or texts.get(level):
                return level
        return Level.account

    def _check(self, record: Record, network: str, texts: Mapping[str, str], level: Level) -> list[BadCell]:
        if not network:
            return [
                self._bad(record, "ad_network", "", "empty_cell", "Name the network, such as google_ads.")
            ]
        if level is not Level.account and not (texts.get("campaign_id") or texts.get("campaign")):
            finest = f"{level}_id"
            remedy = (
                "Nothing tells the campaign of this id, so it could be counted twice: import the history of ids in "
                "the same command, or a report by campaign."
            )
            return [
                self._bad(record, self.header_of(finest), texts.get(finest, ""), "campaign_unknown", remedy)
            ]
        if not texts["currency"]:
            remedy = (
                "The report does not say its currency: give it (--currency USD), or the history of accounts."
            )
            return [self._bad(record, "currency", "", "currency_unknown", remedy)]
        return []

    def _read(self, bound: Bound, text: str) -> Any:
        if bound.reading == "midnight":
            return cells.parse_midnight(text, self._assumed_of(self._layout.format.ad_network).time_zone)
        value = _READ[bound.reading](text)
        if bound.field in _SIGNLESS and value < 0:
            raise Rejected("bad_number", "This number is zero or more.")
        return value

    def _sum(self, before: Any, value: Any) -> Any:
        if before is None or isinstance(value, str | date | datetime | bool):
            return value
        if isinstance(value, cells.Amount):
            return cells.Amount(before + value, value.is_rounded or before.is_rounded)
        return before + value

    def _bad(self, record: Record, column: str, value: str, reason: str, remedy: str) -> BadCell:
        return BadCell(self._sheet.file.name, record.line, column, value.strip()[:100], reason, remedy)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
