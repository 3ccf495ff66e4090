"""Salesforce's outbound messages: who sent them, what they hold, and what XML may not do to us."""

from __future__ import annotations

import re
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import webhook_senders as senders
from hypothesis import given
from hypothesis import strategies as st
from webhook_senders import NOTIFICATION, ORGANIZATION, SOAP, Sent, soap

from attribution.errors import Rejected
from collector.webhooks.deliveries import DELIVERIES, SOAP_ACK
from collector.webhooks.organizations import organization_id_of, record_id_of
from collector.webhooks.secrets import SalesforceSecrets
from collector.webhooks.soap import MAX_NOTIFICATIONS, parse_outbound_message
from collector.webhooks.verified import WebhookScheme

SAMPLES = Path(__file__).parents[2] / "../shared/data/webhooks/salesforce_outbound"


def message(**secrets: tuple[str, ...]) -> Sent:
    """An outbound message and what it is checked with; the organization is right unless it is given."""
    known = SalesforceSecrets(**{"organization_ids": (ORGANIZATION,), **secrets})
    return replace(senders.outbound(), secrets=known)


def reason(sent: Sent) -> str:
    with pytest.raises(Rejected) as caught:
        sent.verify()
    return caught.value.reason


def refused(body: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        parse_outbound_message(body)
    assert caught.value.field == "body"
    return caught.value.reason


def test_a_message_is_split_into_its_notifications() -> None:
    """Each has its id, the record's type and the fields by name; nil is None."""
    told = parse_outbound_message(soap("04l7F000008aeAyQAI", "04l7F000008aeAzQAI"))
    assert told.organization_id == ORGANIZATION
    assert not told.has_session_id
    assert [one.notification_id for one in told.notifications] == ["04l7F000008aeAyQAI", "04l7F000008aeAzQAI"]
    first = told.notifications[0]
    assert first.object_type == "Opportunity"
    assert first.fields == {
        "Id": "0067F000003pmdWQAQ",
        "Amount": "120000.0",
        "Name": "A & B",
        "StageName": None,
    }


def test_each_notification_has_a_key_of_its_own() -> None:
    """Salesforce batches anew when it tries again, so a message as a whole is no repeat."""
    first = replace(message(), body=soap("04l000000000001", "04l000000000002")).verify()
    again = replace(message(), body=soap("04l000000000002", "04l000000000003")).verify()
    assert [event.position for event in first.events] == [0, 1]
    assert first.events[1].keys == again.events[0].keys
    assert first.events[0].keys != again.events[1].keys


def test_the_organization_may_be_written_in_15_or_18_characters() -> None:
    """Setup shows 15, messages bear 18."""
    assert organization_id_of("00D7F00000107Xs") == ORGANIZATION
    assert message(organization_ids=("00D7F00000107Xs",)).verify().scheme == WebhookScheme.salesforce_soap
    short = SOAP.replace(ORGANIZATION, ORGANIZATION[:15]).format(notifications=NOTIFICATION.format(id="04l1"))
    replace(message(), body=short.encode()).verify()
    assert message(organization_ids=("00D000000000001", ORGANIZATION)).verify().events


@pytest.mark.parametrize("known", ["04l7F000008aeAyQAI", "0067F000003pmdWQAQ", "04k7F0000008V3hQAE"])
def test_the_last_three_characters_repeat_the_case(known: str) -> None:
    """Ids of real messages."""
    assert record_id_of(known[:15]) == known
    assert record_id_of(known) == known
    assert record_id_of(known[:15] + "AAA") is None
    assert record_id_of(known.lower()) is None


@pytest.mark.parametrize("organization", ["00D000000000001", "00D7f00000107XsUAI", "00DR......", "", "é"])
def test_another_organization_is_refused(organization: str) -> None:
    """One whose case differs included."""
    body = SOAP.replace(ORGANIZATION, organization).format(notifications=NOTIFICATION.format(id="04l1"))
    assert reason(replace(message(), body=body.encode())) in ("unknown_organization", "malformed_xml")


def test_only_allowed_networks_may_send() -> None:
    """If any are given; IPv4 in the form of IPv6 counts as what it is."""
    sent = message(networks=("13.108.0.0/14", "2001:db8::/32"))
    assert reason(sent) == "unknown_address"
    for peer in ("13.111.255.255", "::ffff:13.108.0.1", "2001:db8::1"):
        assert replace(sent, peer=peer).verify().events
    for peer in ("13.112.0.0", "2001:db9::1", "", "nobody", "13.108.0.1:80"):
        assert reason(replace(sent, peer=peer)) == "unknown_address"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "missing_credentials"),
        ("?token=", "missing_credentials"),
        ("?tokens=right-token", "missing_credentials"),
        ("?token=wrong", "bad_credentials"),
        ("?token=right-toke", "bad_credentials"),
        ("?token=right-token&token=right-token", "missing_credentials"),
        ("?" + "a=b&" * 200 + "token=right-token", "missing_credentials"),
        ("#token=right-token", "missing_credentials"),
    ],
)
def test_the_token_in_the_address_is_asked_for_where_there_is_one(query: str, expected: str) -> None:
    """Once, and whole."""
    sent = message(url_tokens=("right-token", "old-token"))
    url = "https://collect.example.com/webhooks/salesforce"
    assert reason(replace(sent, url=url + query)) == expected
    assert replace(sent, url=url + "?site=shop&token=right-token").verify().secret_index == 0
    assert replace(sent, url=url + "?token=old-token").verify().secret_index == 1


