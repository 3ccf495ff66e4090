"""What learnt models learn from: journeys as sequences of channels, with how often each ended in a conversion."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Journey(msgspec.Struct, frozen=True, gc=False):
    """All journeys through the same channels in the same order."""

    channels: tuple[str, ...]
    """Of the touchpoints, in order of time; a channel may follow itself."""
    converted: int
    """How many of them ended in a conversion."""
    lost: int
    """How many did not, within the lookback window."""


def grouped(journeys: Iterable[Journey]) -> list[Journey]:
    """Each sequence once, in lexical order; without those that stand for nobody and those without a touchpoint."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for journey in journeys:
        found = sums.setdefault(journey.channels, [0, 0])
        found[0] += journey.converted
        found[1] += journey.lost
    return [Journey(channels, *found) for channels, found in sorted(sums.items()) if channels and any(found)]


def channels_of(journeys: Iterable[Journey]) -> list[str]:
    """Every channel that occurs, in lexical order."""
    return sorted({channel for journey in journeys for channel in journey.channels})
