"""Adapters: each sender's payloads as facts, and every malformed one with a reason."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.deals.adapters import ADAPTERS, VERSIONS, AdapterRules, Envelope, Mapped
from attribution.deals.adapters.base import instant
from attribution.deals.adapters.salesforce import long_id
from attribution.deals.adapters.stripe import major
from attribution.deals.facts import ObjectFact, ObjectKey, ObjectType, states_of
from attribution.deals.identities import who_of
from attribution.deals.life import books_of_facts
from attribution.deals.rules import DealRules
from attribution.money import parse_amount

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "data" / "webhooks"
RULES = AdapterRules(site="s", accepts_test_data=True)
RECEIVED = 1_800_000_000_000


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


# All senders


@pytest.mark.parametrize("source", ADAPTERS)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"a": 1e999999999}', b"nonsense", b"<a>" * 200_000]
)
def test_a_payload_that_is_none_has_a_reason(source: str, body: bytes) -> None:
    """Nothing is raised, nothing invented."""
    mapped = adapt(source, body)
    assert mapped.facts == ()
    assert len(mapped.problems) >= 1


@pytest.mark.parametrize("source", ADAPTERS)
@pytest.mark.parametrize("payload", [None, 1, "text", [], {}, [1], [[]], {"data": 5, "meta": [], "type": {}}])
def test_a_payload_of_another_shape_has_a_reason_or_says_nothing(source: str, payload: Any) -> None:
    """An empty batch is well-formed."""
    mapped = adapt(source, payload)
    assert mapped.facts == ()
    assert mapped.problems or payload in ([], None)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=6,
)
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
HEADERS = {"x-shopify-topic": "orders/updated"}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys: Any = (
        value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    return [path, *(place for key in keys for place in _places(value[key], (*path, key)))]


@settings(max_examples=300)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_no_value_in_any_place_makes_an_adapter_raise(source: str, data: st.DataObject) -> None:
    """Facts stay well-formed, so that books can be made of them; the same payload is read the same twice."""
    payload = json.loads(json.dumps(WHOLE[source]))
    place = data.draw(st.sampled_from(_places(payload)[1:]))
    inner = payload
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = data.draw(JSON)
    mapped = adapt(source, payload, HEADERS)
    assert mapped == adapt(source, payload, HEADERS)
    books_of_facts(mapped.facts, DealRules())
    for fact in mapped.facts:
        assert fact.object_id
        assert fact.adapter_version == VERSIONS[source]
        assert all(value is None or isinstance(value, (str, int, bool)) for value in fact.fields.values())


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        ("2026-07-01T12:00:00Z", "UTC", 1_782_907_200_000),
        ("2026-07-01T12:00:00", "Europe/Berlin", 1_782_900_000_000),
        ("2026-07-01T12:00:00.250+02:00", "UTC", 1_782_900_000_250),
        (1727447128, "UTC", 1_727_447_128_000),
        ("1763411205926", "UTC", 1_763_411_205_926),
        ("tomorrow", "UTC", None),
        (True, "UTC", None),
        (-5, "UTC", None),
        ("0001-01-01T00:00:00+14:00", "UTC", None),
    ],
)
def test_instants_of_every_notation(value: Any, zone: str, expected: int | None) -> None:
    """Times without a zone are in the installation's."""
    assert instant(value, zone) == expected


# HubSpot


def event(**more: Any) -> dict[str, Any]:
    return {**WHOLE["hubspot"], **more}


def test_hubspot_grows_a_deal_by_properties_in_any_order() -> None:
    """Retries raise the attempt and are the same event; the flag that is set speaks of the outcome."""
    at = 1763411205926
    batch = [
        event(occurredAt=at + 2, propertyName="hs_is_closed_won", propertyValue="true"),
        event(occurredAt=at + 2, propertyName="hs_is_closed_lost", propertyValue="false"),
        event(propertyValue="1234.50"),
        event(occurredAt=at + 1, propertyName="deal_currency_code", propertyValue="EUR"),
        event(propertyValue="1234.50", attemptNumber=3),
    ]
    facts = adapt("hubspot", batch).facts
    assert facts[2].event_id == facts[4].event_id
    books = books_of_facts(facts, DealRules())
    won = [one for one in books.bookings if one.conversion_type == "deal_won"]
    assert [(one.value_minor, one.currency, one.occurred_at) for one in won] == [(123450, "EUR", at + 2)]


