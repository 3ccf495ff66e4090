"""Who is one customer with whom, as plainly as the rules read: what ``attribution.bulk.customers`` is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attribution.oracle_persons import Link, persons
from attribution.persons import CLOSED_AT, IdentityRules, is_blocked, is_shared


class Sale(NamedTuple):
    """A conversion and whom it is about."""

    site: str
    name: str
    visitor_id: str
    """"" = nobody."""
    ids: tuple[str, ...]


def customers(
    sales: Sequence[Sale], links: dict[Link, bool], rules: IdentityRules
) -> dict[Sale, frozenset[Sale]]:
    """For each of ``sales`` all that are its customer's."""
    visitors = {(one.site, one.visitor_id) for one in sales if one.visitor_id} | {link[:2] for link in links}
    person_of = persons(visitors, links, rules)

    def held_by(visitor: tuple[str, str]) -> list[str]:
        return [
            link[2]
            for link, is_held in links.items()
            if is_held and link[:2] == visitor and not is_blocked(link[2], rules)
        ]

    def shared(visitor: tuple[str, str]) -> bool:
        return is_shared(visitor[1], held_by(visitor), rules)

    def hub(site: str, id_: str) -> bool:
        its = [is_held for link, is_held in links.items() if (link[0], link[2]) == (site, id_)]
        return sum(its) > rules.max_visitors_per_id or len(its) > CLOSED_AT

    def tokens(one: Sale) -> set[object]:
        ids = [id_ for id_ in one.ids if not is_blocked(id_, rules) and not hub(one.site, id_)]
        visitor = (one.site, one.visitor_id)
        found: set[object] = {(one.site, id_) for id_ in ids}
        if one.visitor_id and not (ids and shared(visitor)):
            found.add(person_of[visitor])
        return found

    # What is one: everything that a sale is about, and an id with the people who have it.
    sets: list[set[object]] = [tokens(one) for one in sales]
    told = {token for its in sets for token in its if isinstance(token, tuple)}
    for visitor in visitors:
        if shared(visitor):
            continue
        its_ids = [(visitor[0], id_) for id_ in held_by(visitor)]
        sets += [{person_of[visitor], place} for place in its_ids if place in told]
    whole_sets = _merged(sets)

    def key(one: Sale) -> object:
        its = tokens(one)
        for merged in whole_sets:
            if its & merged:
                if len(merged) <= rules.max_visitors_per_person:
                    return "whole", frozenset(merged)
                people = [token for token in its if isinstance(token, frozenset)]
                return ("person", people[0]) if people else ("ids", frozenset(its))
        return one

    keys = {one: key(one) for one in sales}
    return {one: frozenset(other for other in sales if keys[other] == keys[one]) for one in sales}


def _merged(sets: list[set[object]]) -> list[set[object]]:
    found: list[set[object]] = []
    for one in sets:
        touching = [other for other in found if other & one]
        found = [other for other in found if not other & one]
        found.append(set().union(one, *touching))
    return found
