"""Whose conversions are whose: the customers of all conversions at once. Pure.

A customer is the person of the visitor who converted, together with whoever is linked with an id that a sender of deals
told of the conversion. So deals that no visitor is known of are one customer's if they name one contact, by whichever
of his ids; and people whom one deal names are one customer, because a deal has one. What joins nobody
(``attribution.persons``) joins no conversions either.

A customer is who buys; a person is who does something, alone or with others (``persons_about``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from attribution.bulk.persons import Flags, Joined, Names, Numbers, components, places_in
from attribution.persons import IdentityRules


class About(NamedTuple):
    """Whom conversions are about."""

    visitors: Names
    """Of each conversion the visitor who converted; 0 = nobody is known."""
    conversions: Numbers
    """Places of conversions of which senders told ids, and beside them ``ids``, which are not blocked."""
    ids: Names


def standing(conversions: Names, facts: Names, signs: Numbers) -> tuple[Numbers, Numbers]:
    """Rows of facts that stand, each fact once: in the order that rows are in, and in that of ``conversions``.

    ``facts``: beside each of ``conversions`` what else is said of it. Of those that stand the ``signs`` add up to more
    than 0.
    """
    by_name = np.argsort(conversions, kind="stable")
    in_order = conversions[by_name]
    differs = np.ones(len(in_order) + 1, dtype=np.bool_)
    differs[1:-1] = in_order[1:] != in_order[:-1]
    stands = np.zeros(len(in_order), dtype=np.bool_)
    # Most have one row. Only the others need to be compared.
    is_alone = differs[1:] & differs[:-1]
    alone = by_name[is_alone]
    stands[alone] = signs[alone] > 0
    others = np.sort(by_name[~is_alone])
    said = np.column_stack((conversions[others], facts[others]))
    _, first, which = np.unique(said, axis=0, return_index=True, return_inverse=True)
    total = np.zeros(len(first), dtype=np.int64)
    np.add.at(total, which.reshape(-1), signs[others])
    stands[others[first[total > 0]]] = True
    return np.flatnonzero(stands), by_name[stands[by_name]]


def customers_of(about: About, joined: Joined, rules: IdentityRules) -> Numbers:
    """For each conversion the place of the first one of its customer.

    A customer of more than ``rules.max_visitors_per_person`` persons and ids is none: there everybody keeps what his
    own person bought, and what is about ids alone is one customer's if the ids are the same.
    """
    count = len(about.visitors)
    conversions, told_ids = _told(about, joined)
    ids, of_ids = np.unique(told_ids, return_inverse=True)
    named = _are_visitors_own(about, conversions, joined)
    people = joined.persons_of(about.visitors)
    held, holders = joined.named_by(ids)
    persons, of_persons = np.unique(
        np.concatenate((people[named], joined.persons_of(holders))), return_inverse=True
    )
    # Conversions, and links of people with ids, on one side; persons and ids on the other.
    links = count + np.arange(len(held))
    ones = np.concatenate((np.flatnonzero(named), links, conversions, links))
    others = np.concatenate((of_persons, len(persons) + of_ids, len(persons) + held))
    most = len(persons) + len(ids)
    leaders = components(ones, others, count + len(links), most)
    leader_of_other = np.zeros(most, dtype=np.int64)
    leader_of_other[others] = leaders[ones]
    sizes = np.bincount(leader_of_other, minlength=count + len(links))
    is_crowd = sizes > rules.max_visitors_per_person
    return _without_crowds(leaders[:count], is_crowd[leaders[:count]], people, named, (conversions, of_ids))


def persons_about(about: About, names: Names, joined: Joined, rules: IdentityRules) -> tuple[Numbers, Names]:
    """Whom conversions are about: places of conversions, each as often as it is about somebody, and those persons.

    That are the person of the visitor who converted and everybody who is linked with a told id. Where there is nobody,
    those whom other conversions of the same customer name; where these name nobody either the customer is a person of
    his own, called by what ``names`` (of conversions, none of them a visitor) has of his first conversion. A conversion
    of which neither visitor nor id is known is about nobody.
    """
    conversions, ids = _told(about, joined)
    named = _are_visitors_own(about, conversions, joined)
    places, linked = joined.named_by(ids)
    found = np.concatenate((np.flatnonzero(named), conversions[places]))
    persons = np.concatenate((joined.persons_of(about.visitors[named]), joined.persons_of(linked)))
    is_open = np.zeros(len(about.visitors), dtype=np.bool_)
    is_open[conversions] = True
    is_open[found] = False
    others = np.flatnonzero(is_open)
    if not len(others):
        return found, persons
    customers = customers_of(about, joined, rules)
    of_persons = customers[found]
    by_customer = np.lexsort((persons, of_persons))
    its, who = of_persons[by_customer], persons[by_customer]
    is_first = np.append(True, (its[1:] != its[:-1]) | (who[1:] != who[:-1]))[: len(its)]
    its, who = its[is_first], who[is_first]
    low = np.searchsorted(its, customers[others], side="left")
    many = np.searchsorted(its, customers[others], side="right") - low
    within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    alone = others[many == 0]
    return (
        np.concatenate((found, np.repeat(others, many), alone)),
        np.concatenate((persons, who[np.repeat(low, many) + within], names[customers[alone]])),
    )


def _told(about: About, joined: Joined) -> tuple[Numbers, Names]:
    """Places of conversions, and the ids told of them that stand for somebody."""
    told = ~places_in(joined.hubs, about.ids)[1]
    return about.conversions[told], about.ids[told]


def _are_visitors_own(about: About, conversions: Numbers, joined: Joined) -> Flags:
    """Which conversions are their visitor's; ``conversions`` are those of which ids are told.

    Of a device that several people share only what else is told of the conversion says whose it is.
    """
    is_shared = places_in(joined.shared, about.visitors)[1]
    is_told = np.bincount(conversions, minlength=len(about.visitors)) > 0
    are_own: Flags = (about.visitors != 0) & ~(is_shared & is_told)
    return are_own


def _without_crowds(
    leaders: Numbers, are_crowded: Flags, people: Names, named: Flags, told: tuple[Numbers, Numbers]
) -> Numbers:
    found = leaders.copy()
    its = np.flatnonzero(are_crowded & named)
    _, first, which = np.unique(people[its], return_index=True, return_inverse=True)
    found[its] = its[first][which]
    conversions, ids = told
    of_crowd = (are_crowded & ~named)[conversions]
    conversions, ids = conversions[of_crowd], ids[of_crowd]
    in_order = np.lexsort((ids, conversions))
    conversions, ids = conversions[in_order], ids[in_order]
    starts = np.flatnonzero(np.append(True, conversions[1:] != conversions[:-1])[: len(conversions)])
    firsts: dict[bytes, int] = {}
    for start, one in zip(starts, np.split(ids, starts[1:]), strict=True) if len(starts) else ():
        place = int(conversions[start])
        found[place] = firsts.setdefault(one.tobytes(), place)
    return found
