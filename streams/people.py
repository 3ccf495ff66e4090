"""Persons and their pasts, read from Redis as they stand."""

from __future__ import annotations

from collections.abc import Iterable

from attribution.persons import Graph, IdentityRules, Visitor, circle_of
from attribution.stored_past import StoredPast
from streams.fence import FenceStore
from streams.link_store import LinkStore
from streams.topics import partition_of, timeline_key


class People:
    """Finds out who is one person with whom. ``partitions``: how many the hits have."""

    def __init__(self, store: FenceStore, partitions: int) -> None:
        self.links = LinkStore(store.redis)
        self._store = store
        self._partitions = partitions

    async def read(self, graph: Graph[StoredPast]) -> None:
        """Read what ``graph`` lacks. A visitor without links costs his timeline and nothing else."""
        visitors = sorted(graph.missing_visitors)
        keys = [timeline_key(partition_of(visitor[1], self._partitions), *visitor) for visitor in visitors]
        values = await self._store.load(keys)
        timelines = {
            visitor: StoredPast(*visitor) if value is None else StoredPast.from_bytes(value, *visitor)
            for visitor, value in zip(visitors, values, strict=True)
        }
        graph.told(timelines, await self.links.members(sorted(graph.missing_ids)))

    async def timelines(
        self, visitors: Iterable[Visitor], rules: IdentityRules
    ) -> dict[Visitor, list[StoredPast]]:
        """Those of everybody whose past the conversions of each of ``visitors`` are credited with."""
        graph: Graph[StoredPast] = Graph()
        graph.missing_visitors.update(visitors)
        wanted = sorted(graph.missing_visitors)
        await self.read(graph)
        found = {visitor: [graph.visitors[visitor]] for visitor in wanted}
        # Most are linked with nothing, and are themselves.
        linked = [visitor for visitor in wanted if graph.visitors[visitor].is_linked]
        while linked:
            circles = {visitor: circle_of(visitor, graph, rules) for visitor in linked}
            if graph.is_enough:
                for visitor, members in circles.items():
                    found[visitor] = [graph.visitors[member] for member in sorted(members)]
                break
            await self.read(graph)
        return found
