"""Stripe, Shopify and Standard Webhooks: from their payloads to facts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deal_payloads import RULES, WHOLE, adapt, only, reasons, sample, sha

from attribution.deals.adapters import AdapterRules, Mapped
from attribution.deals.adapters.stripe import major
from attribution.deals.facts import ObjectFact, ObjectKey, ObjectType, states_of
from attribution.deals.identities import who_of
from attribution.deals.life import books_of_facts
from attribution.deals.rules import DealRules
from attribution.money import parse_amount

# Stripe


@pytest.mark.parametrize(
    ("minor", "currency", "expected_minor"),
    [
        (1099, "usd", 1099),
        (500, "jpy", 500),
        (500, "UGX", 5),
        (500, "isk", 5),
        (5, "mga", 500),
        (5120, "kwd", 5120),
        (5, "eur", 5),
        (0, "krw", 0),
    ],
)
def test_stripe_amounts_in_our_minor_units(minor: int, currency: str, expected_minor: int) -> None:
    """Where Stripe and ISO 4217 count otherwise, too."""
    assert parse_amount(major(minor, currency), currency) == expected_minor


def stripe(type_: str, object_: dict[str, Any], created: int = 1_700_000_000) -> tuple[ObjectFact, ...]:
    body = {"id": f"evt_{type_}_{created}", "type": type_, "created": created, "data": {"object": object_}}
    return adapt("stripe", body).facts


def stripe_bookings(*facts: tuple[ObjectFact, ...]) -> list[tuple[str, str, int]]:
    books = books_of_facts([fact for some in facts for fact in some], DealRules())
    return [(one.conversion_type, one.order_id, one.value_minor) for one in books.bookings]


def test_stripe_a_checkout_is_one_sale_however_many_events_tell_it() -> None:
    """Session, payment and charge; the person is the session's."""
    payment = {"object": "payment_intent", "id": "pi", "status": "succeeded", "amount_received": 5000}
    session = {
        "object": "checkout.session",
        "id": "cs",
        "mode": "payment",
        "payment_status": "paid",
        "amount_total": 5000,
        "currency": "eur",
        "payment_intent": "pi",
        "client_reference_id": "v1",
        "customer_details": {"email": "A@b.de"},
        "metadata": {"order_id": "A1", "gclid": "G"},
    }
    charge = {"object": "charge", "id": "ch", "payment_intent": "pi", "amount": 5000, "captured": True}
    facts = (
        stripe("payment_intent.succeeded", {**payment, "currency": "eur"}),
        stripe("checkout.session.completed", session),
        stripe("charge.succeeded", charge),
    )
    assert stripe_bookings(*facts) == [("purchase", "A1", 5000)]
    states = states_of([fact for some in facts for fact in some])
    who = who_of(states, ObjectKey("s", "stripe", ObjectType.payment, "pi"))
    assert who == ((f"email:{sha('a@b.de')}",), ("v1",), (("gclid", "G"),))


def test_stripe_an_invoice_is_the_sale_and_not_the_payment_below_it() -> None:
    """Also when the version of the API does not say that they belong together; a refund finds its way."""
    invoice = {
        "object": "invoice",
        "id": "in_2",
        "status": "paid",
        "amount_paid": 4900,
        "currency": "usd",
        "parent": {"subscription_details": {"subscription": "sub"}},
    }
    trial = {**invoice, "id": "in_1", "amount_paid": 0}
    payment = {"object": "payment_intent", "id": "pi", "status": "succeeded", "amount_received": 4900}
    link = {
        "object": "invoice_payment",
        "invoice": "in_2",
        "payment": {"type": "payment_intent", "payment_intent": "pi"},
    }
    refund = {"object": "refund", "id": "re", "amount": 900, "currency": "usd", "payment_intent": "pi"}
    facts = (
        stripe("invoice.paid", trial, 1_600_000_000),
        stripe("invoice.paid", invoice),
        stripe("payment_intent.succeeded", {**payment, "currency": "usd"}),
    )
    sold = [("purchase", "stripe:subscription:sub", 4900)]
    assert stripe_bookings(*facts) == sold
    more = (stripe("invoice_payment.paid", link), stripe("refund.created", refund, 1_700_000_100))
    assert stripe_bookings(*facts, *more) == [*sold, ("purchase", "stripe:subscription:sub", -900)]


