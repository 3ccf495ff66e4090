"""What stands in the tables of a visitor whose timeline was made again, and the rows that bring it to what holds now.

A timeline that is made again is judged by the rules of today. The rows of its sessions and touchpoints were written
under those of their time, or of a restatement since: what they say is asked for, and exactly that is taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from attribution.change import Change, TimelineConversion
from attribution.ids import hit_id, visitor_hash
from attribution.timeline import Timeline
from sinks.visitors import Place
from streams.patience import patiently
from streams.recalling import Recalled, Visitor
from streams.rows import Row, session_row, touchpoint_row

AT_ONCE = 2_000
"""Hits of one question."""
_INSTANT = 3
"""Place of ``started_at`` and ``touched_at`` in their rows."""


class StandingRows(Protocol):
    """Who has the tables."""

    def rows_that_stand(
        self, table: str, starts: Sequence[tuple[int, str]], but_from: Place
    ) -> Sequence[Row]:
        """What stands of sessions or touchpoints that were begun by ``starts``, (epoch ms, id). Blocks."""


class Standing(NamedTuple):
    """What stands of one visitor, as rows without sign and source."""

    sessions: frozenset[Row]
    touchpoints: frozenset[Row]


async def standing_of(
    rows: StandingRows, recalled: Mapping[Visitor, Recalled], but_from: Place
) -> dict[Visitor, Standing]:
    """What stands of each of ``recalled``, rows from ``but_from`` on left out. Waits while ClickHouse is away."""
    starts = [
        (at, hit_id(visitor_hash(*visitor), event))
        for visitor, one in recalled.items()
        for at, event in one.instants
    ]
    found: dict[str, dict[Visitor, set[Row]]] = {}
    for table in ("sessions", "touchpoints"):
        its_rows = found[table] = {visitor: set() for visitor in recalled}
        for start in range(0, len(starts), AT_ONCE):
            part = starts[start : start + AT_ONCE]
            ask = partial(asyncio.to_thread, rows.rows_that_stand, table, part, but_from)
            for row in await patiently(ask, f"clickhouse {table}"):
                its_rows[row[0], row[2]].add(row)
    return {
        visitor: Standing(frozenset(found["sessions"][visitor]), frozenset(found["touchpoints"][visitor]))
        for visitor in recalled
    }


class Correction(NamedTuple):
    """Signed rows."""

    sessions: Sequence[Row]
    touchpoints: Sequence[Row]
    since: int | None
    """Earliest instant of a touchpoint that came or went, epoch ms; None = none did."""

    def note_affected(self, change: Change, conversions: Sequence[TimelineConversion]) -> None:
        """Of ``conversions``, the visitor's, those at or behind it are to be looked at again, too."""
        if self.since is not None:
            later = {one for one in conversions if one.converted_at >= self.since}
            change.affected = sorted(later.union(change.affected))


def corrected(standing: Standing, timeline: Timeline, source: tuple[str, int, int]) -> Correction:
    """The rows that bring what stands to what ``timeline`` says. ``source``: broker, partition, first offset."""
    sessions = _between(standing.sessions, [session_row(one, 1, *source)[:-4] for one in timeline.sessions()])
    touches = _between(
        standing.touchpoints, [touchpoint_row(one, 1, *source)[:-4] for one in timeline.touchpoints()]
    )
    since = min((row[_INSTANT] for row, _ in touches), default=None)
    return Correction(
        [(*row, sign, *source) for row, sign in sessions],
        [(*row, sign, *source) for row, sign in touches],
        since,
    )


def _between(old: frozenset[Row], new: Iterable[Row]) -> list[tuple[Row, int]]:
    """What is taken back, then what comes, each in order."""
    wanted = set(new)
    return [(row, -1) for row in sorted(old - wanted)] + [(row, 1) for row in sorted(wanted - old)]
