"""Refunds that hits report: which order they are of, what is left of it, and what is said when they do not count."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from conversion_facts import NOON, fact
from hypothesis import given
from hypothesis import strategies as st

from attribution import refunds as refunds_module
from attribution.conversions import BookedValue, Conversion, ConversionFact, conversion_id_of_order
from attribution.errors import Rejected
from attribution.hit import Hit
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.refund_hits import is_refund, refund_fact
from attribution.refunds import MAX_REFUNDS, Refund, RefundProblem, left_after, problems_with, united
from streams import metrics
from streams.credit import tell_refund_problems
from streams.recredit import CreditState, Work

POLICY = AttributionPolicy()
BY_SENDER = (BookedValue(NOON, "conversion", 700, 1),)


def hit(**fields: Any) -> Hit:
    base: dict[str, Any] = {
        "event_id": "r1",
        "site": "site",
        "visitor_id": "v1",
        "occurred_at": NOON,
        "received_at": NOON,
        "event": "refund",
        "order_id": "o1",
    }
    return Hit(**base | fields)


def refund(event_id: str = "r1", value: int | None = None, at: int = NOON, currency: str = "USD") -> Refund:
    return Refund(event_id, at, value, "" if value is None else currency)


def reported(one: Refund) -> ConversionFact:
    return fact(
        event_id=one.event_id,
        occurred_at=one.occurred_at,
        value_minor=one.value_minor,
        currency=one.currency,
        is_refund=True,
    )


# What a hit says


def test_a_refund_is_of_the_purchase_with_its_order_id() -> None:
    """Whatever else has that order id: no order has to be known to say so."""
    found = refund_fact(hit(value="4.5", currency="usd"), POLICY, "EUR")
    assert isinstance(found, ConversionFact)
    assert found.conversion_id == conversion_id_of_order("site", "purchase", "o1")
    assert (found.value_minor, found.currency, found.is_refund) == (450, "USD", True)


def test_a_refund_may_name_another_type() -> None:
    named = refund_fact(hit(props=msgspec.Raw(b'{"conversion_type":" lead ","x":[1]}')), POLICY, "EUR")
    assert isinstance(named, ConversionFact)
    assert named.conversion_id == conversion_id_of_order("site", "lead", "o1")


@pytest.mark.parametrize(
    "props", [b"{}", b"[]", b'{"conversion_type":5}', b'{"conversion_type":null}', b'{"conversion_type":""}']
)
def test_props_that_name_no_type_leave_it_a_purchase(props: bytes) -> None:
    """Other producers' props are theirs."""
    found = refund_fact(hit(props=msgspec.Raw(props)), POLICY, "EUR")
    assert isinstance(found, ConversionFact)
    assert found.type == "purchase"


def test_a_refund_without_value_is_all_that_is_left_in_whatever_currency() -> None:
    found = refund_fact(hit(currency="nonsense"), POLICY, "EUR")
    assert isinstance(found, ConversionFact)
    assert (found.value_minor, found.currency) == (None, "")


def test_a_value_without_currency_is_in_the_installations() -> None:
    """As an order's is."""
    found = refund_fact(hit(value="1"), POLICY, "JPY")
    assert isinstance(found, ConversionFact)
    assert (found.value_minor, found.currency) == (1, "JPY")


def test_a_refund_of_nothing_known_says_what_is_wrong() -> None:
    other = msgspec.Raw(b'{"conversion_type":"rent"}')
    assert refund_fact(hit(order_id=""), POLICY, "USD") is RefundProblem.without_order
    assert refund_fact(hit(props=other), POLICY, "USD") is RefundProblem.of_unknown_type


@pytest.mark.parametrize("fields", [{"value": "-1"}, {"value": "x"}, {"value": "1", "currency": "XYZ1"}])
def test_a_value_that_is_no_money_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(Rejected):
        refund_fact(hit(**fields), POLICY, "USD")


def test_a_policy_that_calls_it_a_conversion_means_something_of_its_own() -> None:
    own = AttributionPolicy(conversion_lookbacks_ms={"purchase": DAY_MS, "refund": DAY_MS})
    assert (is_refund("refund", POLICY), is_refund("refund", own), is_refund("Refund", POLICY)) == (
        True,
        False,
        False,
    )


