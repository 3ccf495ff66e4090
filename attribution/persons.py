"""Who belongs to a person: what is connected by links that hold, but for ids and visitors that would join strangers.

Everything here is a function of the set of links. Nothing depends on which link came first, so a person can be resolved
whenever somebody asks, and a merge or a split moves nothing.

- A **shared device** (a visitor linked with more users, addresses or contacts than the rules allow) joins nobody.
- A **hub** (an id of more visitors than the rules allow: a role mailbox, a test account) joins nobody.
- A component of more visitors than the rules allow is no person: everybody in it stands alone.

A company (``account:acme``) joins nobody. In the account view a conversion is credited with what all people of the
companies of its person did: one step, from the person to his companies to their people, whose other companies do not
matter. A company of more visitors than the rules allow gives nobody anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from attribution.identity import ACCOUNT, CRM, EMAIL, USER, own_name

CLOSED_AT = 400
"""Visitors that an id can ever have been linked with, withdrawn links included. An id of more is closed: a hub for
good, of which nothing more is kept. At least twice ``IdentityRules.max_visitors_per_id``."""
ACCOUNT_CLOSED_AT = 10_000
"""The same of a company. At least twice ``IdentityRules.max_visitors_per_account``."""

Visitor = tuple[str, str]
"""(site, visitor_id)."""
SiteId = tuple[str, str]
"""(site, id with its kind)."""


class IdentityRules(msgspec.Struct, frozen=True, kw_only=True):
    """What joins people and what does not. Part of the policy."""

    max_users_per_visitor: int = 1
    """A visitor of more user ids is a shared device. His own name does not count (``own_name``)."""
    max_emails_per_visitor: int = 3
    max_crm_contacts_per_visitor: int = 3
    max_visitors_per_id: int = 100
    """An id of more visitors (devices, cookies) is a hub. At most 200."""
    max_visitors_per_person: int = 200
    """1 = nobody is joined with anybody."""
    blocked_ids: tuple[str, ...] = ()
    """More values that stand for nobody, in lower case; of an e-mail address its SHA-256."""
    account_view: bool = False
    """A conversion is credited with what all people of its person's companies did."""
    max_visitors_per_account: int = 1000
    """A company of more visitors gives nobody anything. At most 5,000."""


class Members(NamedTuple):
    """The visitors of an id."""

    held: frozenset[str]
    ever: frozenset[str]
    """Those whose link was withdrawn, too."""

    def is_hub(self, rules: IdentityRules) -> bool:
        """True when the id joins nobody."""
        return len(self.held) > rules.max_visitors_per_id or len(self.ever) > CLOSED_AT

    def is_crowd(self, rules: IdentityRules) -> bool:
        """True when the company gives nobody anything."""
        return len(self.held) > rules.max_visitors_per_account or len(self.ever) > ACCOUNT_CLOSED_AT


class Linked(Protocol):
    """What is known of a visitor."""

    def held_ids(self) -> Iterable[str]:
        """The ids that the visitor is linked with, by what the visitor's own hits said."""


L = TypeVar("L", bound=Linked)
A = TypeVar("A")


@dataclass
class Graph(Generic[L]):
    """The part of a graph of links that is known so far, and what is missing to answer what was asked."""

    visitors: dict[Visitor, L] = field(default_factory=dict)
    members: dict[SiteId, Members] = field(default_factory=dict)
    missing_visitors: set[Visitor] = field(default_factory=set)
    missing_ids: set[SiteId] = field(default_factory=set)
    people: dict[tuple[SiteId, int], tuple[frozenset[Visitor], set[Visitor], set[SiteId]]] = field(
        default_factory=dict
    )
    """What ``people_of`` found since something was told last, and the visitors and ids that were missing for it."""

    joining: dict[Visitor, list[str]] = field(default_factory=dict)
    """Of visitors that are known the ids that join them. A graph is asked under one set of rules."""

    @property
    def is_enough(self) -> bool:
        """True when the last answers did not lack anything."""
        return not self.missing_visitors and not self.missing_ids

    def ask(self, question: Callable[[], A]) -> tuple[A, bool]:
        """What ``question`` answers, and whether it lacked nothing: then it never has to be asked again."""
        visitors, ids = self.missing_visitors, self.missing_ids
        self.missing_visitors, self.missing_ids = set(), set()
        answer = question()
        is_final = self.is_enough
        visitors |= self.missing_visitors
        ids |= self.missing_ids
        self.missing_visitors, self.missing_ids = visitors, ids
        return answer, is_final

    def told(self, visitors: Mapping[Visitor, L], members: Mapping[SiteId, Members]) -> None:
        """What was missing has been read."""
        self.visitors.update(visitors)
        self.members.update(members)
        self.missing_visitors.clear()
        self.missing_ids.clear()
        self.people.clear()


