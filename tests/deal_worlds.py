"""Worlds of deals: what CRMs and shops deliver, written from their documented formats, and the books that follow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from attribution.conversions import ConversionFact
from attribution.deals.adapters import ADAPTERS, AdapterRules, Envelope
from attribution.deals.delivery import Delivery
from attribution.deals.facts import ObjectFact, states_of
from attribution.deals.rules import DealRules
from attribution.deals.told import told_of
from attribution.policy import DAY_MS

T0 = 1_760_000_000_000
EMAIL_OF_ANN = "ann@shop.example"


def hubspot(
    day: float, kind: str, object_id: int, name: str = "", value: str = "", **more: Any
) -> dict[str, Any]:
    """One event as HubSpot sends it (developers.hubspot.com, "Webhooks payloads")."""
    is_change = bool(name)
    event = {
        "eventId": 100,
        "subscriptionId": 7,
        "portalId": 62515,
        "occurredAt": T0 + int(day * DAY_MS),
        "subscriptionType": f"{kind}.{'propertyChange' if is_change else 'creation'}",
        "attemptNumber": 0,
        "objectId": object_id,
        "changeSource": "CRM",
    }
    change = {"propertyName": name, "propertyValue": value} if is_change else {}
    return {**event, **change, **more}


def of_hubspot(events: Sequence[dict[str, Any]], *, site: str = "s", received_at: int = T0) -> Delivery:
    """A request with these events; each has a key of its own, as the collector names it."""
    keys = [[f"hubspot:{json.dumps({**one, 'attemptNumber': 0}, sort_keys=True)}"] for one in events]
    return Delivery(
        site=site,
        source="hubspot",
        scheme="hubspot_v3",
        keys=keys,
        received_at=received_at,
        body=json.dumps(list(events)).encode(),
    )


def stripe(day: float, type_: str, object_: dict[str, Any], *, site: str = "s") -> Delivery:
    """One event as Stripe sends it (docs.stripe.com/api/events/object)."""
    at = T0 // 1000 + int(day * 86_400)
    event = {"id": f"evt_{day}_{type_}", "object": "event", "type": type_, "created": at, "livemode": True}
    return Delivery(
        site=site,
        source="stripe",
        scheme="stripe_v1",
        keys=[[f"stripe:{event['id']}"]],
        received_at=T0 + int(day * DAY_MS) + 5,
        body=json.dumps({**event, "data": {"object": object_}}).encode(),
    )


def standard(day: float, type_: str, **data: Any) -> Delivery:
    """One message of a sender that has no adapter (Standard Webhooks)."""
    message = {"type": type_, "timestamp": T0 // 1000 + int(day * 86_400), "data": data}
    id_ = f"msg_{day}_{type_}_{data.get('id')}"
    return Delivery(
        site="s",
        source="standard",
        scheme="standard_v1",
        keys=[[f"standard:{id_}"]],
        received_at=T0 + int(day * DAY_MS) + 9,
        headers={"webhook-id": id_},
        body=json.dumps(message).encode(),
    )


def postback(day: float, *, scheme: str = "postback", **said: str) -> Delivery:
    """A call of a network, as the collector delivers it."""
    return Delivery(
        site="s",
        source="postback",
        scheme=scheme,
        keys=[[f"postback:{json.dumps(said, sort_keys=True)}"]],
        received_at=T0 + int(day * DAY_MS),
        body=json.dumps(said).encode(),
    )


_INVOICE = {"object": "invoice", "id": "in_1", "status": "paid", "amount_paid": 4900, "currency": "eur"}
_REFUND = {"object": "refund", "amount": 900, "currency": "eur", "payment_intent": "pi_1"}

DEAL_STORY = [
    hubspot(0, "contact", 51),
    hubspot(0, "contact", 51, "email", EMAIL_OF_ANN),
    hubspot(1, "contact", 51, "lifecyclestage", "lead"),
    hubspot(2, "deal", 7),
    hubspot(2, "deal", 7, "dealstage", "appointmentscheduled"),
    hubspot(2, "deal", 7, "deal_currency_code", "EUR"),
    hubspot(3, "deal", 7, "amount", "12000"),
    hubspot(9, "deal", 7, "dealstage", "closedwon"),
    hubspot(30, "deal", 7, "dealstage", "closedlost"),
    hubspot(40, "deal", 7, "dealstage", "contractsent"),
    hubspot(50, "deal", 7, "dealstage", "closedwon"),
    hubspot(50, "deal", 7, "amount", "11000.5"),
    {
        **hubspot(2, "deal", 7),
        "subscriptionType": "deal.associationChange",
        "associationType": "DEAL_TO_CONTACT",
        "fromObjectId": 7,
        "toObjectId": 51,
        "associationRemoved": False,
    },
]
SHOP_STORY = [
    stripe(0, "invoice.created", {**_INVOICE, "status": "draft", "amount_paid": 0, "subscription": "sub_1"}),
    stripe(0, "invoice.paid", {**_INVOICE, "subscription": "sub_1", "payment_intent": "pi_1"}),
    stripe(2, "refund.created", {**_REFUND, "id": "re_1", "status": "pending"}),
    stripe(4, "refund.failed", {**_REFUND, "id": "re_1", "status": "failed"}),
    stripe(5, "refund.created", {**_REFUND, "id": "re_2", "status": "succeeded"}),
    stripe(0.5, "customer.created", {"object": "customer", "id": "cus_1", "email": EMAIL_OF_ANN}),
    stripe(31, "invoice.paid", {**_INVOICE, "id": "in_2", "subscription": "sub_1", "customer": "cus_1"}),
    standard(1, "order.paid", id="A1", amount="30.01", currency="USD", visitor_id="v1"),
    standard(
        6, "refund.succeeded", id="R1", amount="10", currency="USD", parent={"object": "order", "id": "A1"}
    ),
    standard(8, "order.cancelled", id="A1"),
    postback(2, click_id="g1", transaction_id="t1", payout="12.50", currency="EUR"),
    postback(4, click_id="g1", transaction_id="t1", event="rejected"),
    postback(5, click_id="g2", event="lead"),
    standard(3, "order.paid", id="A2", order_id="o1", amount="5", currency="EUR", email=EMAIL_OF_ANN),
]


@st.composite
def deal_worlds(draw: st.DrawFn) -> list[Delivery]:
    """Some of both stories; HubSpot's events in batches of any size."""
    events = draw(st.lists(st.sampled_from(DEAL_STORY), max_size=len(DEAL_STORY), unique_by=repr))
    deliveries = draw(st.lists(st.sampled_from(SHOP_STORY), max_size=len(SHOP_STORY), unique_by=repr))
    while events:
        size = draw(st.integers(1, 4))
        deliveries.append(of_hubspot(events[:size]))
        events = events[size:]
    return deliveries


def facts_in(deliveries: Iterable[Delivery]) -> list[ObjectFact]:
    """What adapters read in them."""
    return [
        fact
        for one in deliveries
        for fact in ADAPTERS[one.source](
            one.body, Envelope(one.received_at, one.headers), AdapterRules(site=one.site)
        ).facts
    ]


def expected_facts(deliveries: Iterable[Delivery], rules: DealRules) -> dict[str, ConversionFact]:
    """By conversion what all of them together tell."""
    told, _ = told_of(states_of(facts_in(deliveries)), {}, rules)
    return {conversion_id: content(one.fact) for conversion_id, one in told.items()}


def content(fact: ConversionFact) -> ConversionFact:
    """All but when and as the how-manieth it was told."""
    return msgspec.structs.replace(fact, revision=0, received_at=0)