def test_each_kind_of_message_needs_its_own_settings() -> None:
    """A signed one is not let in by its organization, nor one without signature by a key."""
    assert reason(replace(senders.data360(), secrets=message().secrets)) == "not_configured"
    assert reason(replace(message(), secrets=senders.data360().secrets)) == "missing_signature"
    both = SalesforceSecrets(organization_ids=(ORGANIZATION,), data360_keys=(senders.KEY_1,))
    assert replace(message(), secrets=both).verify().scheme == WebhookScheme.salesforce_soap
    assert replace(senders.data360(), secrets=both).verify().scheme == WebhookScheme.salesforce_data360
    forged = replace(message(), secrets=both).with_line("x-signature", "A" * 43 + "=")
    assert reason(forged) == "bad_signature"


LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(12))
    + "]>"
)


@pytest.mark.parametrize(
    ("prolog", "expected"),
    [
        (LAUGHS, "forbidden_xml"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd">', "forbidden_xml"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>', "forbidden_xml"),
        ('<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1:9/a.dtd"> %a;]>', "forbidden_xml"),
        ("<!DOCTYPE x>", "forbidden_xml"),
        ('<?xml-stylesheet href="http://127.0.0.1:9/"?>', "forbidden_xml"),
    ],
)
def test_what_soap_forbids_is_refused_as_soon_as_it_begins(prolog: str, expected: str) -> None:
    """No entity is ever declared, so none can be expanded or fetched."""
    body = soap("04l1").decode().replace("<soapenv:Envelope", f"{prolog}<soapenv:Envelope", 1)
    tracemalloc.start()
    assert refused(body.encode()) == expected
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_an_instruction_within_the_message_is_refused() -> None:
    """Not only before it."""
    assert refused(soap("04l1").replace(b"<Notification>", b"<Notification><?php ?>")) == "forbidden_xml"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<a/>",
        soap("04l1")[:-1],
        soap("04l1") + b"<a/>",
        soap(),
        soap(""),
        soap("04l1").replace(b"UTF-8", b"ISO-8859-1"),
        soap("04l1").decode().encode("utf-16"),
        soap("04l1").decode().encode("utf-16-le"),
        soap("04l1").decode().encode("utf-16-be"),
        soap("04l1").replace(b"A &amp; B", b"\0"),
        soap("04l1").replace(b"A &amp; B", b"\xff"),
        soap("04l1").replace(b"A &amp; B", b"&unknown;"),
        soap("04l1").replace(b"schemas.xmlsoap.org/soap/envelope", b"www.w3.org/2003/05/soap-envelope"),
        soap("04l1").replace(b"soap.sforce.com/2005/09/outbound", b"example.com/outbound"),
        soap("04l1").replace(
            b"<OrganizationId>", b"<OrganizationId>00D7F00000107XsUAI</OrganizationId><OrganizationId>"
        ),
        soap("04l1").replace(b"<Id>", b"<Id>04l0</Id><Id>"),
        soap("04l1").replace(b"<sf:Name>", b"<sf:Name>C</sf:Name><sf:Name>"),
        soap("04l1")
        .replace(b"<OrganizationId>", b"<x><OrganizationId>")
        .replace(b"</OrganizationId>", b"</OrganizationId></x>"),
    ],
)
def test_what_is_no_outbound_message_is_refused(body: bytes) -> None:
    """Twice the same, in the wrong place, of another version, or not whole."""
    assert refused(body) == "malformed_xml"