def is_shared(visitor_id: str, held_ids: Iterable[str], rules: IdentityRules) -> bool:
    """True for a visitor who has more names than one person has."""
    own = own_name(visitor_id)
    users = emails = contacts = 0
    for id_ in held_ids:
        if id_.startswith(USER):
            users += id_ != own
        elif id_.startswith(EMAIL):
            emails += 1
        elif id_.startswith(CRM):
            contacts += 1
    return (
        users > rules.max_users_per_visitor
        or emails > rules.max_emails_per_visitor
        or contacts > rules.max_crm_contacts_per_visitor
    )


def is_blocked(id_: str, rules: IdentityRules) -> bool:
    """True for an id that stands for nobody by the rules of this installation."""
    return bool(rules.blocked_ids) and id_[id_.index(":") + 1 :].lower() in rules.blocked_ids


def person_of(start: Visitor, graph: Graph[L], rules: IdentityRules) -> frozenset[Visitor]:
    """The visitors that are one person with ``start``, himself included. Provisional unless ``graph.is_enough``."""
    found = component_of(start, graph, rules, rules.max_visitors_per_person)
    return frozenset((start,)) if found is None else found


def component_of(
    start: Visitor,
    graph: Graph[L],
    rules: IdentityRules,
    most: int,
    without: Set[Visitor] = frozenset(),
    without_ids: Set[SiteId] = frozenset(),
) -> frozenset[Visitor] | None:
    """Everybody whom links connect with ``start``, past the guards; ``None`` when these are more than ``most``.

    ``without`` and ``without_ids`` are not walked through. Provisional unless ``graph.is_enough``.
    """
    site = start[0]
    found = {start}
    seen_ids = set(without_ids)
    front = [start]
    while front:
        ids: list[SiteId] = []
        for visitor in front:
            for id_ in _joining_ids(visitor, graph, rules):
                if (site, id_) not in seen_ids:
                    seen_ids.add((site, id_))
                    ids.append((site, id_))
        front = []
        for place in ids:
            for visitor in _members(place, graph, rules):
                if visitor in found or visitor in without or not _agrees(visitor, place[1], graph, rules):
                    continue
                found.add(visitor)
                front.append(visitor)
                if len(found) > most:
                    return None
    return frozenset(found)


def circle_of(start: Visitor, graph: Graph[L], rules: IdentityRules) -> frozenset[Visitor]:
    """Everybody whose past the conversions of ``start`` are credited with: his person, and in the account view all
    people of the person's companies. Whoever is in somebody's circle has him in his own. One graph is asked under one
    set of rules. Provisional unless ``graph.is_enough``.
    """
    person = person_of(start, graph, rules)
    if not rules.account_view:
        return person
    companies = accounts_of(person, graph, rules)
    return person.union(*(people_of(place, graph, rules) for place in companies))


def accounts_of(visitors: Iterable[Visitor], graph: Graph[L], rules: IdentityRules) -> list[SiteId]:
    """The companies that any of ``visitors`` belongs to, in order. Provisional unless ``graph.is_enough``."""
    found = set()
    for visitor in visitors:
        for id_ in _accounts(visitor, graph, rules):
            place = (visitor[0], id_)
            if visitor[1] in _held(place, graph, rules):
                found.add(place)
    return sorted(found)


