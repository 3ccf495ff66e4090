"""All persons at once are the persons one by one, and the oracle's."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from link_columns import link_columns

from attribution.bulk.persons import KINDS, LinkColumns, joined_by, places_in
from attribution.oracle_persons import Link, named, persons
from attribution.persons import CLOSED_AT, IdentityRules

VISITORS = ("a", "b", "c", "d", "e", "f", "user:u1", "u2")
IDS = (
    *("user:u1", "user:u2", "user:u3", "user:TILL"),
    *("email:e1", "email:e2", "email:e3", "crm:c1", "crm:c2", "crm:c3", "account:acme"),
)

links_of_worlds = st.dictionaries(
    st.tuples(st.sampled_from(["s", "s", "t"]), st.sampled_from(VISITORS), st.sampled_from(IDS)),
    st.sampled_from([True, True, True, False]),
    max_size=30,
)
rules_of_worlds = st.builds(
    IdentityRules,
    max_users_per_visitor=st.sampled_from([1, 1, 2, 9]),
    max_emails_per_visitor=st.sampled_from([1, 2, 9]),
    max_crm_contacts_per_visitor=st.sampled_from([1, 2, 9]),
    max_visitors_per_id=st.sampled_from([9, 9, 1, 2, 3]),
    max_visitors_per_person=st.sampled_from([99, 99, 1, 2, 3, 5]),
    blocked_ids=st.sampled_from([(), (), ("till",), ("e1", "c1")]),
)


def columns_of(links: dict[Link, bool], rules: IdentityRules) -> LinkColumns:
    """As ClickHouse tells them; a name's number is its place."""
    names: dict[object, int] = {}

    def number(*name: str) -> int:
        return names.setdefault(name, len(names))

    return link_columns(links, rules, number)


def visitor_numbers(links: dict[Link, bool]) -> dict[tuple[str, str], int]:
    """The numbers that ``columns_of`` gives visitors who have an id that may join."""
    names: dict[tuple[str, str, str], int] = {}
    for site, visitor, id_ in links:
        if not id_.startswith("account:"):
            names.setdefault(("visitor", site, visitor), len(names))
            names.setdefault(("id", site, id_), len(names))
    return {(site, name): number for (what, site, name), number in names.items() if what == "visitor"}


def id_numbers(links: dict[Link, bool]) -> dict[tuple[str, str], int]:
    """The numbers that ``columns_of`` gives ids."""
    names: dict[tuple[str, str, str], int] = {}
    for site, visitor, id_ in links:
        if not id_.startswith("account:"):
            names.setdefault(("visitor", site, visitor), len(names))
            names.setdefault(("id", site, id_), len(names))
    return {(site, name): number for (what, site, name), number in names.items() if what == "id"}


@settings(max_examples=1500, deadline=None)
@given(links=links_of_worlds, rules=rules_of_worlds, seed=st.integers(0, 99))
def test_people_are_the_oracles(links: dict[Link, bool], rules: IdentityRules, seed: int) -> None:
    """Of any of the visitors: shared devices, hubs, blocked ids, withdrawn links, chains that are too long."""
    joined = joined_by(columns_of(links, rules), rules)
    numbers = visitor_numbers(links)
    everybody = [(site, visitor) for site in ("s", "t") for visitor in VISITORS]
    of = persons(everybody, links, rules)
    some = random.Random(seed).sample(everybody, seed % len(everybody) + 1)
    people = len({frozenset(of[visitor]) for visitor in some})
    asked = np.array([numbers[visitor] for visitor in some if visitor in numbers], dtype=np.uint64)
    assert len(some) - joined.surplus(asked) == people
    event(f"surplus {min(len(some) - people, 3)}")


