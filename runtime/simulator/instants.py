"""Spans and instants of the simulator: epoch milliseconds, UTC."""

from __future__ import annotations

from datetime import UTC, datetime

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


def iso(at: int) -> str:
    """Epoch milliseconds as ISO 8601, UTC, with milliseconds."""
    moment = datetime.fromtimestamp(at // SECOND_MS, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % SECOND_MS:03d}Z"
