"""Webhooks of several senders in any order, batching and repetition lead to the same books."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from attribution.deals.adapters import ADAPTERS, AdapterRules, Envelope
from attribution.deals.facts import ObjectFact
from attribution.deals.life import books_of_facts
from attribution.deals.rules import DealRules

RULES = AdapterRules(site="s")
DAY = 86_400_000
T0 = 1_790_000_000_000


def _hubspot(day: int, name: str, value: str) -> dict[str, Any]:
    return {
        "eventId": day,
        "objectId": 1,
        "occurredAt": T0 + day * DAY,
        "subscriptionType": "deal.propertyChange",
        "propertyName": name,
        "propertyValue": value,
        "attemptNumber": 0,
    }


STORY = [
    _hubspot(0, "dealstage", "appointmentscheduled"),
    _hubspot(0, "deal_currency_code", "EUR"),
    _hubspot(1, "amount", "12000"),
    _hubspot(9, "dealstage", "closedwon"),
    _hubspot(30, "dealstage", "closedlost"),
    _hubspot(40, "dealstage", "contractsent"),
    _hubspot(50, "dealstage", "closedwon"),
    _hubspot(50, "amount", "11000.5"),
]


def _stripe(day: int, type_: str, object_: dict[str, Any]) -> tuple[str, Any]:
    created = T0 // 1000 + day * 86_400
    event = {"id": f"evt_{day}_{type_}", "type": type_, "created": created, "livemode": True}
    return "stripe", {**event, "data": {"object": object_}}


_INVOICE = {"object": "invoice", "id": "in", "status": "paid", "amount_paid": 4900, "currency": "eur"}
_REFUND = {"object": "refund", "id": "re", "amount": 900, "currency": "eur", "payment_intent": "pi"}
OTHERS = [
    _stripe(0, "invoice.created", {**_INVOICE, "status": "draft", "amount_paid": 0, "subscription": "sub"}),
    _stripe(0, "invoice.paid", {**_INVOICE, "subscription": "sub", "payment_intent": "pi"}),
    _stripe(2, "refund.created", {**_REFUND, "status": "pending"}),
    _stripe(4, "refund.failed", {**_REFUND, "status": "failed"}),
    _stripe(5, "refund.created", {**_REFUND, "id": "re2", "status": "succeeded"}),
]

EXPECTED = [
    (0, "opportunity", "conversion", 0),
    (0, "purchase", "conversion", 4_900),
    (1, "opportunity", "amount", 1_200_000),
    (2, "purchase", "refund", -900),
    (4, "purchase", "refund_reversed", 900),
    (5, "purchase", "refund", -900),
    (9, "deal_won", "conversion", 1_200_000),
    (30, "deal_won", "lost", -1_200_000),
    (30, "opportunity", "lost", -1_200_000),
    (40, "opportunity", "reopened", 1_200_000),
    (50, "deal_won", "reopened", 1_100_050),
    (50, "opportunity", "amount", -99_950),
]


@given(st.data())
def test_the_story_of_a_deal_and_a_subscription_however_it_is_delivered(data: st.DataObject) -> None:
    """HubSpot's events in batches of any size, each at least once, retries with another attempt and arrival."""
    retried = data.draw(st.lists(st.sampled_from(STORY), max_size=4))
    events = data.draw(st.permutations([*STORY, *({**event, "attemptNumber": 2} for event in retried)]))
    size = data.draw(st.integers(1, len(events)))
    messages: list[tuple[str, Any]] = [
        ("hubspot", events[start : start + size]) for start in range(0, len(events), size)
    ]
    messages += [*OTHERS, *data.draw(st.lists(st.sampled_from(OTHERS), max_size=3))]
    facts: list[ObjectFact] = []
    for number, (source, payload) in enumerate(data.draw(st.permutations(messages))):
        mapped = ADAPTERS[source](json.dumps(payload).encode(), Envelope(T0 + number), RULES)
        assert mapped.problems == ()
        facts += mapped.facts
    books = books_of_facts(facts, DealRules())
    assert [
        ((one.occurred_at - T0) // DAY, one.conversion_type, one.cause.value, one.value_minor)
        for one in books.bookings
    ] == EXPECTED
    assert books.problems == ()