def test_stripe_refunds_inside_a_charge_and_disputes() -> None:
    """A charge that only says how much was refunded is named; a lost dispute takes the rest."""
    charge = {
        "object": "charge",
        "id": "ch",
        "status": "succeeded",
        "captured": True,
        "amount": 1000,
        "amount_captured": 1000,
        "currency": "usd",
        "invoice": None,
    }
    refund = {"object": "refund", "id": "re", "amount": 100, "currency": "usd", "charge": "ch"}
    dispute = {
        "object": "dispute",
        "id": "dp",
        "amount": 1000,
        "currency": "usd",
        "charge": "ch",
        "status": "lost",
    }
    assert stripe_bookings(
        stripe("charge.succeeded", charge),
        stripe("charge.refunded", {**charge, "refunds": {"data": [refund]}}, 1_700_000_100),
        stripe("charge.dispute.closed", dispute, 1_700_000_200),
    ) == [
        ("purchase", "stripe:payment:ch", 1000),
        ("purchase", "stripe:payment:ch", -100),
        ("purchase", "stripe:payment:ch", -900),
    ]
    bare = {"id": "e", "type": "charge.refunded", "created": 1_700_000_000, "data": {"object": charge}}
    assert reasons(adapt("stripe", bare)) == [("refund_details_missing", "data.object.refunds")]


def test_stripe_samples_are_read_without_a_problem() -> None:
    """Each object of the fixtures, as an event; those of no use are ignored by name."""
    fixtures = json.loads(sample("stripe_fixtures.json"))
    read = set()
    for name, object_ in fixtures.items():
        if name == "event":
            continue
        kind = "checkout.session.completed" if name == "checkout.session" else f"{name}.updated"
        mapped = adapt("stripe", {"id": "e", "type": kind, "created": 1, "data": {"object": object_}})
        assert mapped.problems == (), name
        read |= {fact.object_type.value for fact in mapped.facts}
        assert mapped.facts or mapped.ignored
    assert read == {"payment", "invoice", "subscription", "refund", "contact", "dispute"}
    assert adapt("stripe", fixtures["event"]).ignored == ("plan.created",)


def test_stripe_test_data_unknown_currencies_and_missing_objects_have_reasons() -> None:
    """With the path of the field."""
    body = {**WHOLE["stripe"], "livemode": False}
    assert reasons(adapt("stripe", body, rules=AdapterRules(site="s"))) == [("test_data", "livemode")]
    strange = {"object": "refund", "id": "re", "amount": 5, "currency": "zzz"}
    bad = adapt("stripe", {**body, "data": {"object": strange}})
    assert reasons(bad) == [("unknown_currency", "data.object.currency")]
    assert reasons(adapt("stripe", {**body, "data": {}})) == [("missing_field", "data.object.object")]


# Shopify


def shopify(topic: str, payload: Any, rules: AdapterRules = RULES) -> Mapped:
    return adapt("shopify", payload, {"x-shopify-topic": topic}, rules)


ORDER: dict[str, Any] = {
    "id": 450789469,
    "order_number": 1001,
    "name": "#1001",
    "email": "Bob@Example.org ",
    "total_price": "409.94",
    "total_price_set": {
        "shop_money": {"amount": "409.94", "currency_code": "USD"},
        "presentment_money": {"amount": "380.10", "currency_code": "EUR"},
    },
    "currency": "USD",
    "financial_status": "paid",
    "created_at": "2026-01-10T11:00:00-05:00",
    "updated_at": "2026-01-10T11:00:05-05:00",
    "landing_site": "/p?gclid=G1&utm_source=google",
    "note_attributes": [{"name": "hw_visitor_id", "value": "v1"}],
    "customer": {"id": 207119551},
    "cancelled_at": None,
}
REFUND: dict[str, Any] = {
    "id": 509562969,
    "order_id": 450789469,
    "processed_at": "2026-01-12T11:00:00-05:00",
    "transactions": [
        {"kind": "refund", "status": "success", "amount": "41.94", "currency": "USD"},
        {"kind": "refund", "status": "failure", "amount": "41.94", "currency": "USD"},
    ],
}


def test_shopify_an_order_its_refund_inside_and_alone_and_its_cancellation() -> None:
    """The refund counts once; the cancellation takes what is left."""
    cancelled = {
        **ORDER,
        "refunds": [REFUND],
        "financial_status": "partially_refunded",
        "cancelled_at": "2026-01-13T00:00:00Z",
        "updated_at": "2026-01-13T00:00:00Z",
    }
    messages = (("orders/paid", ORDER), ("refunds/create", REFUND), ("orders/cancelled", cancelled))
    facts = [fact for topic, payload in messages for fact in shopify(topic, payload).facts]
    books = books_of_facts(facts, DealRules())
    assert [(one.order_id, one.cause.value, one.value_minor) for one in books.bookings] == [
        ("450789469", "conversion", 40_994),
        ("450789469", "refund", -4_194),
        ("450789469", "cancellation", -36_800),
    ]
    assert books.problems == ()
    who = who_of(states_of(facts), ObjectKey("s", "shopify", ObjectType.order, "450789469"))
    assert who.ids == ("crm:207119551", f"email:{sha('bob@example.org')}")
    assert (who.visitors, who.clicks) == (("v1",), (("gclid", "G1"),))