def test_hubspot_hashes_addresses_and_follows_associations_and_merges() -> None:
    """The contact that another was merged into is the person."""
    batch = [
        event(
            subscriptionType="contact.propertyChange",
            objectId=7,
            propertyName="email",
            propertyValue=" A@B.com ",
        ),
        {
            "subscriptionType": "deal.associationChange",
            "occurredAt": 1763411205926,
            "associationType": "DEAL_TO_CONTACT",
            "fromObjectId": 123,
            "toObjectId": 6,
            "associationRemoved": False,
        },
        {
            "subscriptionType": "contact.merge",
            "occurredAt": 1763411205926,
            "primaryObjectId": 7,
            "mergedObjectIds": [6],
        },
    ]
    mapped = adapt("hubspot", batch)
    assert mapped.problems == ()
    who = who_of(states_of(mapped.facts), ObjectKey("s", "hubspot", ObjectType.deal, "123"))
    assert who.ids == ("crm:7", f"email:{sha('a@b.com')}")
    assert "A@B" not in str(mapped.facts)


def test_hubspot_a_flag_that_is_taken_back_leaves_the_outcome_to_the_stage() -> None:
    """Also when nobody subscribed to the other flag."""
    at = 1763411205926
    batch = [
        event(propertyName="dealstage", propertyValue="closedwon"),
        event(propertyName="hs_is_closed_won", propertyValue="true"),
        event(occurredAt=at + 5, propertyName="dealstage", propertyValue="closedlost"),
        event(occurredAt=at + 5, propertyName="hs_is_closed_won", propertyValue="false"),
    ]
    books = books_of_facts(adapt("hubspot", batch).facts, DealRules())
    assert [moment.stage.value for moment in books.moments] == ["won", "lost"]


def test_hubspot_generic_events_name_their_object_by_number() -> None:
    """And what is of no use is named, not refused."""
    generic = event(subscriptionType="object.propertyChange", objectTypeId="0-3")
    assert only(adapt("hubspot", [generic])).key.type is ObjectType.deal
    mapped = adapt("hubspot", [event(subscriptionType="ticket.creation"), event(propertyName="dealname")])
    assert (mapped.facts, mapped.ignored) == ((), ("deal.dealname", "ticket.creation"))


def test_hubspot_samples() -> None:
    """Events without a time count by arrival and say so; the broken body is no JSON."""
    content = json.loads(sample("hubspot_events.json"))
    first, second, third = (adapt("hubspot", message) for message in content["messages"])
    assert (only(first).at_ms, only(first).fields) == (1763411205926, {"stage": "appointmentscheduled"})
    assert (only(second).at_ms, only(second).fields) == (1539145399845, {"is_deleted": False})
    assert {reason for reason, _ in reasons(third)} == {"no_time_of_change"}
    assert [fact.fields.get("amount") for fact in third.facts if fact.object_type is ObjectType.deal] == [
        None,
        "100",
    ]
    assert third.ignored == ("company.name", "ticket.creation")
    assert reasons(adapt("hubspot", content["broken_body"].encode())) == [("not_json", "")]
    assert reasons(adapt("hubspot", [event(subscriptionType="contact")])) == [
        ("unknown_event", "[0].subscriptionType")
    ]


def test_hubspot_a_bad_event_does_not_spoil_its_neighbours() -> None:
    """Each problem has the path of its field."""
    mapped = adapt("hubspot", [event(objectId=None), 5, event()])
    assert len(mapped.facts) == 1
    assert reasons(mapped) == [("missing_field", "[0].objectId"), ("bad_payload", "[1]")]


# Pipedrive


def test_pipedrive_sample() -> None:
    """The whole deal, dated by its own time of update."""
    mapped = adapt("pipedrive", json.loads(sample("pipedrive_v2_deal.json"))["body"])
    fact = only(mapped)
    assert (fact.key, fact.at_ms) == (ObjectKey("s", "pipedrive", ObjectType.deal, "1"), 1_727_447_128_000)
    assert {name: fact.fields[name] for name in ("amount", "currency", "status", "stage", "contact:3")} == {
        "amount": "2",
        "currency": "USD",
        "status": "open",
        "stage": "1",
        "contact:3": True,
    }
    assert mapped.problems == ()


def test_pipedrive_reads_custom_fields_merges_and_versions() -> None:
    """A merge is a deletion that names the survivor; version 1 is refused with a remedy."""
    payload = json.loads(json.dumps(WHOLE["pipedrive"]))
    payload["data"]["custom_fields"] = {"9f": {"type": "varchar", "value": "v1"}, "gclid": "G"}
    rules = AdapterRules(site="s", own_fields={"pipedrive/deal": {"9f": "visitor_id"}})
    fact = only(adapt("pipedrive", payload, rules=rules))
    assert (fact.fields["visitor_id"], fact.fields["click:gclid"], fact.fields["amount"]) == (
        "v1",
        "G",
        "2.5",
    )
    gone = {"meta": {**payload["meta"], "action": "delete", "merged_to_id": 2}, "data": None}
    assert only(adapt("pipedrive", gone)).fields == {"is_deleted": True, "merged_into": "2"}
    payload["meta"]["version"] = "1.0"
    assert reasons(adapt("pipedrive", payload)) == [("unknown_version", "meta.version")]


