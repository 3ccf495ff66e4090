"""What learnt models learn from: journeys as sequences of channels, with how often each ended in a conversion."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


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


class JourneySet(msgspec.Struct, frozen=True):
    """Many journeys in few arrays: a million sequences take tens of megabytes, and counts can be drawn anew at once."""

    channels: tuple[str, ...]
    """In lexical order."""
    steps: NDArray[np.int32]
    """Indexes into ``channels``, sequence after sequence."""
    lengths: NDArray[np.int32]
    """Touchpoints of each sequence, at least 1."""
    converted: Counts
    """By sequence."""
    lost: Counts

    @property
    def journeys(self) -> int:
        """Converted and lost together."""
        return int(self.converted.sum() + self.lost.sum())

    @property
    def conversions(self) -> int:
        """Those that converted."""
        return int(self.converted.sum())


class JourneyCounter:
    """Adds journeys up by sequence, in about 100 bytes a sequence."""

    def __init__(self) -> None:
        self._codes: dict[str, str] = {}
        """Channel to a character: a sequence of channels is a short text."""
        self._rows: dict[str, int] = {}
        self._converted = array("q")
        self._lost = array("q")

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, channels: Sequence[str], converted: int, lost: int) -> None:
        """So many more journeys through ``channels``. Those without a touchpoint or a count are left out."""
        if not channels or converted + lost <= 0:
            return
        codes = self._codes
        try:
            key = "".join([codes[channel] for channel in channels])
        except KeyError:
            for channel in channels:
                codes.setdefault(channel, chr(len(codes)))
            key = "".join([codes[channel] for channel in channels])
        row = self._rows.setdefault(key, len(self._converted))
        if row == len(self._converted):
            self._converted.append(0)
            self._lost.append(0)
        self._converted[row] += converted
        self._lost[row] += lost

    def result(self) -> JourneySet:
        """What was added; the order of adding does not matter."""
        channels = tuple(sorted(self._codes))
        place = {self._codes[channel]: index for index, channel in enumerate(channels)}
        table = np.array([place[chr(code)] for code in range(len(place))], dtype=np.int32)
        rows = sorted(self._rows, key=lambda key: ([place[code] for code in key]))
        picked = np.fromiter((self._rows[key] for key in rows), dtype=np.int64, count=len(rows))
        written = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return JourneySet(
            channels,
            table[written] if len(written) else np.zeros(0, dtype=np.int32),
            np.fromiter((len(key) for key in rows), dtype=np.int32, count=len(rows)),
            np.array(self._converted, dtype=np.int64)[picked],
            np.array(self._lost, dtype=np.int64)[picked],
        )


def merged(sets: Iterable[JourneySet]) -> JourneySet:
    """Those of all ``sets``. A sequence that occurs in several stays as often: nothing learnt differs for it."""
    parts = list(sets)
    channels = sorted({channel for part in parts for channel in part.channels})
    place = {channel: index for index, channel in enumerate(channels)}
    places = [np.array([place[channel] for channel in part.channels], dtype=np.int32) for part in parts]
    none = np.zeros(0, dtype=np.int32)
    return JourneySet(
        tuple(channels),
        np.concatenate([none, *(table[part.steps] for table, part in zip(places, parts, strict=True))]),
        np.concatenate([none, *(part.lengths for part in parts)]),
        np.concatenate([none.astype(np.int64), *(part.converted for part in parts)]),
        np.concatenate([none.astype(np.int64), *(part.lost for part in parts)]),
    )


def journey_set(journeys: Iterable[Journey]) -> JourneySet:
    """The same as arrays."""
    counter = JourneyCounter()
    for journey in journeys:
        counter.add(journey.channels, journey.converted, journey.lost)
    return counter.result()
