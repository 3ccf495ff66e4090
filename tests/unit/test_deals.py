"""Deals: registers of fields, and the bookings that follow from them."""

from __future__ import annotations

import random

import pytest

from attribution.deals.bookings import Cause, standing_at
from attribution.deals.facts import (
    MAX_HISTORY,
    ObjectFact,
    ObjectKey,
    ObjectType,
    Value,
    states_of,
    surviving,
    told,
)
from attribution.deals.families import families_of
from attribution.deals.identities import who_of
from attribution.deals.life import Books, books_of_facts
from attribution.deals.rules import DealRules
from attribution.deals.stages import NOT_A_STEP, Stage, StageMap

RULES = DealRules(default_currency="EUR")
D, ORD, R = ObjectType.deal, ObjectType.order, ObjectType.refund


def fact(
    at: int,
    fields: dict[str, Value],
    type_: ObjectType = D,
    id_: str = "1",
    *,
    source: str = "hubspot",
    rank: int = 1,
    event: str = "",
    version: int = 1,
) -> ObjectFact:
    """A fact of an object at second ``at``."""
    return ObjectFact(
        site="s",
        source=source,
        object_type=type_,
        object_id=id_,
        at_ms=at * 1000,
        event_id=event or f"{at}/{sorted(fields)}",
        fields=fields,
        rank=rank,
        adapter_version=version,
    )


