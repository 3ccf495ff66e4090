"""Conversions that no visitor's timeline holds: a CRM told them of an address, a contact, a visitor id.

By id it is kept which conversions are told to be about it. Whoever changes who a visitor is, or what a linked visitor
did, looks here for the conversions that this concerns, as he looks into timelines (``streams.spreads``).

The deals stage writes here before credit hears of the conversion. So whoever links a visitor with the id later finds
the conversion here; and if he did so before, credit finds him.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from attribution.conversions import ConversionFact
from streams.fence import FenceStore
from streams.patience import patiently
from streams.topics import about_key, awaits_visitors_key, partition_of

VISITOR = "visitor:"
"""Kind of the id that names a visitor. Not one that hits name: it is the visitor's own."""
_AT_ONCE = 500
SiteId = tuple[str, str]


class About(NamedTuple):
    """A conversion is about an id."""

    site: str
    id: str
    conversion_id: str
    converted_at: int
    """Epoch ms. What happened after it does not concern it."""


def abouts_of(fact: ConversionFact) -> Iterator[About]:
    """Every id that ``fact`` is about."""
    for id_ in fact.ids:
        yield About(fact.site, id_, fact.conversion_id, fact.occurred_at)
    if fact.visitor_id:
        yield About(fact.site, VISITOR + fact.visitor_id, fact.conversion_id, fact.occurred_at)


class AboutStore:
    """What conversions are about, in one Redis. All calls wait while Redis is away."""

    def __init__(self, store: FenceStore, partitions: int) -> None:
        """``partitions``: how many the hits have."""
        self._store = store
        self._partitions = partitions
        self._marked: set[int] = set()

    async def write(self, abouts: Sequence[About]) -> None:
        """Keep ``abouts``. May be repeated, in any order."""
        for about in abouts:
            if about.id.startswith(VISITOR):
                await self._mark(partition_of(about.id[len(VISITOR) :], self._partitions))
        for start in range(0, len(abouts), _AT_ONCE):
            part = abouts[start : start + _AT_ONCE]
            args: list[Any] = []
            for about in part:
                args += (about.conversion_id, b"%012x" % max(0, about.converted_at))
            keys = [about_key(about.site, about.id) for about in part]
            await self._store.run(self._store.write_abouts, keys, args, "write abouts")

    async def read(self, ids: Iterable[SiteId]) -> dict[SiteId, dict[str, int]]:
        """By id the conversions and their instants; ids that nothing is about are left out."""
        places = sorted(ids)
        found: dict[SiteId, dict[str, int]] = {}
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            keys = [about_key(*place) for place in part]
            values = await self._store.run(self._store.read_members, keys, [], "read abouts")
            for place, stored in zip(part, values, strict=True):
                if stored:
                    pairs = zip(stored[::2], stored[1::2], strict=True)
                    found[place] = {name.decode(): int(at, 16) for name, at in pairs}
        return found

    async def _mark(self, partition: int) -> None:
        """From now on stitch tells of visitors without links, too: one of them may be whom a conversion is about."""
        if partition not in self._marked:
            key = awaits_visitors_key(partition)
            await patiently(lambda: self._store.redis.set(key, "1"), "redis set")
            self._marked.add(partition)
