"""What the self-audit asks ClickHouse: one slice at a time, so that its cost does not grow with the tables.

Slices are hours of event time, ranges of conversion ids, single models, and offset ranges. Every method blocks and
raises ``Transient`` or ``Misconfigured``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client

from attribution.spend.kept import Labels
from sinks.checks import (
    ALL_HOURS,
    ALL_IDS,
    Check,
    Hours,
    Ids,
    ask,
    check_books,
    check_conversion_signs,
    check_duplicate_hits,
    check_roll_up_credits,
    check_roll_up_spend,
    check_roll_up_traffic,
    check_spend_signs,
    check_timed_signs,
    check_uncredited,
)

SLICE_ROWS = 1_000_000
"""About how many hits (or ledger entries) one slice holds; a single hour is never cut."""
QUERY_SECONDS = 45
"""A query that takes longer is given up: the slice counts as not compared, and its coverage as old."""
LIMITS: dict[str, Any] = {
    "max_threads": 1,
    "max_execution_time": QUERY_SECONDS,
    "max_memory_usage": 2 << 30,
    "max_bytes_before_external_group_by": 512 << 20,
}
"""Settings of the audit's own connection: reports and inserts keep the other cores."""
HOUR = 3_600
_COPIES_WITHIN = HOUR
"""Copies of a hit whose instants differ (the clock is corrected anew at each attempt) stand in neighbouring hours."""
_AT_REST_SECONDS = 60
_MOST_HOURS = 2_000
_ID_SPACE = 1 << 32

Net = dict[tuple[str, str, str], tuple[Decimal, Decimal]]
"""(model, touchpoint_id, currency) → (weight, amount) that stand; nothing that is zero."""
SpendSums = dict[tuple[str, str, date, Labels, str], tuple[Decimal, int]]
"""(site, network, day, labels, currency) → (amount, figures) that stand; nothing that is zero."""


class AuditReader:
    """The comparisons that ClickHouse makes. ``client`` should be one of its own, with ``LIMITS``."""

    def __init__(
        self,
        client: Client,
        database: str,
        *,
        longest_session_seconds: int,
        slice_rows: int = SLICE_ROWS,
        at_rest_seconds: int = _AT_REST_SECONDS,
    ) -> None:
        """``longest_session_seconds``: the policy's cap, because a session counts in each hour it touches."""
        self._client = client
        self._database = database
        self._longest_session_seconds = longest_session_seconds
        self._slice_rows = slice_rows
        self._at_rest_seconds = at_rest_seconds

    def source_rows(self, topic: str, broker: str, partition: int, first: int, end: int) -> dict[str, int]:
        """Rows by table that come from offsets ``[first, end)``; of ``drops`` the sum of their counts."""
        parameters = {"topic": topic, "broker": broker, "partition": partition, "low": first, "high": end}
        (row,) = self._ask("audit_source_rows", parameters)
        names = ("hits", "sessions", "touchpoints", "drops", "dead_letters")
        return {name: int(count or 0) for name, count in zip(names, row, strict=True)}

    def hours_from(self, low: int) -> Hours:
        """The next slice of event time at or after ``low`` (epoch seconds); the last one has no end."""
        total = 0
        rows = self._ask("audit_hours", {"low": low, "limit": _MOST_HOURS})
        for number, (hour, hits) in enumerate(rows):
            if number and total + hits > self._slice_rows:
                return Hours(low, int(hour))
            total += int(hits)
        return Hours(low, int(rows[-1][0])) if len(rows) == _MOST_HOURS else Hours(low, ALL_HOURS.high)

    def ids_from(self, low: str) -> Ids:
        """The next slice of conversion ids at or after ``low``: they are digests, so equal spans hold equally many."""
        entries = int(self._ask("audit_ledger_size", {})[0][0])
        span = _ID_SPACE // max(1, -(-entries // self._slice_rows))
        high = (int(low[:8], 16) if low else 0) + span
        return Ids(low, f"{high:08x}" if high < _ID_SPACE else ALL_IDS.high)

    def models(self) -> list[str]:
        """Models that the ledger or the roll-up knows, sorted."""
        return [str(model) for (model,) in self._ask("audit_models", {})]

    def compare_hours(self, hours: Hours) -> list[Check]:
        """Roll-up of traffic, signs of sessions and touchpoints, and doubled hits in some hours."""
        around = Hours(max(0, hours.low - _COPIES_WITHIN), min(hours.high + _COPIES_WITHIN, ALL_HOURS.high))
        return [
            check_roll_up_traffic(
                self._client,
                self._database,
                hours=hours,
                longest_session_seconds=self._longest_session_seconds,
            ),
            *check_timed_signs(self._client, self._database, hours=hours),
            check_duplicate_hits(self._client, self._database, hours=around),
        ]

    def compare_ids(self, ids: Ids) -> list[Check]:
        """Books, credit of what stands, and signs of some conversions."""
        return [
            check_books(self._client, self._database, ids=ids),
            check_uncredited(self._client, self._database, ids=ids, at_rest_seconds=self._at_rest_seconds),
            *check_conversion_signs(self._client, self._database, ids=ids),
        ]

    def compare_model(self, model: str) -> Check:
        """The roll-up of one model's credits."""
        return check_roll_up_credits(self._client, self._database, model=model)

    def ledger_of(self, conversion_ids: Sequence[str]) -> dict[str, Net]:
        """What stands credited for each of some conversions; those without any entry are left out."""
        found: dict[str, Net] = {}
        for conversion_id, model, touchpoint_id, currency, weight, amount in self._ask(
            "audit_ledger", {"ids": list(conversion_ids)}
        ):
            found.setdefault(conversion_id, {})[model, touchpoint_id, currency] = (weight, amount)
        return found

    def spend_of(self, places: Sequence[tuple[str, str, date]]) -> SpendSums:
        """What stands of spend on (site, network, day)s."""
        sites, networks, days = (list(dict.fromkeys(part)) for part in zip(*places, strict=True))
        asked = {"sites": sites, "networks": networks, "days": [day.isoformat() for day in days]}
        wanted = set(places)
        return {
            (site, network, day, (channel, source, medium, campaign), currency): (amount, figures)
            for site, network, day, channel, source, medium, campaign, currency, amount, figures in self._ask(
                "audit_spend", asked
            )
            if (site, network, day) in wanted
        }

    def compare_spend(self) -> list[Check]:
        """Signs of spend, and its roll-up: the whole of both tables, which are small beside those of hits."""
        return [
            check_spend_signs(self._client, self._database),
            check_roll_up_spend(self._client, self._database),
        ]

    def _ask(self, query: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        return ask(self._client, self._database, query, parameters)