def test_pipedrive_person_has_the_primary_address() -> None:
    """Hashed."""
    payload = {
        "meta": {
            "action": "create",
            "entity": "person",
            "version": "2.0",
            "entity_id": 3,
            "timestamp": 1727447128,
        },
        "data": {"emails": [{"value": "b@c.de", "primary": False}, {"value": "A@c.de", "primary": True}]},
    }
    assert only(adapt("pipedrive", payload)).fields["email_sha256"] == sha("a@c.de")


# Salesforce

SOAP = """<?xml version="1.0"?><e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><e:Body>
<notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>00D</OrganizationId>
<Notification><Id>04l1</Id><sObject xsi:type="x:{object}" xmlns:x="urn:any">{fields}</sObject></Notification>
</notifications></e:Body></e:Envelope>"""


def soap(object_: str, **fields: str) -> bytes:
    return SOAP.format(
        object=object_, fields="".join(f"<x:{name}>{value}</x:{name}>" for name, value in fields.items())
    ).encode()


def test_salesforce_samples_of_any_namespace() -> None:
    """Amounts are as written; without a date of change the arrival counts."""
    mapped = adapt("salesforce", sample("salesforce_outbound/opportunity_acme_other_namespace.xml"))
    fact = only(mapped)
    assert (fact.fields["stage"], fact.fields["amount"], fact.at_ms) == ("Closed Won", "50000", RECEIVED)
    assert fact.event_id == "04l000000000001"
    assert [reason for reason, _ in reasons(mapped)] == ["no_time_of_change"]
    express = only(adapt("salesforce", sample("salesforce_outbound/opportunity_express_logistics.xml")))
    assert (express.object_id, express.fields["amount"]) == ("0067F000003pmdWQAQ", "120000.0")
    custom = sample("salesforce_outbound/custom_object.xml")
    assert [reason for reason, _ in reasons(adapt("salesforce", custom))] == ["unknown_object"]
    rules = AdapterRules(
        site="s",
        own_objects={"salesforce": {"Design_Registration__c": ObjectType.deal}},
        own_fields={"salesforce/deal": {"DP_cust_eng_email__c": "email", "DR_Number__c": "order_id"}},
    )
    own = only(adapt("salesforce", custom, rules=rules))
    assert (own.fields["email_sha256"], own.fields["order_id"]) == (sha("me@email.com"), "R080500453")


def test_salesforce_dates_doubles_outcomes_and_short_ids() -> None:
    """XML writes large doubles with an exponent; an id of 15 characters is the same as its 18."""
    body = soap(
        "Opportunity",
        Id="0067F000003pmdW",
        Amount="1.2E7",
        CurrencyIsoCode="EUR",
        IsClosed="true",
        IsWon="true",
        LastModifiedDate="2026-01-02T03:04:05.000Z",
        gclid__c="G",
    )
    mapped = adapt("salesforce", body)
    fact = only(mapped)
    assert (fact.object_id, fact.fields["amount"], fact.fields["status"]) == (
        "0067F000003pmdWQAQ",
        "12000000",
        "won",
    )
    assert (fact.at_ms, fact.fields["click:gclid"], mapped.problems) == (1_767_323_045_000, "G", ())
    assert long_id("0067F000003pmdWQAQ") == "0067F000003pmdWQAQ"


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a>",
        soap("Opportunity", Id="1")[:-5],
        soap("Opportunity", Id="1").decode().encode("utf-16"),
    ],
)
def test_salesforce_refuses_what_is_no_plain_xml(body: bytes) -> None:
    """Entities too: they can be made to fill all memory."""
    assert reasons(adapt("salesforce", body)) == [("not_xml", "")]


def test_salesforce_an_object_without_id_or_outcome_has_a_reason() -> None:
    """IsClosed alone does not say whether it was won."""
    mapped = adapt("salesforce", soap("Opportunity", Name="x"))
    assert (mapped.facts, reasons(mapped)) == ((), [("missing_field", "Notification[0].sObject.Id")])
    half = adapt(
        "salesforce", soap("Opportunity", Id="1", IsClosed="true", SystemModstamp="2026-01-02T03:04:05Z")
    )
    assert reasons(half) == [("missing_field", "Notification[0].sObject.IsWon")]
    assert "status" not in only(half).fields


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
