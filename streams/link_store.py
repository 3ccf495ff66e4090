"""The ids' ends of links, in Redis: per id the visitors that it was ever linked with, and the latest said of each.

The visitors' ends are in their timelines. A link holds when both ends say so. The timeline's end is written first, by
the batch that heard of it; this end follows from the batch's spread, which is repeated until it is done
(``streams.spreads``).
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Any

from attribution.identity import ACCOUNT
from attribution.links import LinkFact
from attribution.persons import ACCOUNT_CLOSED_AT, CLOSED_AT, Members, SiteId
from streams.fence import TIMELINE_TTL_SECONDS
from streams.patience import patiently
from streams.topics import members_key

_ASSERTED, _WITHDRAWN = b"0", b"1"
"""Last of a statement: of two by one event in one instant the withdrawal is later."""


class LinkStore:
    """Members of ids in one Redis. All calls wait while Redis is away."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._write = redis.register_script(
            resources.files("streams").joinpath("lua", "write_link.lua").read_text()
        )

    async def write(self, site: str, visitor_id: str, id_: str, fact: LinkFact) -> None:
        """The latest that is known of the link between ``visitor_id`` and ``id_``. May be repeated, in any order."""
        keys = [members_key(site, id_)]
        closed_at = ACCOUNT_CLOSED_AT if id_.startswith(ACCOUNT) else CLOSED_AT
        args = [visitor_id, statement_of(fact), closed_at, TIMELINE_TTL_SECONDS]
        await patiently(lambda: self._write(keys=keys, args=args), "redis write link")

    async def members(self, ids: Iterable[SiteId]) -> dict[SiteId, Members]:
        """The visitors of each of ``ids``."""
        places = list(ids)

        async def read() -> list[dict[bytes, bytes]]:
            pipe = self._redis.pipeline(transaction=False)
            for place in places:
                pipe.hgetall(members_key(*place))
            found: list[dict[bytes, bytes]] = await pipe.execute()
            return found

        values = await patiently(read, "redis members") if places else []
        return {place: members_from(value) for place, value in zip(places, values, strict=True)}


def statement_of(fact: LinkFact) -> bytes:
    """The stored form; statements sort by their rank."""
    tail = _ASSERTED if fact.is_held else _WITHDRAWN
    return b"%012x%016x" % (fact.said_at, fact.event_hash) + tail


def members_from(stored: dict[bytes, bytes]) -> Members:
    """The members of one id."""
    return Members(
        frozenset(visitor.decode() for visitor, statement in stored.items() if statement[-1:] == _ASSERTED),
        frozenset(visitor.decode() for visitor in stored),
    )