def test_shopify_presentment_money_and_the_order_id_that_pages_send() -> None:
    """Both are the installation's choice."""
    rules = AdapterRules(site="s", shopify_order_id="name", is_shop_money=False)
    fields = only(shopify("orders/paid", ORDER, rules)).fields
    assert (fields["amount"], fields["currency"], fields["order_id"]) == ("380.10", "EUR", "#1001")


def test_shopify_of_two_messages_of_one_second_the_further_payment_holds() -> None:
    """In either order."""
    for note in range(8):  # whatever the payloads' digests are
        early = only(shopify("orders/create", {**ORDER, "financial_status": "pending", "note": note}))
        late = only(shopify("orders/updated", {**ORDER, "note": note}))
        for facts in ([early, late], [late, early]):
            assert states_of(facts)[early.key].get("status") == "paid"


def test_shopify_deletions_customers_and_other_topics() -> None:
    """A message without its header cannot be understood."""
    assert only(shopify("orders/delete", {"id": 1})).fields == {"is_deleted": True}
    customer = only(
        shopify("customers/update", {"id": 7, "email": "A@b.c", "updated_at": "2026-01-01T00:00:00Z"})
    )
    assert customer.fields["email_sha256"] == sha("a@b.c")
    assert shopify("carts/update", {}).ignored == ("carts/update",)
    assert reasons(shopify("", ORDER)) == [("missing_field", "header x-shopify-topic")]
    test = shopify("orders/paid", {**ORDER, "test": True}, AdapterRules(site="s"))
    assert (test.facts, reasons(test)) == ((), [("test_data", "test")])


def test_shopify_a_refund_that_cannot_be_read_has_a_reason() -> None:
    """Two currencies, or an amount that is none."""
    mixed = {
        **REFUND,
        "transactions": [REFUND["transactions"][0], {**REFUND["transactions"][0], "currency": "EUR"}],
    }
    assert reasons(shopify("refunds/create", mixed)) == [("mixed_currencies", "transactions")]
    bad = {**REFUND, "transactions": [{**REFUND["transactions"][0], "amount": "4,5"}]}
    assert reasons(shopify("refunds/create", bad)) == [("bad_money", "transactions[0].amount")]


# Standard Webhooks


def test_standard_says_everything_in_our_own_words() -> None:
    """The header's id is the event's."""
    payload = {
        "type": "deal.updated",
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {
            "id": 5,
            "stage": "won",
            "amount": 12.5,
            "currency": "EUR",
            "email": "A@b.c",
            "order_id": "D5",
            "msclkid": "M",
            "contact_id": "c1",
        },
    }
    mapped = adapt("standard", payload, {"webhook-id": "msg_1"})
    fact = only(mapped)
    assert (fact.event_id, fact.at_ms, mapped.problems) == ("msg_1", 1_767_225_600_000, ())
    books = books_of_facts(mapped.facts, DealRules())
    assert [(one.conversion_type, one.order_id, one.value_minor) for one in books.bookings] == [
        ("deal_won", "D5", 1250),
        ("opportunity", "D5", 1250),
    ]
    assert who_of(states_of([fact]), fact.key).ids == ("crm:c1", f"email:{sha('a@b.c')}")


def test_standard_the_act_says_the_status_unless_it_is_told() -> None:
    """``order.paid`` is enough."""
    order = {"type": "order.paid", "timestamp": "2026-01-02T00:00:00Z", "data": {"id": "1", "amount": "2"}}
    assert only(adapt("standard", order)).fields["status"] == "paid"
    told = {**order, "data": {"id": "1", "status": "pending"}}
    assert only(adapt("standard", told)).fields["status"] == "pending"
    assert only(adapt("standard", {**order, "type": "payment.succeeded"})).fields["status"] == "paid"
    assert "status" not in only(adapt("standard", {**order, "type": "order.updated"})).fields


def test_standard_refunds_of_orders_and_unknown_objects() -> None:
    """What is not an object of ours is named."""
    back = {
        "type": "refund.created",
        "timestamp": "2026-01-02T00:00:00Z",
        "data": {"id": "r", "amount": "1", "currency": "EUR", "parent": {"object": "order", "id": "1"}},
    }
    assert only(adapt("standard", back)).fields["parent"] == "order:1"
    assert reasons(adapt("standard", {**back, "type": "thing.created"})) == [("unknown_object", "type")]