@settings(max_examples=300, deadline=None)
@given(links=links_of_worlds, rules=rules_of_worlds)
def test_ids_name_whom_the_oracle_says(links: dict[Link, bool], rules: IdentityRules) -> None:
    """Past the guards; and everybody stands for his person, or for himself."""
    joined = joined_by(columns_of(links, rules), rules)
    numbers = visitor_numbers(links)
    name_of = {number: visitor for visitor, number in numbers.items()}
    of = persons(numbers, links, rules)
    everybody = np.array(list(name_of), dtype=np.uint64)
    for visitor, stands in zip(everybody.tolist(), joined.persons_of(everybody).tolist(), strict=True):
        assert of[name_of[visitor]] == of[name_of[stands]]
        assert {
            joined.persons_of(np.array([numbers[one]], dtype=np.uint64))[0] for one in of[name_of[visitor]]
        } == {stands}
    ids = sorted({(site, id_) for site, _, id_ in links if not id_.startswith("account:")})
    hashes = np.array([id_numbers(links)[one] for one in ids], dtype=np.uint64)
    places, whom = joined.named_by(hashes)
    for number, (site, id_) in enumerate(ids):
        found = {name_of[visitor] for visitor in whom[places == number].tolist()}
        # The oracle answers whole persons.
        assert frozenset().union(*(of[one] for one in found)) == named(site, (), [id_], of, links, rules)


def chain(length: int) -> LinkColumns:
    """Visitors in a row, each with an id in common with the next, in no order."""
    places = np.random.default_rng(7).permutation(length).astype(np.uint64)
    visitors = np.concatenate([places[:-1], places[1:]])
    ids = np.concatenate([np.arange(length - 1), np.arange(length - 1)]).astype(np.uint64)
    yes, no = np.ones(len(ids), dtype=np.bool_), np.zeros(len(ids), dtype=np.bool_)
    return LinkColumns(visitors, ids, np.full(len(ids), KINDS["email:"], dtype=np.uint8), no, no, yes)


@pytest.mark.parametrize("length", [2, 199, 200, 201, 20_000])
def test_a_person_is_as_large_as_the_rules_allow(length: int) -> None:
    joined = joined_by(chain(length), IdentityRules())
    assert len(joined.visitors) == (length if length <= 200 else 0)
    assert joined.surplus(np.arange(length, dtype=np.uint64)) == (length - 1 if length <= 200 else 0)


def test_an_id_that_was_ever_everybodys_is_a_hub_for_good() -> None:
    """All but two took it back."""
    for count, expected in ((CLOSED_AT, 1), (CLOSED_AT + 1, 0)):
        visitors = np.arange(count, dtype=np.uint64)
        no = np.zeros(count, dtype=np.bool_)
        ids, kinds = np.zeros(count, dtype=np.uint64), np.ones(count, dtype=np.uint8)
        joined = joined_by(LinkColumns(visitors, ids, kinds, no, no, visitors < 2), IdentityRules())
        assert joined.surplus(visitors) == expected


def test_nobody_is_joined_without_links() -> None:
    assert (
        joined_by(columns_of({}, IdentityRules()), IdentityRules()).surplus(np.array([1, 2], dtype=np.uint64))
        == 0
    )


@pytest.mark.parametrize("most", [2**64 - 1, 2**20], ids=["hashes", "skewed"])
@pytest.mark.parametrize("many", [0, 1, 2, 1000])
def test_names_are_found_where_searching_by_halves_finds_them(most: int, many: int) -> None:
    """However they are spread: the first and the last, those between, before and behind."""
    draw = np.random.default_rng(many)
    names = np.sort(draw.integers(0, most, many, dtype=np.uint64, endpoint=True))
    ends = np.array([0, most, 2**64 - 1], dtype=np.uint64)
    wanted = np.concatenate(
        (ends, names, names - 1, names + 1, draw.integers(0, most, 9000, dtype=np.uint64))
    )
    places, are_there = places_in(names, wanted)
    assert are_there.tolist() == np.isin(wanted, names).tolist()
    assert np.array_equal(places[are_there], np.searchsorted(names, wanted[are_there]))