# What is left


def test_parts_and_the_rest_take_what_there_is() -> None:
    parts = [refund("a", 300, NOON + 1), refund("b", 300, NOON + 2), refund("c", None, NOON + 3)]
    assert left_after(1000, "USD", NOON, parts) == [(NOON + 1, 700), (NOON + 2, 400), (NOON + 3, 0)]
    assert problems_with(1000, "USD", parts) == frozenset()


def test_more_than_there_is_leaves_nothing_and_is_said() -> None:
    parts = [refund("a", 700), refund("b", 400), refund("c", 1), refund("d")]
    assert left_after(1000, "USD", NOON, parts) == [(NOON, 300), (NOON, 0)]
    assert problems_with(1000, "USD", parts) == {RefundProblem.exceeds_value}
    assert problems_with(1000, "USD", [refund("a", 1000), refund("b"), refund("c")]) == frozenset()


def test_another_currency_takes_nothing_and_is_said() -> None:
    """Converting it would be inventing a rate. A refund of the whole names no currency that could differ."""
    other = [refund("a", 5, currency="EUR")]
    assert left_after(1000, "USD", NOON, other) == []
    assert problems_with(1000, "USD", other) == {RefundProblem.currency_differs}
    assert left_after(1000, "USD", NOON, [*other, refund("b")]) == [(NOON, 0)]


def test_a_refund_dated_before_its_order_is_booked_with_it() -> None:
    """Clocks differ; nothing can be paid back that was not paid."""
    parts = [refund("a", 1, NOON - 9), refund("b", 2, NOON + 4)]
    assert left_after(10, "USD", NOON, parts) == [(NOON, 9), (NOON + 4, 7)]


def test_nothing_is_booked_where_nothing_changes() -> None:
    assert left_after(10, "USD", NOON, [refund("a", 0)]) == []
    assert left_after(0, "USD", NOON, [refund("a"), refund("b", 5)]) == []


_refunds = st.builds(
    refund,
    st.sampled_from("abcd"),
    st.none() | st.integers(0, 900),
    st.integers(NOON, NOON + 2),
    st.sampled_from(["USD", "EUR"]),
)


@given(st.lists(_refunds, max_size=9), st.integers(1, 4), st.randoms(use_true_random=False))
def test_sets_of_refunds_are_free_of_order_and_repetition(
    drawn: list[Refund], most: int, rng: random.Random
) -> None:
    """Also where there are more than are kept, and where two have one event id."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refunds_module, "MAX_REFUNDS", most)
        at_once = united((), drawn)
        shuffled = [*drawn, *drawn]
        rng.shuffle(shuffled)
        one_by_one: tuple[Refund, ...] = ()
        for one in shuffled:
            one_by_one = united(one_by_one, (one,))
        assert one_by_one == at_once == united(at_once, at_once)
        assert len(at_once) == min(most, len({one.event_id for one in drawn}))


def test_as_many_as_are_kept_are_said() -> None:
    many = united((), [refund(f"{number:04}", 1, NOON + number) for number in range(MAX_REFUNDS + 5)])
    assert [len(many), many[-1].occurred_at] == [MAX_REFUNDS, NOON + MAX_REFUNDS - 1]
    assert problems_with(10**6, "USD", many) == {RefundProblem.too_many}


# Conversions with refunds

ORDER = fact(value_minor=1000, event_id="order")
PAID_BACK = reported(refund("r1", 250, NOON + 5))


@pytest.mark.parametrize("facts", [(ORDER, PAID_BACK), (PAID_BACK, ORDER), (PAID_BACK, ORDER, PAID_BACK)])
def test_an_order_that_is_paid_back_has_bookings(facts: tuple[ConversionFact, ...]) -> None:
    """Whichever came first, and however often."""
    conversion = Conversion.of(facts[0])
    for one in facts[1:]:
        conversion = conversion.merge(one)
    assert conversion.credited.bookings == (
        BookedValue(NOON, "conversion", 1000, 1),
        BookedValue(NOON + 5, "refund", 750, 1),
    )
    assert (conversion.value_minor, conversion.winner, conversion.visitor_ids) == (750, ORDER, ("v1",))
    assert conversion.refund_problems == frozenset()


def test_a_refund_without_its_order_is_worth_nothing_and_is_about_nobody() -> None:
    alone = Conversion.of(PAID_BACK)
    assert (alone.value_minor, alone.credited.number, alone.credited.worths) == (0, 0, ())
    assert alone.visitor_ids == ()
    assert alone.refund_problems == {RefundProblem.without_order}


def test_an_order_from_which_nothing_is_taken_is_reported_as_ever() -> None:
    """So its statement stays what it was, byte for byte."""
    euros = reported(refund("r1", 250, currency="EUR"))
    conversion = Conversion(ORDER).merge(euros)
    assert conversion.credited is ORDER
    assert conversion.refund_problems == {RefundProblem.currency_differs}


def test_whoever_tells_the_order_tells_its_refunds() -> None:
    """A shop's webhook and its tag manager mean the same money; if the shop takes all back the hits count again."""
    told = fact(revision=1, bookings=BY_SENDER, event_id="shop")
    conversion = Conversion(ORDER).merge(PAID_BACK).merge(told)
    assert (conversion.value_minor, conversion.credited.bookings) == (700, BY_SENDER)
    assert conversion.refund_problems == {RefundProblem.told_by_sender}
    withdrawn = conversion.merge(fact(revision=2, event_id="shop"))
    assert (withdrawn.value_minor, withdrawn.refund_problems) == (750, frozenset())


