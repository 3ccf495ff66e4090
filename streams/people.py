"""Persons and their pasts, read from Redis as they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from attribution.conversions import Conversion
from attribution.persons import Graph, IdentityRules, L, Visitor, circle_of, named_by
from attribution.policy import AttributionPolicy
from attribution.stored_past import StoredPast
from streams.abouts import AboutStore
from streams.fence import FenceStore
from streams.link_store import LinkStore
from streams.recalling import Hits, recall
from streams.topics import partition_of, timeline_key


class People:
    """Finds out who is one person with whom. ``partitions``: how many the hits have."""

    def __init__(
        self,
        store: FenceStore,
        partitions: int,
        hits: Hits | None = None,
        policy: AttributionPolicy | None = None,
    ) -> None:
        """``hits``: of what timelines that were put away are made again, judged by ``policy``; None = not at all."""
        self.links = LinkStore(store)
        self.abouts = AboutStore(store, partitions)
        self._store = store
        self._partitions = partitions
        self._hits = hits
        self._policy = policy

    async def read(self, graph: Graph[L], known: Callable[[bytes | None, Visitor], L]) -> None:
        """Read what ``graph`` lacks: in two calls, however much it is. ``known``: what a stored timeline says.

        A visitor without links costs his timeline and nothing else.
        """
        visitors = sorted(graph.missing_visitors)
        keys = [timeline_key(partition_of(visitor[1], self._partitions), *visitor) for visitor in visitors]
        values = await self._store.load(keys)
        if None in values:
            values = await self._with_put_away(visitors, keys, values)
        found = {visitor: known(value, visitor) for visitor, value in zip(visitors, values, strict=True)}
        graph.told(found, await self.links.members(sorted(graph.missing_ids)))

    async def _with_put_away(
        self, visitors: Sequence[Visitor], keys: Sequence[bytes], values: list[bytes | None]
    ) -> list[bytes | None]:
        """``values`` with what was put away in its place. Of what is there nothing is asked."""
        if self._hits is None or self._policy is None:
            return values
        absent = [number for number, value in enumerate(values) if value is None]
        were = await self._store.were_put_away([keys[number] for number in absent])
        wanted = [visitors[number] for number, was in zip(absent, were, strict=True) if was]
        if not wanted:
            return values
        recalled = await recall(self._hits, wanted, self._policy)
        return [
            recalled[visitor].timeline.to_bytes() if value is None and visitor in recalled else value
            for visitor, value in zip(visitors, values, strict=True)
        ]

    async def timelines(
        self, visitors: Iterable[Visitor], rules: IdentityRules
    ) -> dict[Visitor, list[StoredPast]]:
        """Those of everybody whose past the conversions of each of ``visitors`` are credited with."""
        graph: Graph[StoredPast] = Graph()
        graph.missing_visitors.update(visitors)
        wanted = sorted(graph.missing_visitors)
        await self.read(graph, _past)
        found = {visitor: [graph.visitors[visitor]] for visitor in wanted}
        # Most are linked with nothing, and are themselves.
        left = [visitor for visitor in wanted if graph.visitors[visitor].is_linked]
        while left:
            unknown = []
            for visitor in left:
                members, is_final = graph.ask(partial(circle_of, visitor, graph, rules))
                if not is_final:
                    unknown.append(visitor)
                elif len(members) > 1:
                    found[visitor] = [graph.visitors[member] for member in sorted(members)]
            left = unknown
            if left:
                await self.read(graph, _past)
        return found

    async def named_by(
        self, conversions: Sequence[Conversion], rules: IdentityRules
    ) -> list[list[StoredPast]]:
        """Of each of ``conversions``, which senders tell, the timelines of everybody whose past it is credited with."""
        graph: Graph[StoredPast] = Graph()
        found: list[list[StoredPast]] = [[] for _ in conversions]
        left: Sequence[int] = range(len(conversions))
        while left:
            unknown = []
            for number in left:
                fact, names = conversions[number].winner, conversions[number].visitor_ids
                members, is_final = graph.ask(partial(named_by, fact.site, names, fact.ids, graph, rules))
                if is_final:
                    found[number] = [graph.visitors[member] for member in sorted(members)]
                else:
                    unknown.append(number)
            left = unknown
            if left:
                await self.read(graph, _past)
        return found


def _past(stored: bytes | None, visitor: Visitor) -> StoredPast:
    return StoredPast(*visitor) if stored is None else StoredPast.from_bytes(stored, *visitor)