def people_of(place: SiteId, graph: Graph[L], rules: IdentityRules, more: int = 0) -> frozenset[Visitor]:
    """The visitors of a company, and whoever is one person with one of them. Provisional unless ``graph.is_enough``.

    None if the company is too large. ``more``: of one that has up to so many visitors too many, or is closed, too.
    """
    known = graph.people.get((place, more))
    if known is None:
        before = graph.missing_visitors, graph.missing_ids
        graph.missing_visitors, graph.missing_ids = set(), set()
        known = _find_people(place, graph, rules, more), graph.missing_visitors, graph.missing_ids
        graph.missing_visitors, graph.missing_ids = before
        graph.people[place, more] = known
    found, missing_visitors, missing_ids = known
    graph.missing_visitors |= missing_visitors
    graph.missing_ids |= missing_ids
    return found


def named_by(
    site: str, visitor_ids: Iterable[str], ids: Iterable[str], graph: Graph[L], rules: IdentityRules
) -> frozenset[Visitor]:
    """Everybody whose past a conversion is credited with that a sender of deals tells: the circles of the visitors that
    it names, and of those who are linked with an id that it names. Provisional unless ``graph.is_enough``.

    The guards hold for ids of senders as well: a role mailbox names nobody. Companies name nobody either; in the
    account view they are in the circles of their people.
    """
    found: set[Visitor] = set()
    for visitor_id in visitor_ids:
        found |= circle_of((site, visitor_id), graph, rules)
    for id_ in ids:
        if id_.startswith(ACCOUNT) or is_blocked(id_, rules):
            continue
        for visitor in _members((site, id_), graph, rules):
            if visitor not in found and _agrees(visitor, id_, graph, rules):
                found |= circle_of(visitor, graph, rules)
    return frozenset(found)


def _find_people(place: SiteId, graph: Graph[L], rules: IdentityRules, more: int) -> frozenset[Visitor]:
    held = _held(place, graph, rules)
    if more and place in graph.members:
        all_held = graph.members[place].held
        held = all_held if len(all_held) <= rules.max_visitors_per_account + more else frozenset()
    people: set[Visitor] = set()
    for visitor in sorted((place[0], name) for name in held):
        if visitor not in people and place[1] in _accounts(visitor, graph, rules):
            people |= person_of(visitor, graph, rules)
    return frozenset(people)


def _accounts(visitor: Visitor, graph: Graph[L], rules: IdentityRules) -> list[str]:
    """The companies that a visitor says he belongs to. A shared device is nobody's, and no company's."""
    return [id_ for id_ in _counting_ids(visitor, graph, rules) if id_.startswith(ACCOUNT)]


def _joining_ids(visitor: Visitor, graph: Graph[L], rules: IdentityRules) -> list[str]:
    """The ids through which ``visitor`` is joined with others."""
    joining = graph.joining.get(visitor)
    if joining is None:
        joining = [id_ for id_ in _counting_ids(visitor, graph, rules) if not id_.startswith(ACCOUNT)]
        if visitor in graph.visitors:
            graph.joining[visitor] = joining
    return joining


def _counting_ids(visitor: Visitor, graph: Graph[L], rules: IdentityRules) -> list[str]:
    """What is not blocked of the ids that ``visitor`` is linked with; none for a shared device."""
    known = graph.visitors.get(visitor)
    if known is None:
        graph.missing_visitors.add(visitor)
        return []
    held = [id_ for id_ in known.held_ids() if not is_blocked(id_, rules)]
    if not held or is_shared(visitor[1], held, rules):
        return []
    return held


def _members(place: SiteId, graph: Graph[L], rules: IdentityRules) -> list[Visitor]:
    """The visitors that an id joins, or a company has; none if these are too many."""
    return [(place[0], visitor_id) for visitor_id in sorted(_held(place, graph, rules))]


def _held(place: SiteId, graph: Graph[L], rules: IdentityRules) -> frozenset[str]:
    members = graph.members.get(place)
    if members is None:
        graph.missing_ids.add(place)
        return frozenset()
    is_too_large = members.is_crowd(rules) if place[1].startswith(ACCOUNT) else members.is_hub(rules)
    return frozenset() if is_too_large else members.held


def _agrees(visitor: Visitor, id_: str, graph: Graph[L], rules: IdentityRules) -> bool:
    """A link holds when both its ends say so: between two writes only one does. False too when it is not known yet."""
    return id_ in _joining_ids(visitor, graph, rules)
