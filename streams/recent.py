"""Timelines of recent visitors in memory: one budget of bytes for all partitions of a worker.

Only the owner of a partition writes its visitors' timelines, so what he stored last is what the store has. A batch
takes timelines out, changes them, and gives them back once they are stored. What it does not give back, and what is
put out to make room, is only read again: nothing in here can be other than the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

from attribution.timeline import Timeline
from streams.stitch_read import Visitor

DEFAULT_BYTES = 128 << 20
"""About 24,000 visitors with eight hits each."""
_FIXED_BYTES = 2_600
_BYTES_PER_STORED = 9


def held_bytes(stored: int) -> int:
    """About what a timeline takes in memory that takes ``stored`` bytes in the store: rather too much."""
    return _FIXED_BYTES + _BYTES_PER_STORED * stored


class Known(NamedTuple):
    """A timeline as it is stored."""

    timeline: Timeline
    key: bytes
    """Its key in the store."""
    size: int
    """Bytes that it counts for."""


class RecentTimelines:
    """The timelines that the partitions of one worker have in memory. Use from one event loop."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[object, Visitor], Known] = OrderedDict()
        self._bytes = 0

    @property
    def held(self) -> int:
        """Bytes of what is kept and of what batches have taken out."""
        return self._bytes

    def __len__(self) -> int:
        """Timelines that are kept."""
        return len(self._kept)

    def loan(self, owner: object) -> Loan:
        """For one batch of ``owner``, who never sees what another one gave back."""
        return Loan(self, owner)

    def _count(self, change: int) -> None:
        """So many bytes more are in somebody's hands: who was not seen for longest makes room for them."""
        self._bytes += change
        while self._bytes > self._max_bytes and self._kept:
            _, known = self._kept.popitem(last=False)
            self._bytes -= known.size


class Loan:
    """The timelines that one batch works with. What is not given back by the end is forgotten.

    A batch needs all its visitors at once: together they may be larger than the budget, and nothing else is kept then.
    """

    def __init__(self, recent: RecentTimelines, owner: object) -> None:
        self._recent = recent
        self._owner = owner
        self._known: dict[Visitor, Known] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forget()

    def take(self, visitors: Iterable[Visitor]) -> list[Visitor]:
        """Take out those that are kept. Returns the others, which are to be read and added."""
        missing = []
        owner, known, kept = self._owner, self._known, self._recent._kept
        for visitor in visitors:
            one = kept.pop(
                (owner, visitor), None
            )  # It still counts, until the loan says that it no longer does.
            if one is None:
                missing.append(visitor)
            else:
                known[visitor] = one
        return missing

    def add(self, visitor: Visitor, timeline: Timeline, key: bytes, stored: int) -> None:
        """A timeline that was read from ``key``, where it takes ``stored`` bytes."""
        size = held_bytes(stored)
        self._known[visitor] = Known(timeline, key, size)
        self._recent._count(size)

    def timeline(self, visitor: Visitor) -> Timeline:
        """Of a visitor that was taken or added."""
        return self._known[visitor].timeline

    def key(self, visitor: Visitor) -> bytes:
        """Where a visitor's timeline is stored."""
        return self._known[visitor].key

    def give_back(self, stored: Mapping[Visitor, int], without: Iterable[Visitor] = ()) -> None:
        """All timelines are as they are in the store, but those of ``without``. ``stored``: bytes of the changed."""
        recent, owner, known = self._recent, self._owner, self._known
        for visitor in without:
            recent._count(-known.pop(visitor).size)
        grown = 0
        kept = recent._kept
        for visitor, one in known.items():
            bytes_there = stored.get(visitor)
            if bytes_there is not None:
                size = _FIXED_BYTES + _BYTES_PER_STORED * bytes_there
                grown += size - one.size
                one = Known(one.timeline, one.key, size)
            kept[owner, visitor] = one
        self._known = {}
        recent._count(grown)

    def forget(self) -> None:
        """None of what is still in hand may be used again."""
        self._recent._count(-sum(known.size for known in self._known.values()))
        self._known = {}
