"""The tally: what each offset range of the log became, counted by the commit that moved the fence past it.

The self-audit compares it with the rows that ClickHouse holds. It stands in Redis beside the fence and is written by
the same script, so it says at every moment exactly what lies behind the fence. Ranges are kept forever: about 200
bytes for each ``RANGE_EVENTS`` events of a partition.
"""

from __future__ import annotations

import msgspec

RANGE_EVENTS = 200_000
"""Events after which a range is closed and the next batch begins another."""


class Counts(msgspec.Struct, frozen=True):
    """What one batch read, and what became of it. Each event is a hit, a drop, a dead letter or a restated hit."""

    records: int = 0
    events: int = 0
    """Inputs found in the records: hits, and parts that are none."""
    hits: int = 0
    sessions: int = 0
    """Signed rows of ``sessions``."""
    touchpoints: int = 0
    """Signed rows of ``touchpoints``."""
    drops: int = 0
    """Sum of ``count`` of the rows of ``drops``."""
    dead_letters: int = 0
    restated: int = 0
    """Hits that came once more to be judged by other rules: no new rows of ``hits``."""


class Tally(msgspec.Struct, frozen=True):
    """One range ``[first, next)`` of a partition under one broker epoch; always whole batches."""

    broker: str
    first: int
    next: int
    records: int
    events: int
    hits: int
    sessions: int
    touchpoints: int
    drops: int
    dead_letters: int
    skipped: int
    """Offsets that no record was read from."""
    repeated: int
    """Offsets that had been read before: somebody set the fence back."""
    restated: int = 0


tally_of = msgspec.json.Decoder(Tally).decode
"""A range as ``commit_stitch.lua`` writes it."""
