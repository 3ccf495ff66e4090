"""What a journey is, in plain Python (docs/learnt-models.md): what the SQL must agree with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

Sequence = tuple[str, ...]


class Touch(NamedTuple):
    """A touchpoint that stands."""

    site: str
    visitor: str
    at: int
    id: str
    channel: str


class Conversion(NamedTuple):
    """A conversion that stands."""

    site: str
    visitor: str
    at: int
    type: str


def journeys_of(
    touches: Iterable[Touch],
    conversions: Iterable[Conversion],
    lookbacks: Mapping[str, int],
    from_: int,
    to: int,
) -> tuple[Counter[tuple[str, Sequence]], Counter[tuple[str, Sequence]]]:
    """(converted, lost) by (site, channels), of the journeys that ended in ``[from_, to)``."""
    longest = max(lookbacks.values())
    converted: Counter[tuple[str, Sequence]] = Counter()
    lost: Counter[tuple[str, Sequence]] = Counter()
    touches = sorted(touches, key=lambda touch: (touch.at, touch.id))
    for site, visitor in {(touch.site, touch.visitor) for touch in touches}:
        own = [touch for touch in touches if (touch.site, touch.visitor) == (site, visitor)]
        ends: dict[int, int] = {}
        for conversion in conversions:
            if (conversion.site, conversion.visitor) == (site, visitor) and conversion.type in lookbacks:
                ends[conversion.at] = max(ends.get(conversion.at, 0), lookbacks[conversion.type])
        # Each touch belongs to the first conversion at or after it, if that one's lookback reaches it.
        by_end: dict[int | None, list[Touch]] = {}
        left: dict[int | None, list[Touch]] = {}
        for touch in own:
            end = min((at for at in ends if at >= touch.at), default=None)
            is_counted = end is not None and touch.at >= end - ends[end]
            (by_end if is_counted else left).setdefault(end, []).append(touch)
        for end, members in by_end.items():
            if end is not None and from_ <= end < to:
                converted[site, tuple(touch.channel for touch in members)] += 1
        for members in left.values():
            runs: list[list[Touch]] = []
            for touch in members:
                if not runs or touch.at - runs[-1][-1].at > longest:
                    runs.append([])
                runs[-1].append(touch)
            for run in runs:
                if from_ <= run[-1].at < to:
                    within = [touch for touch in run if touch.at >= run[-1].at - longest]
                    lost[site, tuple(touch.channel for touch in within)] += 1
    return converted, lost
