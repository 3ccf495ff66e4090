"""Who converted: the visitors that are one person, and the evidence that says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from api.instants import instant_text
from attribution.persons import Graph, IdentityRules, Members, Visitor, person_of

_MOST_ROUNDS = 50
"""Each round walks one link further. A person has at most some hundred visitors."""

LinkRows = Callable[[str, Sequence[str]], Sequence[Sequence[Any]]]
"""(column, names) to rows (visitor id, id, is held, event id, said at)."""


class LinkExplained(msgspec.Struct, frozen=True):
    """Why a visitor belongs to a person, or no longer does."""

    visitor_id: str
    id: str
    """Kind and value: ``user:42``, ``email:<sha256>``, ``crm:0031``, ``account:acme``."""
    event_id: str
    """Of the hit that says so."""
    said_at: str
    is_held: bool
    """False: withdrawn."""


class PersonExplained(msgspec.Struct, frozen=True):
    """The person behind the visitor who converted."""

    visitor_ids: list[str]
    links: list[LinkExplained]
    """Of these visitors, withdrawn ones included."""


class _Known(NamedTuple):
    ids: tuple[str, ...]

    def held_ids(self) -> tuple[str, ...]:
        """See ``attribution.persons.Linked``."""
        return self.ids


def find_person(site: str, visitor_id: str, rules: IdentityRules, links: LinkRows) -> PersonExplained:
    """The person of a visitor, by the links as they stand in ClickHouse and the same rules as in the stream."""
    graph: Graph[_Known] = Graph()
    told: dict[tuple[str, str], LinkExplained] = {}

    def read(column: str, names: Sequence[str]) -> Sequence[Sequence[Any]]:
        rows = links(column, sorted(names)) if names else ()
        for visitor, id_, is_held, event_id, said_at in rows:
            told[visitor, id_] = LinkExplained(visitor, id_, event_id, instant_text(said_at), bool(is_held))
        return rows

    found: frozenset[Visitor] = frozenset(((site, visitor_id),))
    for _ in range(_MOST_ROUNDS):
        found = person_of((site, visitor_id), graph, rules)
        if graph.is_enough:
            break
        visitors, ids = list(graph.missing_visitors), list(graph.missing_ids)
        of_visitors = read("visitor_id", [name for _, name in visitors])
        of_ids = read("id", [name for _, name in ids])
        graph.told(
            {
                visitor: _Known(tuple(row[1] for row in of_visitors if row[0] == visitor[1] and row[2]))
                for visitor in visitors
            },
            {
                place: Members(
                    held=frozenset(row[0] for row in of_ids if row[1] == place[1] and row[2]),
                    ever=frozenset(row[0] for row in of_ids if row[1] == place[1]),
                )
                for place in ids
            },
        )
    names = sorted(name for _, name in found)
    return PersonExplained(names, [link for (name, _), link in sorted(told.items()) if name in names])
