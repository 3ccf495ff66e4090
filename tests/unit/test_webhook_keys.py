"""Keys of events: the same for a repeat, different for anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import webhook_senders as senders
from hypothesis import example, given
from hypothesis import strategies as st
from webhook_senders import Build

from collector.webhooks.deliveries import DELIVERIES
from collector.webhooks.keys import MAX_KEY, key_of
from collector.webhooks.verified import WebhookScheme

SAMPLES = Path(__file__).parents[2] / "../shared/data/webhooks"


def keys(build: Build, body: Any) -> list[tuple[str, ...]]:
    """Of each event of a true request with that body."""
    return [event.keys for event in build(json.dumps(body).encode()).verify().events]


def sample(name: str) -> Any:
    """A recorded message."""
    if not SAMPLES.is_dir():
        pytest.skip("../shared/data/webhooks is not beside this repository")
    return json.loads((SAMPLES / name).read_bytes())


HUBSPOT_EVENT = {
    "eventId": 100,
    "subscriptionId": 4688180,
    "portalId": 50104303,
    "occurredAt": 1763411205926,
    "subscriptionType": "deal.propertyChange",
    "attemptNumber": 0,
    "objectId": 123,
}


def test_a_hubspot_event_is_the_same_in_another_batch_and_at_another_try() -> None:
    """The number of the try and the place within the request are no part of it."""
    later = {**HUBSPOT_EVENT, "attemptNumber": 3}
    other = {**HUBSPOT_EVENT, "eventId": 7}
    verified = senders.hubspot_v3(json.dumps([other, later]).encode()).verify()
    assert [(event.position, event.attempt) for event in verified.events] == [(0, 0), (1, 3)]
    assert keys(senders.hubspot_v3, [HUBSPOT_EVENT]) == [verified.events[1].keys]
    assert verified.events[0].keys != verified.events[1].keys


@pytest.mark.parametrize("field", ["eventId", "subscriptionId", "portalId", "occurredAt", "objectId"])
def test_hubspots_event_id_alone_does_not_name_an_event(field: str) -> None:
    """HubSpot says that it is not unique."""
    other = {**HUBSPOT_EVENT, field: 1}
    assert keys(senders.hubspot_v3, [HUBSPOT_EVENT]) != keys(senders.hubspot_v3, [other])


def test_a_hubspot_event_without_ids_is_named_by_its_content() -> None:
    """In any order of its fields, and whatever the try."""
    told = {"subscriptionType": "deal.creation", "objectId": 4, "attemptNumber": 0}
    again = {"attemptNumber": 2, "objectId": 4, "subscriptionType": "deal.creation"}
    assert keys(senders.hubspot_v3, [told]) == keys(senders.hubspot_v3, [again])
    assert keys(senders.hubspot_v3, [told]) != keys(senders.hubspot_v3, [{**told, "objectId": 5}])
    assert len(keys(senders.hubspot_v3, {"objectId": 1})) == 1
    assert keys(senders.hubspot_v3, []) == []


def test_an_array_far_beyond_what_hubspot_sends_is_one_event() -> None:
    """A thousand keys are made, no more: the collector has other things to do."""
    assert len(keys(senders.hubspot_v3, [1] * 1000)) == 1000
    verified = senders.hubspot_v3(json.dumps([1] * 1001).encode()).verify()
    assert len(verified.events) == 1
    assert not verified.is_read


PIPEDRIVE = {
    "meta": {
        "action": "change",
        "entity": "deal",
        "company_id": "1",
        "id": "4cb8aca0-6fe2-4ae4-9d2b-b0d2c9ad1a5c",
        "entity_id": "746",
        "timestamp": "2026-05-15T18:00:00.000Z",
        "attempt": 1,
        "webhook_id": "456",
        "correlation_id": "a",
    },
    "data": {"id": 746, "status": "won"},
    "previous": {"status": "open"},
}


def changed(message: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {**message, "meta": {**message["meta"], **meta}}


@pytest.mark.parametrize("event_id", [PIPEDRIVE["meta"]["id"], "746", 746, None])
def test_a_pipedrive_event_is_the_same_at_another_try(event_id: Any) -> None:
    """And when two webhooks tell it; by its UUID or, if that is none, by its content."""
    first = changed(PIPEDRIVE, id=event_id)
    again = changed(first, attempt=2, webhook_id="457", correlation_id="b")
    assert keys(senders.pipedrive, first) == keys(senders.pipedrive, again)
    assert senders.pipedrive(json.dumps(again).encode()).verify().events[0].attempt == 1


@pytest.mark.parametrize("deal", [746, "746"])
def test_changes_of_one_deal_stay_apart_where_the_id_is_the_deals(deal: int | str) -> None:
    """As a key, the deal's number would take all of its changes for one."""
    first = changed(PIPEDRIVE, id=deal)
    assert keys(senders.pipedrive, first) != keys(
        senders.pipedrive, {**first, "data": {"id": 746, "status": "lost"}}
    )
    assert keys(senders.pipedrive, first) != keys(senders.pipedrive, changed(first, timestamp="later"))
    other = changed(PIPEDRIVE, id="5cb8aca0-6fe2-4ae4-9d2b-b0d2c9ad1a5c")
    assert keys(senders.pipedrive, PIPEDRIVE) != keys(senders.pipedrive, other)