def test_a_better_report_of_the_order_keeps_its_refunds() -> None:
    earlier = fact(value_minor=500, event_id="earlier", occurred_at=NOON - 5)
    conversion = Conversion(ORDER).merge(PAID_BACK).merge(earlier)
    assert [(one.booked_at, one.value_minor) for one in conversion.credited.bookings] == [
        (NOON - 5, 500),
        (NOON + 5, 250),
    ]


_reports = st.builds(
    lambda value, event_id, at: fact(value_minor=value, event_id=event_id, occurred_at=at),
    st.none() | st.integers(0, 900),
    st.sampled_from("xy"),
    st.integers(NOON, NOON + 2),
)
_told = st.builds(
    lambda revision, bookings: fact(revision=revision, bookings=bookings),
    st.integers(1, 3),
    st.sampled_from([(), BY_SENDER]),
)


@given(
    st.lists(_reports | _told | _refunds.map(reported), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_merging_orders_senders_and_refunds_is_free_of_order(
    drawn: list[ConversionFact], rng: random.Random
) -> None:
    """Any order and any repetition; the stored form is what was stored."""
    shuffled = [*drawn, *drawn]
    rng.shuffle(shuffled)
    conversion, in_order = Conversion.of(shuffled[0]), Conversion.of(drawn[0])
    for one in shuffled:
        conversion = conversion.merge(one)
    for one in drawn:
        in_order = in_order.merge(one)
    assert conversion == in_order
    assert conversion.value_minor >= 0
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(conversion), type=Conversion) == conversion


def problems_counted(work: Work) -> dict[str, float]:
    """What ``tell_refund_problems`` adds to the worker's counter."""
    counts = {one: metrics.DEAL_PROBLEMS.labels(one.value) for one in RefundProblem}
    before = {one: counter._value.get() for one, counter in counts.items()}
    tell_refund_problems([work])
    return {
        one.value: counter._value.get() - before[one]
        for one, counter in counts.items()
        if counter._value.get() != before[one]
    }


def test_what_of_refunds_does_not_count_is_counted_once() -> None:
    """When it is new; an order that comes takes nothing back of the counter."""
    alone = Conversion.of(PAID_BACK)
    state = CreditState(alone)
    assert problems_counted(Work(alone, None, [], None)) == {"refund_without_order": 1}
    assert problems_counted(Work(alone.merge(PAID_BACK), state, [], None)) == {}
    assert problems_counted(Work(alone.merge(fact(value_minor=9)), state, [], None)) == {
        "refund_exceeds_value": 1
    }
    assert problems_counted(Work(alone.merge(ORDER), state, [], None)) == {}