def test_a_message_has_limits() -> None:
    """Bytes, notifications, levels, elements."""
    assert len(parse_outbound_message(soap(*map(str, range(MAX_NOTIFICATIONS)))).notifications) == 100
    assert refused(soap(*map(str, range(MAX_NOTIFICATIONS + 1)))) == "xml_too_large"
    assert refused(soap("04l1").replace(b"A &amp; B", b"x" * 1_000_000)) == "xml_too_large"
    assert refused(soap("04l1").replace(b"A &amp; B", b"<a>" * 20 + b"</a>" * 20)) == "xml_too_large"
    assert (
        refused(
            soap("04l1").replace(
                b"<soapenv:Body>",
                b"<soapenv:Header>" + b"<a/>" * 100_000 + b"</soapenv:Header><soapenv:Body>",
            )
        )
        == "xml_too_large"
    )


def test_compound_fields_keep_their_parts() -> None:
    """An address is a field with fields."""
    body = soap("04l1").replace(
        b"A &amp; B", b"<sf:city>Bonn</sf:city><sf:geo><sf:lat>50.7</sf:lat></sf:geo>"
    )
    fields = parse_outbound_message(body).notifications[0].fields
    assert fields["Name.city"] == "Bonn"
    assert fields["Name.geo.lat"] == "50.7"
    assert "Name" not in fields


def test_a_record_deleted_meanwhile_has_no_fields() -> None:
    """ "If the record is deleted before the notification is delivered, the notification contains no data"."""
    text = SOAP.format(notifications="<Notification><Id>04l1</Id></Notification>")
    one = parse_outbound_message(text.encode()).notifications[0]
    assert (one.notification_id, one.object_type, one.fields) == ("04l1", "", {})


def test_a_session_id_is_seen() -> None:
    """A key to Salesforce that nobody here needs."""
    body = soap("04l1").replace(b'<SessionId xsi:nil="true"/>', b"<SessionId>00D!key</SessionId>")
    assert parse_outbound_message(body).has_session_id


@given(st.data())
def test_no_spoilt_message_raises_anything_else(data: st.DataObject) -> None:
    """Bytes changed, cut out or put in anywhere."""
    body = bytearray(soap("04l1", "04l2"))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=20))
    with suppress(Rejected):
        parse_outbound_message(bytes(body))


def test_the_ack_says_what_salesforce_wants() -> None:
    """As the sample, but for the spaces between elements."""
    delivery = DELIVERIES[WebhookScheme.salesforce_soap]
    assert delivery.answer.body == SOAP_ACK
    assert b"<Ack>true</Ack>" in SOAP_ACK
    if not SAMPLES.is_dir():
        pytest.skip("../shared/data/webhooks is not beside this repository")
    sample = (SAMPLES / "expected_ack.xml").read_bytes().strip()
    assert re.sub(rb">\s+<", b"><", SOAP_ACK) == re.sub(rb">\s+<", b"><", sample)


def test_recorded_messages_are_read() -> None:
    """Opportunities of three senders; one names its objects by a dated namespace, one has a masked organization."""
    if not SAMPLES.is_dir():
        pytest.skip("../shared/data/webhooks is not beside this repository")
    told = {path.stem: parse_outbound_message(path.read_bytes()) for path in SAMPLES.glob("[co][up]*.xml")}
    assert {name: one.notifications[0].object_type for name, one in told.items()} == {
        "custom_object": "Design_Registration__c",
        "opportunity_acme_other_namespace": "Opportunity",
        "opportunity_closed_won": "Opportunity",
        "opportunity_express_logistics": "Opportunity",
    }
    express = told["opportunity_express_logistics"]
    assert express.organization_id == ORGANIZATION
    assert express.notifications[0].fields["CloseDate"] == "2017-04-03"
    assert told["opportunity_acme_other_namespace"].has_session_id
    sent = replace(message(), body=(SAMPLES / "opportunity_express_logistics.xml").read_bytes())
    assert sent.verify().events[0].keys == (f"salesforce:{ORGANIZATION}:04l7F000008aeAyQAI",)
    assert reason(replace(sent, body=(SAMPLES / "custom_object.xml").read_bytes())) == "unknown_organization"