def told_of(books: Books, type_: str) -> list[tuple[int, str, int, int]]:
    """(second, cause, value, count) of the bookings of one conversion type."""
    return [
        (one.occurred_at // 1000, one.cause.value, one.value_minor, one.count)
        for one in books.bookings
        if one.conversion_type == type_
    ]


def reasons(books: Books) -> list[str]:
    return [problem.reason for problem in books.problems]


WON = [
    fact(10, {"stage": "appointmentscheduled", "amount": "10000", "currency": "EUR"}),
    fact(20, {"amount": "12000"}),
    fact(30, {"stage": "closedwon"}),
]


def test_a_deal_opens_grows_and_is_won() -> None:
    """The opportunity follows the amount; the won deal is booked at what it is worth then."""
    books = books_of_facts(WON, RULES)
    assert told_of(books, "opportunity") == [(10, "conversion", 1_000_000, 1), (20, "amount", 200_000, 0)]
    assert told_of(books, "deal_won") == [(30, "conversion", 1_200_000, 1)]
    assert [(moment.at_ms, moment.stage) for moment in books.moments] == [
        (10_000, Stage.opportunity),
        (30_000, Stage.won),
    ]
    assert reasons(books) == []


def test_lost_after_won_is_taken_back_at_its_own_time_and_comes_again_when_it_is_reopened_and_won() -> None:
    """Each turn is a booking under its own cause."""
    facts = [
        *WON,
        fact(40, {"stage": "closedlost"}),
        fact(50, {"stage": "contractsent"}),
        fact(60, {"stage": "closedwon", "amount": "9000.50"}),
    ]
    books = books_of_facts(facts, RULES)
    assert told_of(books, "deal_won") == [
        (30, "conversion", 1_200_000, 1),
        (40, "lost", -1_200_000, -1),
        (60, "reopened", 900_050, 1),
    ]
    assert told_of(books, "opportunity")[2:] == [
        (40, "lost", -1_200_000, -1),
        (50, "reopened", 1_200_000, 1),
        (60, "amount", -299_950, 0),
    ]
    assert [moment.is_reopened for moment in books.moments] == [False, False, False, True, False]


def test_won_and_open_again_falls_without_being_lost() -> None:
    """The opportunity stands through it."""
    books = books_of_facts([*WON, fact(40, {"stage": "contractsent"})], RULES)
    assert told_of(books, "deal_won")[1:] == [(40, "reopened", -1_200_000, -1)]
    assert len(told_of(books, "opportunity")) == 2


def test_an_amount_told_after_the_win_is_an_amount() -> None:
    """A win of nothing yet."""
    books = books_of_facts([fact(10, {"stage": "closedwon"}), fact(20, {"amount": "5"})], RULES)
    assert told_of(books, "deal_won") == [(10, "conversion", 0, 1), (20, "amount", 500, 0)]


def test_stage_and_amount_of_one_instant_are_one_booking() -> None:
    """Whatever event tells which of them."""
    both = [
        fact(10, {"stage": "closedwon"}, event="a"),
        fact(10, {"amount": "7"}, event="b"),
        fact(10, {"currency": "JPY"}, event="c"),
    ]
    assert told_of(books_of_facts(both, RULES), "deal_won") == [(10, "conversion", 7, 1)]


def test_a_currency_that_is_told_late_was_so_from_the_start_and_a_changed_one_is_booked_anew() -> None:
    """No amount is ever in a currency that nobody told."""
    late = [fact(10, {"stage": "closedwon", "amount": "5"}), fact(20, {"currency": "USD"})]
    books = books_of_facts(late, RULES)
    assert [(one.value_minor, one.currency) for one in books.bookings[:2]] == [(500, "USD"), (500, "USD")]
    changed = books_of_facts([*late, fact(30, {"currency": "JPY"})], RULES)
    won = [one for one in changed.bookings if one.conversion_type == "deal_won"]
    assert [(one.value_minor, one.count, one.currency) for one in won[1:]] in (
        [(-500, -1, "USD"), (5, 1, "JPY")],
        [(5, 1, "JPY"), (-500, -1, "USD")],
    )


def test_deletion_restoring_and_merging_are_bookings() -> None:
    """A merged deal no longer stands; the one that took its place is named when nothing is known of it."""
    books = books_of_facts([*WON, fact(40, {"is_deleted": True}), fact(50, {"is_deleted": False})], RULES)
    assert told_of(books, "deal_won")[1:] == [
        (40, "cancellation", -1_200_000, -1),
        (50, "reopened", 1_200_000, 1),
    ]
    merged = books_of_facts([*WON, fact(40, {"merged_into": "2"})], RULES)
    assert told_of(merged, "deal_won")[1:] == [(40, "cancellation", -1_200_000, -1)]
    assert reasons(merged) == ["survivor_unknown"]
    known = books_of_facts(
        [*WON, fact(40, {"merged_into": "2"}), fact(40, {"stage": "closedwon"}, id_="2")], RULES
    )
    assert reasons(known) == []


def test_who_was_a_lead_stays_one_and_each_step_is_booked_once() -> None:
    """Steps before the opportunity are worth nothing and count one."""
    contact = ObjectType.contact
    facts = [
        fact(10, {"stage": "lead"}, contact),
        fact(20, {"stage": "marketingqualifiedlead"}, contact),
        fact(30, {"stage": "lead"}, contact),
        fact(40, {"stage": "marketingqualifiedlead"}, contact),
        fact(50, {"stage": "customer"}, contact),
    ]
    books = books_of_facts(facts, RULES)
    assert told_of(books, "lead") == [(10, "conversion", 0, 1)]
    assert told_of(books, "mql") == [(20, "conversion", 0, 1)]
    assert told_of(books, "deal_won") == []


def test_a_stage_that_nobody_mapped_is_named_and_the_deal_stays_open() -> None:
    """And the installation's own mapping, also by pipeline, goes before the defaults."""
    facts = [fact(10, {"stage": "41", "pipeline": "p", "amount": "3"})]
    books = books_of_facts(facts, RULES)
    assert reasons(books) == ["unmapped_stage"]
    assert told_of(books, "opportunity") == [(10, "conversion", 300, 1)]
    own = StageMap({"hubspot/deal": {"p/41": "won", "41": "lost", "closedwon": NOT_A_STEP}})
    rules = DealRules(default_currency="EUR", stages=own)
    assert told_of(books_of_facts(facts, rules), "deal_won") == [(10, "conversion", 300, 1)]
    assert told_of(books_of_facts([fact(10, {"stage": "closedwon"})], rules), "deal_won") == []


def test_an_outcome_that_the_sender_tells_goes_before_the_stage() -> None:
    """Pipedrive's status, or Salesforce's IsWon."""
    facts = [
        fact(10, {"stage": "4", "status": "open", "amount": "1"}),
        fact(20, {"stage": "4", "status": "won"}),
        fact(30, {"stage": "4", "status": "open"}),
    ]
    books = books_of_facts(facts, RULES)
    assert told_of(books, "deal_won") == [(20, "conversion", 100, 1), (30, "reopened", -100, -1)]
    assert reasons(books) == []


ORDER = fact(10, {"status": "paid", "amount": "100.00", "currency": "EUR"}, ORD, source="shopify")


def refund(at: int, amount: str, id_: str, currency: str = "EUR", **more: Value) -> ObjectFact:
    fields: dict[str, Value] = {"amount": amount, "currency": currency, "parent": "order:1", **more}
    return fact(at, fields, R, id_, source="shopify")


def test_partial_refunds_count_once_each_and_a_cancellation_takes_back_only_what_is_left() -> None:
    """Money is never taken twice."""
    cancelled = fact(40, {"status": "cancelled"}, ORD, source="shopify")
    once = refund(20, "30", "a")
    books = books_of_facts([ORDER, once, once, refund(30, "20.5", "b"), cancelled], RULES)
    assert told_of(books, "purchase") == [
        (10, "conversion", 10_000, 1),
        (20, "refund", -3_000, 0),
        (30, "refund", -2_050, 0),
        (40, "cancellation", -4_950, -1),
    ]
    assert reasons(books) == []


def test_refunds_beyond_the_value_stop_at_zero_and_say_so() -> None:
    """The sum of bookings is never negative."""
    books = books_of_facts([ORDER, refund(20, "80", "a"), refund(30, "80", "b")], RULES)
    assert told_of(books, "purchase")[1:] == [(20, "refund", -8_000, 0), (30, "refund", -2_000, 0)]
    assert reasons(books) == ["refund_exceeds_value"]


def test_a_refund_in_another_currency_is_named_and_not_booked() -> None:
    """Nobody knows its rate."""
    books = books_of_facts([ORDER, refund(20, "80", "a", "USD")], RULES)
    assert len(books.bookings) == 1
    assert reasons(books) == ["refund_currency_differs"]


def test_a_refund_that_fails_comes_back_and_one_without_order_waits() -> None:
    """It is booked when the order is told, by the refund's own time."""
    failed = fact(30, {"status": "failed"}, R, "a", source="shopify")
    books = books_of_facts([ORDER, refund(20, "80", "a", status="pending"), failed], RULES)
    assert told_of(books, "purchase")[1:] == [(20, "refund", -8_000, 0), (30, "refund_reversed", 8_000, 0)]
    orphan = books_of_facts([refund(20, "80", "a")], RULES)
    assert (orphan.bookings, reasons(orphan)) == ((), ["refund_without_order"])


def test_a_refund_of_another_sender_finds_its_deal_by_the_order_id() -> None:
    """The shop pays back what the CRM has won; which of them speaks first is all the same."""
    back = fact(40, {"amount": "1500", "currency": "EUR", "order_id": "A-7"}, R, "re", source="standard")
    deal = [*WON, fact(11, {"order_id": "A-7"})]
    books = books_of_facts([back, *deal], RULES)
    assert told_of(books, "deal_won") == [
        (30, "conversion", 1_200_000, 1),
        (40, "refund", -150_000, 0),
    ]
    assert told_of(books, "opportunity")[-1] == (20, "amount", 200_000, 0), "what was hoped for stays"
    by_own_name = fact(40, {"amount": "1500", "currency": "EUR", "order_id": "hubspot:deal:1"}, R, "re")
    assert told_of(books_of_facts([*WON, by_own_name], RULES), "deal_won")[-1][2] == -150_000
    other = fact(40, {"amount": "1500", "currency": "EUR", "order_id": "A-8"}, R, "re", source="standard")
    assert reasons(books_of_facts([other, *deal], RULES)) == ["refund_without_order"]


def test_only_a_lost_dispute_takes_money() -> None:
    """An open one is no news for the books."""
    fields: dict[str, Value] = {
        "status": "needs_response",
        "amount": "100",
        "currency": "EUR",
        "parent": "order:1",
    }
    opened = fact(20, fields, ObjectType.dispute, "d", source="shopify")
    lost = fact(30, {"status": "lost"}, ObjectType.dispute, "d", source="shopify")
    assert len(books_of_facts([ORDER, opened], RULES).bookings) == 1
    books = books_of_facts([ORDER, opened, lost], RULES)
    assert told_of(books, "purchase")[1:] == [(30, "dispute", -10_000, 0)]


def invoice(at: int, amount: str, id_: str) -> ObjectFact:
    fields: dict[str, Value] = {"status": "paid", "amount": amount, "currency": "EUR", "subscription": "sub"}
    return fact(at, fields, ObjectType.invoice, id_, source="stripe")


def test_a_trial_of_nothing_is_no_purchase_and_the_first_paid_invoice_is() -> None:
    """Later ones are renewals, whatever arrives first; the purchase keeps its name."""
    facts = [invoice(10, "0", "t"), invoice(20, "49", "z"), invoice(30, "25.10", "b")]
    books = books_of_facts(facts, RULES)
    assert told_of(books, "purchase") == [(20, "conversion", 4_900, 1)]
    assert told_of(books, "renewal") == [(30, "conversion", 2_510, 1)]
    late = books_of_facts(facts[2:], RULES)
    assert told_of(late, "purchase") == [(30, "conversion", 2_510, 1)]
    ids = {one.order_id for one in (*late.bookings, *books.bookings) if one.conversion_type == "purchase"}
    assert ids == {"stripe:subscription:sub"}


def test_a_refund_finds_its_invoice_by_way_of_the_payment() -> None:
    """Stripe refunds payments, and payments pay invoices."""
    payment = fact(20, {"status": "paid", "parent": "invoice:a"}, ObjectType.payment, "pi", source="stripe")
    back = fact(30, {"amount": "9", "parent": "payment:pi"}, R, "re", source="stripe")
    books = books_of_facts([invoice(20, "49", "a"), payment, back], RULES)
    assert told_of(books, "purchase")[1:] == [(30, "refund", -900, 0)]


def test_an_order_that_two_senders_tell_is_one() -> None:
    """The first in the rules is believed, and the other is named."""
    shop = fact(10, {"status": "paid", "amount": "100", "order_id": "A1"}, ORD, source="shopify")
    paid = fact(
        9,
        {"status": "paid", "amount": "100", "order_id": "A1", "is_alone": True},
        ObjectType.payment,
        "pi",
        source="stripe",
    )
    books = books_of_facts([paid, shop], RULES)
    assert [(one.order_id, one.object.source) for one in books.bookings] == [("A1", "shopify")]
    assert reasons(books) == ["told_twice"]


def test_a_bad_amount_is_named_and_worth_nothing() -> None:
    """The rest of the deal is booked."""
    books = books_of_facts([fact(10, {"stage": "closedwon", "amount": "a lot"})], RULES)
    assert told_of(books, "deal_won") == [(10, "conversion", 0, 1)]
    assert reasons(books) == ["bad_money"]


def test_the_register_with_the_greatest_instant_rank_and_event_holds() -> None:
    """And of two readings of one event the newer mapping's."""
    first = [
        fact(10, {"amount": "1"}, rank=2),
        fact(10, {"amount": "2"}, event="x"),
        fact(9, {"amount": "3"}),
    ]
    state = states_of(first)[ObjectKey("s", "hubspot", D, "1")]
    assert state.get("amount") == "1"
    again = fact(10, {"amount": "4"}, rank=2, event=first[0].event_id, version=2)
    assert told(told(state, again), first[0]).get("amount") == "4"
    with pytest.raises(ValueError, match="told of"):
        told(state, fact(1, {}, id_="2"))


def test_a_history_beyond_its_limit_says_so_and_depends_on_no_order() -> None:
    """The latest are kept."""
    facts = [fact(second, {"amount": str(second)}) for second in range(MAX_HISTORY + 3)]
    shuffled = random.Random(1).sample(facts, len(facts))
    assert states_of(facts) == states_of(shuffled)
    books = books_of_facts(shuffled, RULES)
    assert reasons(books) == ["history_truncated"]
    assert books.bookings[0].occurred_at == 3_000


def test_who_a_deal_is_about_by_way_of_contacts_that_were_merged() -> None:
    """A withdrawn contact is none; values of nobody are refused."""
    contact = ObjectType.contact
    mail = "ab" * 32
    facts = [
        fact(
            10,
            {"contact:7": True, "contact:8": True, "visitor_id": "v", "click:gclid": "G", "user_id": "null"},
        ),
        fact(20, {"contact:8": False}, event="off"),
        fact(10, {"merged_into": "9"}, contact, "7"),
        fact(10, {"email_sha256": mail}, contact, "9"),
    ]
    states = states_of(facts)
    key = ObjectKey("s", "hubspot", D, "1")
    assert who_of(states, key) == (("crm:9", f"email:{mail}"), ("v",), (("gclid", "G"),))
    circle = states_of([fact(1, {"merged_into": "2"}), fact(1, {"merged_into": "1"}, id_="2")])
    assert surviving(circle, key) == surviving(circle, key._replace(id="2")) == key


def test_what_stood_at_an_instant_is_the_sum_until_then() -> None:
    """As of any moment."""
    bookings = books_of_facts([ORDER, refund(20, "30", "a")], RULES).bookings
    name = ("s", "purchase", "shopify:order:1", "EUR")
    assert standing_at(bookings, 9_999) == {}
    assert standing_at(bookings, 10_000) == {name: (10_000, 1)}
    assert standing_at(bookings, 20_000) == {name: (7_000, 1)}
    assert bookings[1].cause is Cause.refund


def test_a_family_is_joined_by_parents_subscriptions_mergers_and_business_ids() -> None:
    """Each pair is one family, and all others are strangers."""
    payment, sub = ObjectType.payment, ObjectType.subscription
    pairs = [
        [ORDER, refund(20, "1", "a")],
        [invoice(10, "1", "i1"), invoice(20, "2", "i2")],
        [fact(10, {"merged_into": "8"}, id_="7"), fact(10, {"stage": "closedwon"}, id_="8")],
        [
            fact(10, {"order_id": "A1"}, ORD, "21", source="shopify"),
            fact(10, {"order_id": "A1"}, payment, "22", source="stripe"),
        ],
        [
            fact(10, {"subscription": "x"}, ObjectType.invoice, "31", source="stripe"),
            fact(10, {"order_id": "stripe:subscription:x"}, ORD, "32", source="shopify"),
        ],
        [
            fact(10, {"subscription": "y"}, ObjectType.invoice, "41", source="stripe"),
            fact(10, {"status": "active"}, sub, "y", source="stripe"),
        ],
    ]
    states = states_of(one for pair in pairs for one in pair)
    families = [set(family) for family in families_of(states)]
    assert sorted(map(sorted, families)) == sorted(sorted({one.key for one in pair}) for pair in pairs)
