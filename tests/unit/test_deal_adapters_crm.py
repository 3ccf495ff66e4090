"""HubSpot, Pipedrive and Salesforce: from their payloads to facts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from deal_payloads import RECEIVED, WHOLE, adapt, only, reasons, sample, sha

from attribution.deals.adapters import AdapterRules
from attribution.deals.adapters.salesforce import long_id
from attribution.deals.facts import ObjectFact, ObjectKey, ObjectType, states_of
from attribution.deals.identities import who_of
from attribution.deals.life import books_of_facts
from attribution.deals.rules import DealRules

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

WHO = "contact_in:person_id"


def test_pipedrive_sample() -> None:
    """The whole deal, dated by its own time of update."""
    mapped = adapt("pipedrive", json.loads(sample("pipedrive_v2_deal.json"))["body"])
    fact = only(mapped)
    assert (fact.key, fact.at_ms) == (ObjectKey("s", "pipedrive", ObjectType.deal, "1"), 1_727_447_128_000)
    assert {name: fact.fields[name] for name in ("amount", "currency", "status", "stage", WHO)} == {
        "amount": "2",
        "currency": "USD",
        "status": "open",
        "stage": "1",
        WHO: "3",
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


def test_pipedrive_another_person_takes_the_place_of_the_former() -> None:
    """In whatever order it is told: a deal that was entered for the wrong person is the right one's alone."""
    key = ObjectKey("s", "pipedrive", ObjectType.deal, "1")

    def told(second: int, person: int | None) -> ObjectFact:
        payload = json.loads(json.dumps(WHOLE["pipedrive"]))
        payload["data"] |= {"person_id": person, "update_time": f"2026-10-01T00:00:{second:02}Z"}
        return only(adapt("pipedrive", payload))

    wrong, right, nobody = told(1, 3), told(2, 4), told(3, None)
    for facts in ((wrong, right), (right, wrong)):
        assert who_of(states_of(facts), key).ids == ("crm:4",)
    assert who_of(states_of([nobody, wrong, right]), key).ids == ()


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


def test_salesforce_another_contact_takes_the_place_of_the_former() -> None:
    """Also in a field that the settings name; two such fields hold two contacts."""
    rules = AdapterRules(site="s", own_fields={"salesforce/deal": {"Buyer__c": "contact"}})

    def told(day: int, **contacts: str) -> ObjectFact:
        fields = {"Id": "006000000000001AAA", "LastModifiedDate": f"2026-10-0{day}T00:00:00Z", **contacts}
        return only(adapt("salesforce", soap("Opportunity", **fields), rules=rules))

    facts = [told(1, ContactId="003000000000001AAA", Buyer__c="b1"), told(2, Buyer__c="b2")]
    key = facts[0].key
    assert who_of(states_of(facts), key).ids == ("crm:003000000000001AAA", "crm:b2")
    assert who_of(states_of([*facts, told(3, ContactId="", Buyer__c="b2")]), key).ids == ("crm:b2",)


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


def test_salesforce_data_360_is_not_taken_for_broken_soap() -> None:
    """It is kept for a version that reads it."""
    mapped = adapt("salesforce", {"events": [{"SourceObjectDeveloperName": "Opportunity__dlm"}]})
    assert (mapped.facts, reasons(mapped)) == ((), [("unread_format", "")])


# What the page says to subscribe to

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"


def entered(sender: str) -> set[str]:
    """The words in code of the paragraph of ``sender``."""
    (paragraph,) = re.findall(rf"^\*\*{sender}\.\*\*.*?\n\n", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([\w.*]+)`", paragraph))


def test_what_the_page_has_subscribed_to_in_hubspot_is_read_and_says_whose_deal_it_is() -> None:
    """A property that nobody reads, or an association that nobody sends, would be found out by missing revenue."""
    words = entered("HubSpot")
    assert {"deal.associationChange", "deal.merge", "contact.merge"} <= words
    for name in (
        "dealstage",
        "pipeline",
        "amount",
        "deal_currency_code",
        "hubspot_owner_id",
        "hs_is_closed_won",
    ):
        assert name in words
        one = event(subscriptionType="deal.propertyChange", propertyName=name, propertyValue="1")
        assert adapt("hubspot", [one]).facts
    assert "closedate" not in words


def test_what_the_page_has_subscribed_to_in_stripe_joins_refunds_with_invoices() -> None:
    """Newer versions of Stripe's API say in this event alone which payment an invoice had."""
    words = entered("Stripe")
    assert {"invoice.paid", "invoice_payment.paid", "payment_intent.succeeded", "customer.updated"} <= words