def test_a_stripe_event_is_named_by_its_id() -> None:
    """What else the body says may change: ``pending_webhooks`` does."""
    first, again = {"id": "evt_1", "pending_webhooks": 2}, {"id": "evt_1", "pending_webhooks": 1}
    assert keys(senders.stripe, first) == keys(senders.stripe, again) == [("stripe:evt_1",)]


def test_a_shopify_body_under_another_id_is_a_repeat_all_the_same() -> None:
    """No header is signed: whoever caught a request may write any id beside its body."""
    sent = senders.shopify()
    forged = sent.with_header("x-shopify-webhook-id", "1").with_header("x-shopify-event-id", "2")
    assert set(sent.verify().events[0].keys) & set(forged.verify().events[0].keys)


def test_shopify_tells_one_change_under_several_topics() -> None:
    """They share the id of the event and may share the bytes, and are no repeats of each other."""
    sent = senders.shopify()
    other = sent.with_header("x-shopify-topic", "orders/paid").with_header("x-shopify-webhook-id", "other")
    assert not set(sent.verify().events[0].keys) & set(other.verify().events[0].keys)
    twice = sent.with_header("x-shopify-webhook-id", "of a second subscription")
    assert set(sent.verify().events[0].keys) & set(twice.verify().events[0].keys)
    bare = replace(sent, headers=sent.headers[:1])
    assert (
        bare.verify().events
        != replace(senders.shopify(b"{}"), headers=senders.shopify(b"{}").headers[:1]).verify().events
    )
    assert len(bare.verify().events[0].keys) == 1


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
@example(["a:b"], ["a", "b"])
@example(["a%3Ab"], ["a:b"])
def test_different_parts_never_share_a_key(one: list[str], other: list[str]) -> None:
    """Colons, percent signs and any length included."""
    assert (key_of("x", *one) == key_of("x", *other)) == (one == other)
    assert len(key_of("x", *one)) <= MAX_KEY


def test_recorded_messages_have_keys() -> None:
    """Every sample, each event its own."""
    hubspot = sample("hubspot_events.json")
    for message in hubspot["messages"]:
        found = keys(senders.hubspot_v3, message)
        assert len(set(found)) == len(message)
    broken = senders.hubspot_v3(hubspot["broken_body"].encode()).verify()
    assert not broken.is_read
    assert keys(senders.pipedrive, sample("pipedrive_v2_deal.json")["body"])[0][0].startswith(
        "pipedrive:content:"
    )
    assert keys(senders.stripe, sample("stripe_fixtures.json")["event"]) == [
        ("stripe:evt_1Pgc76B7WZ01zgkWwyRHS12y",)
    ]


def test_every_check_has_a_delivery_that_is_remembered_longer_than_it_is_tried() -> None:
    """With the page of the sender that says so."""
    assert set(DELIVERIES) == set(WebhookScheme)
    for scheme, delivery in DELIVERIES.items():
        assert delivery.source.startswith("https://")
        assert delivery.remember_for > (delivery.tries_for or timedelta(0)), scheme
        assert delivery.answer.status == 200
