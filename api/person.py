"""Who converted: the visitors that are one person, in the account view colleagues too, and what says that they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from api.instants import instant_text
from attribution.persons import Graph, IdentityRules, Members, named_by

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
    """Of all these visitors, withdrawn ones included."""
    colleague_ids: list[str] = []
    """Account view: the visitors of the other people of the person's companies, whose touchpoints count, too."""

    @property
    def all_ids(self) -> list[str]:
        """Everybody whose touchpoints the conversion may be credited with."""
        return [*self.visitor_ids, *self.colleague_ids]


class _Known(NamedTuple):
    ids: tuple[str, ...]

    def held_ids(self) -> tuple[str, ...]:
        """See ``attribution.persons.Linked``."""
        return self.ids


def find_person(
    site: str, visitor_id: str, ids: Sequence[str], rules: IdentityRules, links: LinkRows
) -> PersonExplained:
    """The person of a visitor, by the links as they stand in ClickHouse and the same rules as in the stream.

    ``ids``: a sender of deals named them; whoever is linked with one is asked about, too. ``visitor_id``: "" = none.
    """
    graph: Graph[_Known] = Graph()
    told: dict[tuple[str, str], LinkExplained] = {}

    def read(column: str, names: Sequence[str]) -> Sequence[Sequence[Any]]:
        rows = links(column, sorted(names)) if names else ()
        for visitor, id_, is_held, event_id, said_at in rows:
            told[visitor, id_] = LinkExplained(visitor, id_, event_id, instant_text(said_at), bool(is_held))
        return rows

    visitor_ids = (visitor_id,) if visitor_id else ()
    circle = frozenset((site, name) for name in visitor_ids)
    for _ in range(_MOST_ROUNDS):
        circle = named_by(site, visitor_ids, ids, graph, rules)
        if graph.is_enough:
            break
        visitors, places = list(graph.missing_visitors), list(graph.missing_ids)
        ids_of: defaultdict[str, list[str]] = defaultdict(list)
        for name, id_, is_held, *_ in read("visitor_id", [name for _, name in visitors]):
            if is_held:
                ids_of[name].append(id_)
        held: defaultdict[str, set[str]] = defaultdict(set)
        ever: defaultdict[str, set[str]] = defaultdict(set)
        for name, id_, is_held, *_ in read("id", [name for _, name in places]):
            ever[id_].add(name)
            if is_held:
                held[id_].add(name)
        graph.told(
            {visitor: _Known(tuple(ids_of[visitor[1]])) for visitor in visitors},
            {place: Members(frozenset(held[place[1]]), frozenset(ever[place[1]])) for place in places},
        )
    without_colleagues = msgspec.structs.replace(rules, account_view=False)
    person = named_by(site, visitor_ids, ids, graph, without_colleagues)
    names = {name for _, name in circle}
    evidence = [link for (name, _), link in sorted(told.items()) if name in names]
    return PersonExplained(
        sorted(name for _, name in person), evidence, sorted(name for _, name in circle - person)
    )
