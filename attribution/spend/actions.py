"""Meta's actions: conversions and their values in reports beside the one with the spend, one row an action type."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import Any, Protocol

import msgspec

from attribution.spend.fact import SpendFact
from attribution.spend.histories import Histories
from attribution.spend.rows import RowReader
from attribution.spend.sheet import BadCell, Sheet

COUNTED = frozenset(
    (
        "offsite_conversion.fb_pixel_purchase",
        "offsite_conversion.fb_pixel_lead",
        "offsite_conversion.fb_pixel_complete_registration",
    )
)
"""Action types that are conversions. Meta's types contain each other (``lead`` is the pixel's and the form's leads,
``purchase`` and ``omni_purchase`` the pixel's again), so only those of the pixel are added up."""


class Account(Protocol):
    """The part of a file's reading that is written here."""

    records: int
    used: int
    bad: int
    dropped: Counter[str]
    bad_cells: list[BadCell]


_Action = tuple[str, str, str, date, str]
"""(field, network, ad id, day, action type)."""
_Version = tuple[datetime, int, Account]
"""(as of, figure, the account of its file)."""


class Actions:
    """Conversions by ad and day, to be added to the facts of the spend report."""

    def __init__(self) -> None:
        self._newest: dict[_Action, _Version] = {}
        self._by_ad: dict[tuple[str, str, date], dict[str, tuple[int, datetime]]] = {}
        self._taken: set[tuple[str, str, date]] = set()

    def read(self, account: Account, sheet: Sheet) -> None:
        """Read one file of actions or of their values."""
        reader = RowReader(sheet, Histories(), {})
        network = sheet.layout.format.ad_network
        told = "platform_value" if sheet.layout.has("platform_value") else "platform_conversions"
        # Both tables can have the same columns; then only the name of the connector's table tells them apart.
        name = "platform_value" if "action_values" in sheet.file.name.casefold() else told
        for record in sheet.records:
            account.records += 1
            values = reader.values(record)
            missing = [
                BadCell(
                    sheet.file.name,
                    record.line,
                    reader.header_of(field),
                    "",
                    "empty_cell",
                    "May not be empty.",
                )
                for field in ("day", "ad_id", "action_type", told)
                if isinstance(values, dict) and field not in values
            ]
            if isinstance(values, list) or missing:
                account.bad += 1
                account.bad_cells.extend(values if isinstance(values, list) else missing)
                continue
            if values["action_type"] not in COUNTED:
                account.dropped["other_action"] += 1
                continue
            thing = name, network, values["ad_id"], values["day"], values["action_type"]
            self._note(thing, (values.get("as_of", sheet.file.imported_at), int(values[told]), account))

    def added_to(self, fact: SpendFact) -> SpendFact:
        """The fact with the conversions of its ad and day."""
        if not self._newest:
            return fact
        if not self._by_ad:
            self._sum_up()
        thing = fact.ad_network, fact.ad_id, fact.day
        sums = self._by_ad.get(thing)
        if sums is None:
            return fact
        self._taken.add(thing)
        figures: dict[str, Any] = {field: figure for field, (figure, _as_of) in sums.items()}
        newest = max(as_of for _figure, as_of in sums.values())
        return msgspec.structs.replace(fact, **figures, as_of=max(fact.as_of, newest))

    def settle(self) -> None:
        """Count every action as used, or as one of an ad and day of which no spend was given."""
        for (_field, network, ad_id, day, _type), (_as_of, _figure, account) in self._newest.items():
            if (network, ad_id, day) in self._taken:
                account.used += 1
            else:
                account.dropped["action_without_spend"] += 1

    def _note(self, thing: _Action, found: _Version) -> None:
        other = self._newest.get(thing)
        if other is None:
            self._newest[thing] = found
            return
        # Of one instant the greater, so that the order of rows does not matter.
        older = min(other, found, key=lambda version: version[:2])
        self._newest[thing] = found if older is other else other
        older[2].dropped["repeated" if other[:2] == found[:2] else "superseded"] += 1

    def _sum_up(self) -> None:
        for (field, network, ad_id, day, _type), (as_of, figure, _account) in self._newest.items():
            sums = self._by_ad.setdefault((network, ad_id, day), {})
            before, newest = sums.get(field, (0, as_of))
            sums[field] = before + figure, max(newest, as_of)
