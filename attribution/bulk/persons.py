"""Persons of all visitors at once: the rules of ``attribution.persons`` over columns of links.

For whoever counts people. Visitors and ids are numbers here (hashes of their names): a million links take about half
a second. Equal to ``person_of`` for every visitor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attribution.identity import CRM, EMAIL, USER
from attribution.persons import CLOSED_AT, IdentityRules

_FEW = 4096
_MOST_IN_A_ROW = 64
"""Names with the same first bits: of more the search by halves is quicker."""

Names = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

KINDS = {USER: 1, EMAIL: 2, CRM: 3}
"""Numbers of the kinds that join visitors."""


class LinkColumns(NamedTuple):
    """Links between visitors and ids that join, each pair once, withdrawn ones included."""

    visitors: Names
    ids: Names
    kinds: NDArray[np.uint8]
    """As ``KINDS`` has them."""
    are_own: Flags
    """The id is the visitor's own name (``identity.own_name``)."""
    are_blocked: Flags
    """``persons.is_blocked``."""
    are_held: Flags


class Joined(NamedTuple):
    """The visitors who are one person with another visitor."""

    visitors: Names
    """In order."""
    persons: Names
    """Beside each visitor the visitor who stands for his person."""
    ids: Names
    """Of all links that join, whomever; in order."""
    linked: Names
    """Beside each id the visitor whom it names."""
    hubs: Names
    """Ids of too many visitors: they name nobody. In order."""
    shared: Names
    """Devices that several people share: they join nobody. In order."""

    def persons_of(self, visitors: Names) -> Names:
        """For each of ``visitors`` the visitor who stands for his person: himself, if nobody is joined with him."""
        if not len(self.visitors):
            return visitors
        places, are_joined = places_in(self.visitors, visitors)
        return np.where(are_joined, self.persons[places], visitors)

    def named_by(self, ids: Names) -> tuple[Numbers, Names]:
        """Whom ids name, past the guards: places in ``ids``, each as often as it names somebody, and those visitors."""
        low = np.searchsorted(self.ids, ids, side="left")
        many = np.searchsorted(self.ids, ids, side="right") - low
        places = np.repeat(np.arange(len(ids)), many)
        within = np.arange(len(places)) - np.repeat(np.cumsum(many) - many, many)
        return places, self.linked[np.repeat(low, many) + within]

    def surplus(self, visitors: Names) -> int:
        """By how many ``visitors`` (each once) are more than the people that they are."""
        places, are_joined = places_in(self.visitors, visitors)
        persons = self.persons[places[are_joined]]
        return len(persons) - len(np.unique(persons))


def places_in(names: Names, wanted: Names) -> tuple[Numbers, Flags]:
    """The place of each of ``wanted`` in ``names``, which are in order, and whether it is there."""
    if not len(names):
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=np.bool_)
    places = np.minimum(_searched(names, wanted), len(names) - 1)
    return places, names[places] == wanted


def _searched(names: Names, wanted: Names) -> Numbers:
    """As ``np.searchsorted``: where their first bits point to, and on from there. Hashes are spread evenly."""
    bits = len(names).bit_length()
    shift = np.uint64(64 - bits)
    if len(wanted) < max(_FEW, len(names)):
        return np.searchsorted(names, wanted)
    starts: Numbers = np.searchsorted(names >> shift, np.arange((1 << bits) + 1, dtype=np.uint64))
    if np.diff(starts).max() > _MOST_IN_A_ROW:
        return np.searchsorted(names, wanted)
    places: Numbers = starts[wanted >> shift]
    ended = np.append(names, np.iinfo(np.uint64).max)
    behind = np.flatnonzero(ended[places] < wanted)
    while len(behind):
        places[behind] += 1
        behind = behind[ended[places[behind]] < wanted[behind]]
    return places


def joined_by(links: LinkColumns, rules: IdentityRules) -> Joined:
    """Who is one person with whom, past the guards of ``rules``."""
    visitors, visitor_of = np.unique(links.visitors, return_inverse=True)
    ids, id_of = np.unique(links.ids, return_inverse=True)
    count = len(visitors)
    counting = links.are_held & ~links.are_blocked
    is_shared = np.zeros(count, dtype=np.bool_)
    for kind, most in (
        (KINDS[USER], rules.max_users_per_visitor),
        (KINDS[EMAIL], rules.max_emails_per_visitor),
        (KINDS[CRM], rules.max_crm_contacts_per_visitor),
    ):
        its = counting & (links.kinds == kind) & ~links.are_own
        is_shared |= np.bincount(visitor_of[its], minlength=count) > most
    held = np.bincount(id_of[links.are_held], minlength=len(ids))
    ever = np.bincount(id_of, minlength=len(ids))
    is_hub = (held > rules.max_visitors_per_id) | (ever > CLOSED_AT)
    joining = counting & ~is_shared[visitor_of] & ~is_hub[id_of]
    leaders = components(visitor_of[joining], id_of[joining], count, len(ids))
    sizes = np.bincount(leaders, minlength=count)[leaders]
    are_joined = (sizes > 1) & (sizes <= rules.max_visitors_per_person)
    by_id = np.argsort(links.ids[joining], kind="stable")
    return Joined(
        visitors[are_joined],
        visitors[leaders[are_joined]],
        links.ids[joining][by_id],
        links.visitors[joining][by_id],
        ids[is_hub],
        visitors[is_shared],
    )


def components(visitor_of: Numbers, id_of: Numbers, visitors: int, ids: int) -> Numbers:
    """For each of ``visitors`` the lowest that links connect him with; visitors and ids are numbers from 0.

    Everybody takes the lowest leader of those whom an id joins him with, and so does his leader; then everybody takes
    his leader's leader: long chains shrink by halves (the hooking of Shiloach and Vishkin, 1982).
    """
    leaders = np.arange(visitors, dtype=np.int64)
    while True:
        lowest = np.full(ids, visitors, dtype=np.int64)
        np.minimum.at(lowest, id_of, leaders[visitor_of])
        after = leaders.copy()
        np.minimum.at(after, leaders[visitor_of], lowest[id_of])
        np.minimum.at(after, visitor_of, lowest[id_of])
        after = after[after]
        if np.array_equal(after, leaders):
            return leaders
        leaders = after
