"""Customers of all conversions at once against their plain definition."""

from __future__ import annotations

from collections import Counter

import numpy as np
from customer_worlds import Sale, customers
from hypothesis import given, settings
from hypothesis import strategies as st
from link_columns import link_columns

from attribution.bulk.customers import About, customers_of, persons_about, standing
from attribution.bulk.persons import LinkColumns, joined_by
from attribution.oracle_persons import Link, Visitor, named, persons
from attribution.persons import CLOSED_AT, IdentityRules, is_blocked, is_shared

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
    """As ``attribution.bulk`` tells it."""
    about, columns, _ = columns_of(sales, links, rules)
    found = customers_of(about, joined_by(columns, rules), rules).tolist()
    return {
        one: frozenset(other for other, its in zip(sales, found, strict=True) if its == which)
        for one, which in zip(sales, found, strict=True)
    }


def columns_of(
    sales: list[Sale], links: dict[Link, bool], rules: IdentityRules
) -> tuple[About, LinkColumns, dict[object, int]]:
    """Columns, and the hashes in them: a name's is some number that is not 0."""
    hashes: dict[object, int] = {}

    def number(*name: str) -> int:
        return hashes.setdefault(name, 7_919 * (len(hashes) + 3) % 1_009)

    columns = link_columns(links, rules, number)
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
    return about, columns, hashes


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
    again = Sale("s", "again", "", ("email:x", "crm:2"))
    assert joined([*deals, *visitor, again], {}, rules)[again] == {deals[2], again}, "the same ids are one's"
    assert len(set(joined(deals, {}, rules).values())) == 1


def whom(sales: list[Sale], links: dict[Link, bool], rules: IdentityRules) -> dict[Sale, set[object]]:
    """By sale its persons: frozensets of visitors, or the place of the first sale of a customer without any."""
    about, columns, hashes = columns_of(sales, links, rules)
    person_of = people_of(sales, links, rules)
    people: dict[int, object] = {
        number: person_of.get((name[1], name[2]))
        for name, number in hashes.items()
        if isinstance(name, tuple) and name[0] == "visitor"
    }
    names = np.arange(2_000, 2_000 + len(sales), dtype=np.uint64)
    people |= {2_000 + place: place for place in range(len(sales))}
    found: dict[Sale, set[object]] = {one: set() for one in sales}
    places, persons_ = persons_about(about, names, joined_by(columns, rules), rules)
    for place, person in zip(places.tolist(), persons_.tolist(), strict=True):
        found[sales[place]].add(people[person])
    return found


def people_of(
    sales: list[Sale], links: dict[Link, bool], rules: IdentityRules
) -> dict[Visitor, frozenset[Visitor]]:
    visitors = {(one.site, one.visitor_id) for one in sales if one.visitor_id} | {link[:2] for link in links}
    return persons(visitors, links, rules)


@settings(max_examples=300, deadline=None)
@given(sales=worlds, links=links_of_worlds, rules=rules_of_worlds)
def test_persons_are_those_named_else_those_of_the_customer_else_the_customer(
    sales: list[Sale], links: dict[Link, bool], rules: IdentityRules
) -> None:
    person_of = people_of(sales, links, rules)
    tells: dict[Sale, list[str]] = {}
    direct: dict[Sale, set[object]] = {}
    for one in sales:
        tells[one] = []
        for id_ in one.ids:
            its = [is_held for link, is_held in links.items() if (link[0], link[2]) == (one.site, id_)]
            is_hub = sum(its) > rules.max_visitors_per_id or len(its) > CLOSED_AT
            tells[one] += [id_] if not is_hub and not is_blocked(id_, rules) else []
        visitor = (one.site, one.visitor_id)
        held = [link[2] for link, is_held in links.items() if is_held and link[:2] == visitor]
        held = [id_ for id_ in held if not is_blocked(id_, rules)]
        direct[one] = {person_of[other] for other in named(one.site, [], tells[one], person_of, links, rules)}
        if one.visitor_id and not (tells[one] and is_shared(one.visitor_id, held, rules)):
            direct[one].add(person_of[visitor])
    expected: dict[Sale, set[object]] = {}
    for one, its in customers(sales, links, rules).items():
        of_customer: set[object] = set().union(*(direct[other] for other in its))
        alone: set[object] = {min(sales.index(other) for other in its)} if tells[one] else set()
        expected[one] = direct[one] or of_customer or alone
    assert whom(sales, links, rules) == expected


def test_a_contact_is_one_person_by_whichever_of_his_ids() -> None:
    """A form told the address, the CRM the contact and the address, and then the contact alone."""
    rules = IdentityRules()
    lead, deal = Sale("s", "1", "", ("email:x",)), Sale("s", "2", "", ("crm:7", "email:x"))
    renewal, nobodys = Sale("s", "3", "", ("crm:7",)), Sale("s", "4", "", ())
    sales = [lead, deal, renewal, nobodys]
    assert whom(sales, {}, rules) == {lead: {0}, deal: {0}, renewal: {0}, nobodys: set()}
    linked = whom(sales, {("s", "a", "crm:7"): True}, rules)
    ann = frozenset({("s", "a")})
    assert linked == {lead: {ann}, deal: {ann}, renewal: {ann}, nobodys: set()}


def test_two_visitors_of_one_deal_are_two_persons() -> None:
    links = {("s", "a", "crm:7"): True, ("s", "b", "crm:8"): True}
    deal = Sale("s", "1", "", ("crm:7", "crm:8"))
    found = whom([deal], links, IdentityRules())
    assert found == {deal: {frozenset({("s", "a")}), frozenset({("s", "b")})}}


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 1), st.sampled_from([-1, 1])),
        max_size=24,
    )
)
def test_what_stands_is_what_signs_add_up_to(rows: list[tuple[int, int, int, int]]) -> None:
    """Each fact once, where its first row is; and in the order of conversions."""
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    in_time, by_name = standing(
        table[:, 0].astype(np.uint64), table[:, 1:3].astype(np.uint64), table[:, 3].copy()
    )
    total = Counter[tuple[int, ...]]()
    for *fact, sign in rows:
        total[tuple(fact)] += sign
    facts = [tuple(row[:3]) for row in rows]
    assert in_time.tolist() == [
        place for place, fact in enumerate(facts) if total[fact] > 0 and fact not in facts[:place]
    ]
    assert by_name.tolist() == sorted(in_time.tolist(), key=lambda place: (rows[place][0], place))
