"""Who is one person, of very many visitors at once: for learning, which asks for everybody.

The links have passed the guards of single visitors and ids already; how large a person may be is judged here. Visitors
and ids are numbers (64-bit hashes). ``attribution.persons`` answers the same for one visitor at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attribution.persons import IdentityRules

Hashes = NDArray[np.uint64]


class Links(NamedTuple):
    """Links that may join, one at each place of these."""

    visitors: Hashes
    ids: Hashes
    is_company: NDArray[np.bool_]
    """The id is a company."""


def joined(links: Links, rules: IdentityRules) -> tuple[Hashes, Hashes]:
    """Visitors that belong to another one, and to which: the same for all visitors of a person.

    In the account view the people of a company are one, and so are those of companies that have somebody in common.
    """
    visitors, places = np.unique(links.visitors, return_inverse=True)
    people = _components(places[~links.is_company], links.ids[~links.is_company], np.arange(len(visitors)))
    sizes = np.bincount(people, minlength=len(visitors))
    people = np.where(sizes[people] > rules.max_visitors_per_person, np.arange(len(visitors)), people)
    if rules.account_view:
        people = _components(places[links.is_company], links.ids[links.is_company], people)
    moved = people != np.arange(len(visitors))
    return visitors[moved], visitors[people[moved]]


def _components(places: NDArray[np.intp], ids: Hashes, labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """``labels`` (of each place, one that is its own label) after everything that shares an id has the lowest one."""
    _, numbers = np.unique(ids, return_inverse=True)
    while True:
        of_id = np.full(int(numbers.max(initial=-1)) + 1, len(labels), dtype=np.intp)
        np.minimum.at(of_id, numbers, labels[places])
        # Not the place but its label is lowered, so that whoever has the same label follows.
        lowered = labels.copy()
        np.minimum.at(lowered, labels[places], of_id[numbers])
        after = lowered[labels]
        while not np.array_equal(after, lowered[after]):
            after = lowered[after]
        if np.array_equal(after, labels):
            return labels
        labels = after
