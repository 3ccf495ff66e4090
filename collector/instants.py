"""When a hit happened: client clocks parsed and corrected. All instants are epoch milliseconds, UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from attribution.errors import Rejected
from collector.reasons import Refusal

EARLIEST_MS = 946_684_800_000
"""2000-01-01: no website of our users was measured before."""
LATEST_MS = 4_102_444_800_000
"""2100-01-01: later than any clock that is merely wrong."""
MAX_FUTURE_MS = 5 * 60_000
"""A client clock may be this much ahead before its time is not believed."""
MAX_DELAY_MS = 7 * 86_400_000
"""Longest wait between happening and sending for which the two clocks are compared."""
MIN_SKEW_MS = 5_000
"""Smaller skews are the network's jitter: correcting them would move every retry of an event."""

_LOST_PLUS = re.compile(r"(\d\S*T\S+) (\d\d:?\d\d)", re.ASCII)
"""A time whose zone has lost its sign: a bare "+" in an address means a blank."""


class Occurrence(NamedTuple):
    """``occurred_at``, what was added to the client's clock, and why it is not the client's time."""

    occurred_at: int
    clock_skew_ms: int
    time_flag: str


def parse_instant(text: str, field: str) -> int:
    """Epoch milliseconds of ISO 8601 (UTC unless it says otherwise) or of epoch milliseconds in digits.

    Raises ``Rejected('bad_time')``, also for years before 2000 and after 2099.
    """
    try:
        if text.isascii() and text.lstrip("-").isdigit():
            instant = int(text) if len(text) <= 16 else LATEST_MS
        else:
            moment = _moment(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            instant = int(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        instant = LATEST_MS
    if not EARLIEST_MS <= instant < LATEST_MS:
        raise Rejected(
            Refusal.bad_time, "Send ISO 8601 or epoch milliseconds between the years 2000 and 2099.", field
        )
    return instant


def _moment(text: str) -> datetime:
    """Raises ``ValueError``."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        lost = _LOST_PLUS.fullmatch(text)
        if lost is None:
            raise
        return datetime.fromisoformat("+".join(lost.groups()))


def place_in_time(received_at: int, occurred_at: str, sent_at: str) -> Occurrence:
    """Decide when a hit happened from the client's texts ("" = absent). Raises ``Rejected('bad_time')``.

    With both times the client's clock is compared with ours at the moment of sending (reliability 8: received -
    (sent - occurred), for delays of 0 to 7 days). Without ``sent_at`` the client is believed unless it claims the
    future, so that imports keep their dates.
    """
    if not occurred_at:
        if sent_at:
            parse_instant(sent_at, "sent_at")
        return Occurrence(received_at, 0, "received")
    happened = parse_instant(occurred_at, "occurred_at")
    if sent_at:
        sent = parse_instant(sent_at, "sent_at")
        if not 0 <= sent - happened <= MAX_DELAY_MS:
            return Occurrence(received_at, 0, "received")
        skew = received_at - sent
        # A retry of the same event comes with the same two times a little later. Only a skew that no network
        # explains is corrected, so the retry lands on the same occurred_at.
        if abs(skew) >= MIN_SKEW_MS:
            return Occurrence(happened + skew, skew, "")
    if happened > received_at + MAX_FUTURE_MS:
        return Occurrence(received_at, 0, "clamped")
    return Occurrence(happened, 0, "")
