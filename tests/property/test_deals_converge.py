"""Deals are functions of the set of facts: order, repetition and loss with a later resend change nothing (I1)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.deals.bookings import standing_at
from attribution.deals.facts import ObjectFact, ObjectType, Value, states_of, told
from attribution.deals.families import families_of
from attribution.deals.identities import who_of
from attribution.deals.life import books_of, books_of_facts
from attribution.deals.rules import DealRules

RULES = DealRules(default_currency="EUR")
AMOUNTS = st.sampled_from(["0", "5", "12.34", "99999.99", "bad", "-3", None])
CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "XYZ1", None])
FLAGS = st.sampled_from([True, False])


def _fields(**strategies: st.SearchStrategy[Value]) -> st.SearchStrategy[dict[str, Value]]:
    return st.fixed_dictionaries({}, optional=strategies)


COMMON = {"amount": AMOUNTS, "currency": CURRENCIES, "is_deleted": FLAGS}
FIELDS = {
    ObjectType.deal: _fields(
        **COMMON,
        stage=st.sampled_from(["lead", "sql", "contractsent", "closedwon", "closedlost", "?", None]),
        status=st.sampled_from(["open", "won", "lost", None]),
        merged_into=st.sampled_from(["1", "2", None]),
        **{"contact:1": FLAGS, "contact_in:person_id": st.sampled_from(["1", "2", None])},
    ),
    ObjectType.contact: _fields(
        stage=st.sampled_from(["lead", "marketingqualifiedlead", "customer"]),
        merged_into=st.sampled_from(["1", "2", None]),
        email_sha256=st.sampled_from(["ab" * 32, "cd" * 32]),
    ),
    ObjectType.order: _fields(
        **COMMON,
        status=st.sampled_from(["paid", "cancelled", "pending"]),
        order_id=st.sampled_from(["A", None]),
    ),
    ObjectType.invoice: _fields(
        **COMMON, status=st.sampled_from(["paid", "void", "open"]), subscription=st.sampled_from(["s", None])
    ),
    ObjectType.payment: _fields(
        **COMMON,
        status=st.sampled_from(["paid", "failed"]),
        is_alone=FLAGS,
        order_id=st.sampled_from(["A", None]),
        parent=st.sampled_from(["invoice:1", "payment:2", None]),
    ),
    ObjectType.refund: _fields(
        **COMMON,
        status=st.sampled_from(["succeeded", "pending", "failed"]),
        parent=st.sampled_from(["order:1", "deal:1", "payment:1", "invoice:2", "refund:1", "what"]),
    ),
    ObjectType.dispute: _fields(
        **COMMON, status=st.sampled_from(["needs_response", "lost", "won"]), parent=st.just("order:1")
    ),
}


@st.composite
def facts(draw: st.DrawFn) -> ObjectFact:
    """Of few objects, instants and event ids, so that everything collides."""
    object_type = draw(st.sampled_from(list(FIELDS)))
    return ObjectFact(
        site="s",
        source=draw(st.sampled_from(["hubspot", "shopify"])),
        object_type=object_type,
        object_id=draw(st.sampled_from(["1", "2"])),
        at_ms=draw(st.integers(0, 6)) * 1000,
        event_id=draw(st.sampled_from("abcd")),
        fields=draw(FIELDS[object_type]),
        rank=draw(st.integers(0, 2)),
        adapter_version=draw(st.integers(1, 2)),
    )


MANY = st.lists(facts(), max_size=25)


@given(MANY, st.data())
def test_any_order_and_repetition_leads_to_the_same_books(
    told_: list[ObjectFact], data: st.DataObject
) -> None:
    """Also when the first delivery is partial, and the rest comes with repetitions."""
    again = data.draw(st.lists(st.sampled_from(told_), max_size=10)) if told_ else []
    shuffled = data.draw(st.permutations([*told_, *again]))
    part = data.draw(st.integers(0, len(shuffled)))
    states = states_of(shuffled[:part])
    books_of(states, RULES)  # what stood in between leaves no trace
    for fact in [*shuffled[part:], *shuffled[:part]]:
        states[fact.key] = told(states.get(fact.key), fact)
    assert states == states_of(told_)
    assert books_of(states, RULES) == books_of_facts(told_, RULES)
    for key in states:
        assert who_of(states, key) == who_of(states_of(told_), key)


@settings(max_examples=200)
@given(MANY)
def test_no_conversion_is_ever_worth_less_than_nothing_or_stands_twice(told_: list[ObjectFact]) -> None:
    """At every instant, in every currency; and what no longer stands is worth nothing."""
    bookings = books_of_facts(told_, RULES).bookings
    for at_ms in range(0, 7000, 1000):
        for value, count in standing_at(bookings, at_ms).values():
            assert value >= 0
            assert count in (0, 1)
            assert count or value == 0


@given(MANY)
def test_books_of_the_families_are_the_books_of_all(told_: list[ObjectFact]) -> None:
    """So that a change of one object needs its family only."""
    states = states_of(told_)
    whole = books_of(states, RULES)
    parts = [books_of(family, RULES) for family in families_of(states)]
    assert tuple(sorted(one for part in parts for one in part.bookings)) == whole.bookings
    assert tuple(sorted(one for part in parts for one in part.moments)) == whole.moments
    assert tuple(sorted(one for part in parts for one in part.problems)) == whole.problems
