"""The ids' ends of links, in Redis: per id the visitors that it was ever linked with, and the latest said of each.

The visitors' ends are in their timelines. A link holds when both ends say so. The timeline's end is written first, by
the batch that heard of it; this end follows from the batch's spread, which is repeated until it is done
(``streams.spreads``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from attribution.identity import ACCOUNT
from attribution.links import LinkFact
from attribution.persons import ACCOUNT_CLOSED_AT, CLOSED_AT, Members, SiteId
from streams.fence import FenceStore
from streams.topics import members_key

_ASSERTED, _WITHDRAWN = b"0", b"1"
"""Last of a statement: of two by one event in one instant the withdrawal is later."""
AT_ONCE = 500
"""Links, or ids, of one call: what Redis is busy with for about a millisecond."""


class LinkEnd(NamedTuple):
    """The latest that is known of the link between a visitor and an id."""

    site: str
    visitor_id: str
    id: str
    fact: LinkFact


class LinkStore:
    """Members of ids in one Redis. All calls wait while Redis is away."""

    def __init__(self, store: FenceStore) -> None:
        self._store = store

    async def write(self, ends: Sequence[LinkEnd]) -> None:
        """Keep what ``ends`` say. May be repeated, in any order; written in one call for each ``AT_ONCE`` of them."""
        for start in range(0, len(ends), AT_ONCE):
            part = ends[start : start + AT_ONCE]
            args: list[Any] = []
            for end in part:
                closed_at = ACCOUNT_CLOSED_AT if end.id.startswith(ACCOUNT) else CLOSED_AT
                args += (end.visitor_id, statement_of(end.fact), closed_at)
            keys = [members_key(end.site, end.id) for end in part]
            await self._store.run(self._store.write_links, keys, args, "write links")

    async def members(self, ids: Iterable[SiteId]) -> dict[SiteId, Members]:
        """The visitors of each of ``ids``, read in one call for each ``AT_ONCE`` of them."""
        places = list(ids)
        found: dict[SiteId, Members] = {}
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            keys = [members_key(*place) for place in part]
            values = await self._store.run(self._store.read_members, keys, [], "read members")
            found.update(zip(part, map(members_from, values), strict=True))
        return found


def statement_of(fact: LinkFact) -> bytes:
    """The stored form; statements sort by their rank."""
    tail = _ASSERTED if fact.is_held else _WITHDRAWN
    return b"%012x%016x" % (fact.said_at, fact.event_hash) + tail


def members_from(stored: Sequence[bytes]) -> Members:
    """The members of one id. ``stored``: visitor, statement, visitor, statement..."""
    names = [visitor.decode() for visitor in stored[::2]]
    ever = frozenset(names)
    held = [name for name, said in zip(names, stored[1::2], strict=True) if said[-1:] == _ASSERTED]
    return Members(ever if len(held) == len(names) else frozenset(held), ever)
