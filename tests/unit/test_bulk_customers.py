"""Customers of all conversions at once against their plain definition."""

from __future__ import annotations

import numpy as np
from customer_worlds import Sale, customers
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.bulk.customers import About, customers_of
from attribution.bulk.persons import KINDS, LinkColumns, joined_by
from attribution.identity import own_name
from attribution.oracle_persons import Link
from attribution.persons import IdentityRules, is_blocked

VISITORS = [*"abcdef", "user:1"]
IDS = ["user:1", "user:2", "email:x", "email:y", "crm:7", "crm:8", "user:nobody"]
worlds = st.lists(
    st.builds(
        Sale,
        site=st.sampled_from("st"),
        name=st.just(""),
        visitor_id=st.sampled_from(["", *VISITORS]),
        ids=st.lists(st.sampled_from(IDS), max_size=2, unique=True).map(tuple),
    ),
    max_size=8,
).map(lambda sales: [one._replace(name=str(number)) for number, one in enumerate(sales)])
links_of_worlds = st.dictionaries(
    st.tuples(st.sampled_from("st"), st.sampled_from(VISITORS), st.sampled_from(IDS)),
    st.sampled_from([True, True, True, False]),
    max_size=14,
)
rules_of_worlds = st.builds(
    IdentityRules,
    max_users_per_visitor=st.integers(1, 2),
    max_emails_per_visitor=st.integers(1, 2),
    max_visitors_per_id=st.integers(2, 6),
    max_visitors_per_person=st.sampled_from([1, 2, 3, 4, 200, 200]),
    blocked_ids=st.just(("nobody",)),
)


def joined(sales: list[Sale], links: dict[Link, bool], rules: IdentityRules) -> dict[Sale, frozenset[Sale]]:
    """As ``attribution.bulk`` tells it; a name's hash is some number that is not 0."""
    hashes: dict[object, int] = {}

    def number(*name: str) -> int:
        return hashes.setdefault(name, 7_919 * (len(hashes) + 3) % 1_009)

    rows = [
        (
            number("visitor", site, visitor),
            number("id", site, id_),
            KINDS[id_[: id_.index(":") + 1]],
            id_ == own_name(visitor),
            is_blocked(id_, rules),
            is_held,
        )
        for (site, visitor, id_), is_held in links.items()
    ]
    given_ = list(zip(*rows, strict=True)) or [()] * 6
    types = (np.uint64, np.uint64, np.uint8, np.bool_, np.bool_, np.bool_)
    columns = LinkColumns(*(np.array(column, dtype=kind) for column, kind in zip(given_, types, strict=True)))
    told = [
        (place, number("id", one.site, id_))
        for place, one in enumerate(sales)
        for id_ in one.ids
        if not is_blocked(id_, rules)
    ]
    about = About(
        np.array(
            [number("visitor", one.site, one.visitor_id) if one.visitor_id else 0 for one in sales],
            dtype=np.uint64,
        ),
        np.array([place for place, _ in told], dtype=np.int64),
        np.array([name for _, name in told], dtype=np.uint64),
    )
    found = customers_of(about, joined_by(columns, rules), rules).tolist()
    return {
        one: frozenset(other for other, its in zip(sales, found, strict=True) if its == which)
        for one, which in zip(sales, found, strict=True)
    }


@settings(max_examples=300, deadline=None)
@given(sales=worlds, links=links_of_worlds, rules=rules_of_worlds)
def test_customers_are_those_of_the_plain_definition(
    sales: list[Sale], links: dict[Link, bool], rules: IdentityRules
) -> None:
    assert joined(sales, links, rules) == customers(sales, links, rules)


def one_customer(*sales: Sale, links: dict[Link, bool] | None = None, **rules: int) -> bool:
    found = joined(list(sales), links or {}, IdentityRules(**rules))
    assert found == customers(sales, links or {}, IdentityRules(**rules))
    return len(found[sales[0]]) == len(sales)


def test_two_devices_of_one_person_are_one_customer_while_the_links_hold() -> None:
    sales = Sale("s", "1", "phone", ()), Sale("s", "2", "laptop", ())
    links = {("s", "phone", "user:1"): True, ("s", "laptop", "user:1"): True}
    assert one_customer(*sales, links=links)
    assert not one_customer(*sales, links={**links, ("s", "laptop", "user:1"): False})


def test_deals_without_a_visitor_are_one_customers_by_the_contact_that_they_name() -> None:
    assert one_customer(Sale("s", "1", "", ("crm:7", "email:x")), Sale("s", "2", "", ("email:x",)))
    assert not one_customer(Sale("s", "1", "", ("crm:7",)), Sale("s", "2", "", ("crm:8",)))
    assert not one_customer(Sale("s", "1", "", ("crm:7",)), Sale("t", "2", "", ("crm:7",)))
    assert not one_customer(Sale("s", "1", "", ()), Sale("s", "2", "", ()))


def test_a_deal_is_the_visitors_who_is_linked_with_its_contact() -> None:
    sales = Sale("s", "1", "a", ()), Sale("s", "2", "", ("email:x",))
    assert one_customer(*sales, links={("s", "a", "email:x"): True})
    assert not one_customer(*sales)


def test_people_whom_one_deal_names_are_one_customer() -> None:
    sales = Sale("s", "1", "a", ()), Sale("s", "2", "b", ()), Sale("s", "3", "", ("crm:7", "crm:8"))
    assert one_customer(*sales, links={("s", "a", "crm:7"): True, ("s", "b", "crm:8"): True})


def test_a_shared_device_is_nobodys_where_something_else_is_told() -> None:
    """A till at which each buyer's own address is noted."""
    links = {("s", "till", f"user:{name}"): True for name in "12"}
    assert not one_customer(
        Sale("s", "1", "till", ("email:x",)), Sale("s", "2", "till", ("email:y",)), links=links
    )
    assert one_customer(Sale("s", "1", "till", ()), Sale("s", "2", "till", ()), links=links)


def test_the_address_of_too_many_visitors_names_no_customer() -> None:
    """A role mailbox: what names it alone is a purchase of its own each."""
    sales = Sale("s", "1", "", ("email:x",)), Sale("s", "2", "", ("email:x",))
    links = {("s", visitor, "email:x"): True for visitor in "abc"}
    assert one_customer(*sales, links=links, max_visitors_per_id=3)
    assert not one_customer(*sales, links=links, max_visitors_per_id=2)


def test_a_crowd_is_no_customer() -> None:
    """A reseller who is a contact of every deal: its deals stand alone, each visitor keeps what he bought."""
    deals = [Sale("s", f"d{number}", "", (f"crm:{number}", "email:x")) for number in range(4)]
    visitor = [Sale("s", f"v{number}", "a", ("email:x",)) for number in range(2)]
    rules = IdentityRules(max_visitors_per_person=5)
    found = joined(deals + visitor, {}, rules)
    assert found == customers(deals + visitor, {}, rules)
    assert [len(its) for its in found.values()] == [1, 1, 1, 1, 2, 2]
    assert len(set(joined(deals, {}, rules).values())) == 1
