"""Payloads of senders given to their adapters, and what the tests ask of the facts that come out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from attribution.deals.adapters import ADAPTERS, AdapterRules, Envelope, Mapped
from attribution.deals.facts import ObjectFact

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "data" / "webhooks"
RULES = AdapterRules(site="s", accepts_test_data=True)
RECEIVED = 1_800_000_000_000
WHOLE: dict[str, Any] = {
    "hubspot": {
        "eventId": 1,
        "occurredAt": 1763411205926,
        "subscriptionType": "deal.propertyChange",
        "objectId": 123,
        "propertyName": "amount",
        "propertyValue": "12",
    },
    "pipedrive": {
        "meta": {
            "action": "change",
            "entity": "deal",
            "version": "2.0",
            "entity_id": 1,
            "timestamp": 1727447128,
        },
        "data": {
            "id": 1,
            "value": 2.5,
            "currency": "USD",
            "status": "won",
            "update_time": "2024-09-27T14:25:28Z",
        },
    },
    "stripe": {
        "id": "evt_1",
        "type": "refund.created",
        "created": 1700000000,
        "livemode": True,
        "data": {
            "object": {"object": "refund", "id": "re_1", "amount": 5, "currency": "usd", "charge": "ch_1"}
        },
    },
    "shopify": {
        "id": 1,
        "total_price": "5.00",
        "currency": "USD",
        "financial_status": "paid",
        "updated_at": "2026-01-01T00:00:00-05:00",
        "customer": {"id": 7},
        "note_attributes": [{"name": "visitor_id", "value": "v"}],
        "refunds": [{"id": 3, "transactions": [{"kind": "refund", "status": "success", "amount": "1.00"}]}],
    },
    "standard": {
        "type": "order.paid",
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {"id": "1", "amount": "5"},
    },
}
"""By sender a payload with something in every place."""


def adapt(
    source: str, payload: Any, headers: dict[str, str] | None = None, rules: AdapterRules = RULES
) -> Mapped:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return ADAPTERS[source](body, Envelope(RECEIVED, headers or {}), rules)


def reasons(mapped: Mapped) -> list[tuple[str, str]]:
    return [(problem.reason, problem.field) for problem in mapped.problems]


def only(mapped: Mapped) -> ObjectFact:
    (fact,) = mapped.facts
    return fact


def sample(name: str) -> bytes:
    if not (SAMPLES / name).exists():
        pytest.skip(f"../shared/data/webhooks/{name} is not here")
    return (SAMPLES / name).read_bytes()


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
