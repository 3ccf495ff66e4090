"""Rows for the tests of sinks and api: every column has a harmless default, a test names what it is about."""

from __future__ import annotations

from typing import Any

from sinks.tables import WRITTEN

HOUR = 3_600_000
DAY = 24 * HOUR
NOON = 1_790_942_400_000
"""2026-10-02 12:00:00 UTC in epoch milliseconds."""

_NUMBERS = {
    *(
        "clock_skew_ms",
        "in_session",
        "gpc",
        "dnt",
        "src_partition",
        "src_offset",
        "hits",
        "page_views",
        "count",
    ),
    *("impressions", "clicks", "views", "installs", "attempts"),
}
_INSTANTS = {
    *("occurred_at", "received_at", "started_at", "ended_at", "touched_at", "converted_at", "recorded_at"),
    *("replayed_at", "said_at", "first_touch_at", "last_touch_at", "as_of", "imported_at"),
}


def row(table: str, **given: Any) -> tuple[Any, ...]:
    """One row of ``table`` in table order; unknown column names fail. Credit counts when its conversion happened."""
    columns = WRITTEN[table]
    if "booked_at" in columns:
        given = {"booked_at": given.get("converted_at", NOON), **given}
    unknown = set(given) - set(columns)
    assert not unknown, f"{table} has no {unknown}"
    return tuple(given.get(name, _default(name)) for name in columns)


def _default(name: str) -> Any:
    if name in _INSTANTS:
        return NOON
    if name in _NUMBERS:
        return 0
    defaults: dict[str, Any] = {
        "sign": 1,
        "site": "site1",
        "channel": "Direct",
        "source": "(direct)",
        "medium": "(none)",
        "props": "{}",
        "weight": "1",
        "conversion_type": "purchase",
        "channels": [],
        "ids": [],
        "hours": [NOON // 1000],
        "hour_hits": [1],
        "hour_page_views": [1],
        "hour": NOON // 1000,
        "day": "2026-10-02",
        "rate": "1",
    }
    if name in ("amount", "conversion_value"):
        return "0"
    if name in ("value", "reach", "platform_conversions", "platform_value", "bid"):
        return None
    return defaults.get(name, "")
