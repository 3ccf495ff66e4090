"""Whose conversions are whose: the customers of all conversions at once. Pure.

A customer is the person of the visitor who converted, together with whoever is linked with an id that a sender of deals
told of the conversion. So deals that no visitor is known of are one customer's if they name one contact; and people
whom one deal names are one customer, because a deal has one. What joins nobody (``attribution.persons``) joins no
conversions either.
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


def customers_of(about: About, joined: Joined, rules: IdentityRules) -> Numbers:
    """For each conversion the place of the first one of its customer.

    A customer of more than ``rules.max_visitors_per_person`` persons and ids is none: there everybody keeps what his
    own person bought, and what is about ids alone stands alone.
    """
    count = len(about.visitors)
    told = ~places_in(joined.hubs, about.ids)[1]
    conversions = about.conversions[told]
    ids, of_ids = np.unique(about.ids[told], return_inverse=True)
    # Of a device that several people share only what else is told of the conversion says whose it is.
    is_shared = places_in(joined.shared, about.visitors)[1]
    named = (about.visitors != 0) & ~(is_shared & (np.bincount(conversions, minlength=count) > 0))
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
    return _without_crowds(leaders, sizes > rules.max_visitors_per_person, people, named)


def _without_crowds(leaders: Numbers, is_crowd: Flags, people: Names, named: Flags) -> Numbers:
    count = len(people)
    found = leaders[:count].copy()
    crowded = is_crowd[found]
    found[crowded] = np.flatnonzero(crowded)
    its = np.flatnonzero(crowded & named)
    _, first, which = np.unique(people[its], return_index=True, return_inverse=True)
    found[its] = its[first][which]
    return found
