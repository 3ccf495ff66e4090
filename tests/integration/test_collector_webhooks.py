"""Webhooks and postbacks over HTTP: true ones are kept byte by byte before the answer, all others are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from collector_kit import PARTITIONS, SITE, Answer, Client, config_of, running

from attribution.deals.delivery import Delivery, decode_deliveries
from attribution.errors import Transient
from collector.app import CollectorApp
from collector.config import CollectorConfig
from collector.metrics import Counted
from collector.segments import find_segments, read_frames
from collector.webhooks.deliveries import SOAP_ACK
from collector.webhooks.secrets import (
    HubspotSecrets,
    PipedriveSecrets,
    SalesforceSecrets,
    SigningSecrets,
    StandardSecrets,
)
from collector.webhooks.settings import Webhooks
from collector.webhooks.verified import WebhookSender
from streams.topics import DEALS, partition_of

URL = "https://collect.example.com"
OTHER = "other"
BODY = '{"id": "evt_1", "name": "Käse",\r\n "price": 1.10}'.encode()
SECRET = "whsec_a-secret"
STANDARD = base64.b64encode(b"0123456789abcdefghijklmn").decode()
ORGANIZATION = "00D7F00000107XsUAI"
SOAP = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
    '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
    f"<OrganizationId>{ORGANIZATION}</OrganizationId><ActionId>04k7F0000008V3hQAE</ActionId>"
    '<SessionId xsi:nil="true"/><Notification><Id>04l7F000008aeAyQAI</Id>'
    '<sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
    "<sf:Id>0067F000003pmdWQAQ</sf:Id></sObject></Notification></notifications>"
    "</soapenv:Body></soapenv:Envelope>"
).encode()
SECRETS = {
    WebhookSender.stripe: SigningSecrets(secrets=(SECRET, "whsec_old")),
    WebhookSender.shopify: SigningSecrets(secrets=(SECRET,)),
    WebhookSender.standard: StandardSecrets(secrets=(STANDARD,)),
    WebhookSender.hubspot: HubspotSecrets(client_secrets=(SECRET,)),
    WebhookSender.pipedrive: PipedriveSecrets(logins=(("head", SECRET),)),
    WebhookSender.salesforce: SalesforceSecrets(
        organization_ids=(ORGANIZATION,), url_tokens=(SECRET,), data360_keys=(SECRET,)
    ),
}


@dataclass(frozen=True)
class Sent:
    """A request on its way."""

    target: str
    headers: dict[str, str]
    body: bytes = field(default=BODY)

    async def to(self, client: Client) -> Answer:
        return await client.request("POST", self.target, self.body, self.headers)


def _hmac(content: bytes, key: bytes = SECRET.encode()) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()


def stripe(target: str = f"/webhooks/stripe?site={SITE}", body: bytes = BODY) -> Sent:
    stamp = str(int(time.time()))
    return Sent(
        target, {"Stripe-Signature": f"t={stamp},v1={_hmac(stamp.encode() + b'.' + body).hex()}"}, body
    )


def shopify(body: bytes = BODY) -> Sent:
    headers = {
        "X-Shopify-Hmac-Sha256": base64.b64encode(_hmac(body)).decode(),
        "X-Shopify-Topic": "orders/create",
        "X-Shopify-Triggered-At": "2026-11-23T12:00:00Z",
        "X-Shopify-Webhook-Id": "b54557e4",
        "X-Shopify-Shop-Domain": "a.example",
        "content-type": "application/json",
    }
    return Sent(f"/webhooks/shopify?site={SITE}", headers, body)


def standard(body: bytes = BODY) -> Sent:
    stamp = str(int(time.time()))
    signature = base64.b64encode(
        _hmac(f"msg_1.{stamp}.".encode() + body, base64.b64decode(STANDARD))
    ).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}
    return Sent(f"/webhooks/standard?site={SITE}", headers, body)


def hubspot(body: bytes = BODY) -> Sent:
    stamp = str(int(time.time() * 1000))
    signed = f"POST{URL}/webhooks/hubspot?site={SITE}&a=(b)%20c".encode() + body + stamp.encode()
    headers = {
        "X-HubSpot-Signature-v3": base64.b64encode(_hmac(signed)).decode(),
        "X-HubSpot-Request-Timestamp": stamp,
    }
    return Sent(f"/webhooks/hubspot?site={SITE}&a=%28b%29%20c", headers, body)


def pipedrive(body: bytes = BODY) -> Sent:
    token = base64.b64encode(f"head:{SECRET}".encode()).decode()
    return Sent(f"/webhooks/pipedrive?site={SITE}", {"Authorization": f"Basic {token}"}, body)


def salesforce(body: bytes = SOAP) -> Sent:
    return Sent(
        f"/webhooks/salesforce?site={SITE}&token={SECRET}",
        {"SOAPAction": '""', "content-type": "text/xml"},
        body,
    )


def data360(body: bytes = BODY) -> Sent:
    headers = {"x-signature": base64.b64encode(_hmac(body)).decode()}
    return Sent(f"/webhooks/salesforce?site={SITE}", headers, body)


TRUE: tuple[Callable[[], Sent], ...] = (stripe, shopify, standard, hubspot, pipedrive, salesforce, data360)
SIGNED: tuple[Callable[[], Sent], ...] = (stripe, shopify, standard, hubspot, data360)


def config_with(directory: Path, **changes: Any) -> CollectorConfig:
    webhooks = Webhooks(
        public_url=URL,
        secrets={(SITE, sender): (its,) for sender, its in SECRETS.items()},
        postback_keys={OTHER: ("p-key", "p-old")},
    )
    return config_of(directory, **{"webhooks": webhooks, "sites": frozenset({SITE, OTHER}), **changes})


def kept(directory: Path) -> list[tuple[int, Delivery]]:
    """Partition and delivery of everything in the spool of deals."""
    found: list[tuple[int, Delivery]] = []
    for segment in find_segments(directory / "deals")[0]:
        at = 0
        while at < segment.durable and segment.durable - at > 8:
            frames, at = read_frames(segment.path, at, segment.durable, 1 << 20)
            found += [
                (frame.partition, delivery)
                for frame in frames
                for delivery in decode_deliveries(b"[" + frame.payload + b"]")
            ]
    return found


@pytest.mark.parametrize("build", TRUE)
async def test_a_true_request_is_kept_as_it_came(tmp_path: Path, build: Callable[[], Sent]) -> None:
    sent = build()
    async with running(config_with(tmp_path)) as (app, client):
        answer = await sent.to(client)
        assert answer.status == 200, answer.body
        ((partition, delivery),) = kept(tmp_path)
        assert partition == partition_of(SITE, PARTITIONS)
        assert delivery.site == SITE
        assert delivery.body == sent.body
        assert delivery.source == sent.target.split("?")[0].removeprefix("/webhooks/")
        assert delivery.scheme.startswith(delivery.source)
        assert abs(delivery.received_at - time.time() * 1000) < 60_000
        assert delivery.keys
        assert all(delivery.keys)
        assert SECRET not in repr(delivery)
        if build is salesforce:
            assert (answer.body, answer.header("content-type")) == (SOAP_ACK, "text/xml; charset=utf-8")
        else:
            assert (answer.body, answer.header("content-type")) == (b"", "")
        again = build()
        assert (await again.to(client)).status == 200
        assert kept(tmp_path)[1][1].keys == delivery.keys, "a repeat is known by its keys"
        assert app.metrics.value(Counted.accepted, delivery.source) == 2


async def test_of_headers_only_those_that_adapters_read_are_kept(tmp_path: Path) -> None:
    async with running(config_with(tmp_path)) as (_, client):
        for sent in (shopify(), standard(), stripe()):
            assert (await sent.to(client)).status == 200
        assert [delivery.headers for _, delivery in kept(tmp_path)] == [
            {"x-shopify-topic": "orders/create", "x-shopify-triggered-at": "2026-11-23T12:00:00Z"},
            {"webhook-id": "msg_1"},
            {},
        ]


@pytest.mark.parametrize("build", SIGNED)
async def test_a_changed_body_is_refused_and_not_kept(tmp_path: Path, build: Callable[[], Sent]) -> None:
    sent = replace(build(), body=BODY.replace(b"1.10", b"9.10"))
    async with running(config_with(tmp_path)) as (app, client):
        answer = await sent.to(client)
        assert (answer.status, answer.json["code"]) == (401, "bad_signature")
        assert answer.json["field"]
        source = sent.target.split("?")[0].removeprefix("/webhooks/")
        assert app.metrics.value(Counted.rejected, source, "bad_signature") == 1
        assert not (tmp_path / "deals").exists()


async def test_proofs_that_are_wrong_or_missing_are_named(tmp_path: Path) -> None:
    def without(sent: Sent) -> Sent:
        return replace(sent, headers={})

    def wrong(sent: Sent, **headers: str) -> Sent:
        return replace(
            sent, headers=sent.headers | {name.replace("_", "-"): text for name, text in headers.items()}
        )

    token = base64.b64encode(b"head:other").decode()
    cases = [
        (without(stripe()), 401, "missing_signature"),
        (without(pipedrive()), 401, "missing_credentials"),
        (wrong(pipedrive(), Authorization=f"Basic {token}"), 401, "bad_credentials"),
        (replace(salesforce(), target=f"/webhooks/salesforce?site={SITE}"), 401, "missing_credentials"),
        (replace(salesforce(), body=b"<!DOCTYPE x><x/>"), 400, "forbidden_xml"),
        (replace(salesforce(), body=b"<x/>"), 400, "malformed_xml"),
        (wrong(stripe(), stripe_signature="t=1,v1=00"), 400, "duplicate_header"),
        (replace(hubspot(), target=f"/webhooks/hubspot?site={SITE}"), 401, "bad_signature"),
        (replace(stripe(), target=f"/webhooks/stripe?site={OTHER}"), 401, "not_configured"),
        (replace(stripe(), target="/webhooks/stripe?site=nobody"), 401, "not_configured"),
        (replace(stripe(), target=f"/webhooks/stripe?site={SITE}&site={SITE}"), 400, "missing_field"),
        (wrong(stripe(), content_encoding="gzip"), 415, "unsupported_media_type"),
        (replace(stripe(), body=b"x" * 1_000_001), 413, "body_too_large"),
    ]
    async with running(config_with(tmp_path)) as (_, client):
        for sent, status, code in cases:
            answer = await sent.to(client)
            assert (answer.status, answer.json["code"]) == (status, code), (sent.target, answer.body)
            assert answer.json["message"]
            assert SECRET not in answer.body.decode()
        assert (await client.get("/webhooks/stripe")).status == 405
        assert (await client.post("/webhooks/paypal", b"")).status == 404
        assert not (tmp_path / "deals").exists()


async def test_without_settings_nobody_may_send(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        for build in TRUE:
            answer = await build().to(client)
            assert (answer.status, answer.json["code"]) == (401, "not_configured")


async def test_the_site_may_be_left_out_where_only_one_has_the_sender(tmp_path: Path) -> None:
    secrets: dict[Any, Any] = {
        (SITE, WebhookSender.stripe): (SigningSecrets(secrets=("x",)), SECRETS[WebhookSender.stripe]),
        (SITE, WebhookSender.shopify): (SECRETS[WebhookSender.shopify],),
        (OTHER, WebhookSender.shopify): (SigningSecrets(secrets=("y",)),),
    }
    async with running(config_with(tmp_path, webhooks=Webhooks(secrets=secrets))) as (_, client):
        assert (await stripe("/webhooks/stripe").to(client)).status == 200
        ((_, delivery),) = kept(tmp_path)
        assert delivery.site == SITE, "the second of two shops' secrets is tried as well"
        answer = await replace(shopify(), target="/webhooks/shopify").to(client)
        assert (answer.status, answer.json["field"]) == (400, "site")
        answer = await replace(shopify(), target=f"/webhooks/shopify?site={OTHER}").to(client)
        assert answer.json["code"] == "bad_signature", "one site's secret opens no other"


async def test_lines_arrive_unjoined_also_in_pieces_and_with_an_upgrade(tmp_path: Path) -> None:
    async with running(config_with(tmp_path)) as (_, client):
        sent = stripe()
        signature = sent.headers["Stripe-Signature"]
        lines = [
            f"POST {sent.target} HTTP/1.1",
            "host: x",
            f"STRIPE-SIGNATURE: {signature}",
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQAAP__",
            f"content-length: {len(BODY)}",
        ]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        assert (await client.send(head + BODY)).status == 200
        twice = head.replace(b"host: x", f"host: x\r\nstripe-signature: {signature}".encode())
        answer = await client.send(twice + BODY)
        assert (answer.status, answer.json["code"]) == (400, "duplicate_header")
        assert [delivery.body for _, delivery in kept(tmp_path)] == [BODY]
        # Pixels and events of the same connection are parsed as ever.
        assert (await client.get(f"/p.gif?site={SITE}&visitor_id=v")).header("x-headwater-dropped") == ""
        assert (await stripe().to(client)).status == 200


async def test_a_delivery_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    async with running(config_with(tmp_path)) as (_, client):
        assert (await stripe(body=b"x" * 700_000).to(client)).status == 200
        answer = await stripe(body=b"x" * 760_000).to(client)
        assert (answer.status, answer.json["code"]) == (413, "body_too_large")
        ((_, delivery),) = kept(tmp_path)
        assert len(delivery.body) == 700_000


async def test_what_cannot_be_kept_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(partition: int, record: bytes) -> None:
        raise Transient("the spool is full")

    async with running(config_with(tmp_path)) as (app, client):
        monkeypatch.setattr(await app.outlets.spool_of(DEALS), "append", full)
        for sent in (salesforce(), stripe()):
            answer = await sent.to(client)
            assert (answer.status, answer.json["code"]) == (503, "not_durable")
            assert answer.header("retry-after")
            assert b"Ack" not in answer.body
        assert (await client.get(f"/postback?site={SITE}&click_id=1")).status == 503


async def test_salesforces_networks_are_those_behind_trusted_proxies(tmp_path: Path) -> None:
    secrets = SalesforceSecrets(organization_ids=(ORGANIZATION,), networks=("13.108.0.0/14",))
    webhooks = Webhooks(secrets={(SITE, WebhookSender.salesforce): (secrets,)})
    async with running(config_with(tmp_path, webhooks=webhooks, trusted_proxies=("127.0.0.1/32",))) as (
        _,
        client,
    ):
        sent = salesforce()
        assert (await sent.to(client)).json["code"] == "unknown_address"
        behind = replace(sent, headers=sent.headers | {"X-Forwarded-For": "13.110.1.1"})
        assert (await behind.to(client)).status == 200


async def test_senders_are_limited_like_everybody(tmp_path: Path) -> None:
    async with running(config_with(tmp_path, rate_per_second=1)) as (app, client):
        assert (await stripe().to(client)).status == 200
        answer = await stripe().to(client)
        assert (answer.status, answer.json["code"]) == (429, "rate_limited")
        assert app.metrics.value(Counted.rejected, "stripe", "rate_limited") == 1


def fields_of(delivery: Delivery) -> dict[str, str]:
    fields: dict[str, str] = json.loads(delivery.body)
    return fields


async def postback(client: Client, app: CollectorApp, **query: str) -> Answer:
    return await client.get(f"/postback?{urlencode({'site': SITE, **query})}")


async def test_a_postback_is_a_delivery_under_our_names(tmp_path: Path) -> None:
    async with running(config_with(tmp_path)) as (app, client):
        for query in (
            {"click_id": "c1", "payout": "1.50", "currency": "EUR", "transaction_id": "t1", "event": "sale"},
            {"cid": "c1", "payout": "1.50", "currency": "EUR", "txid": "t1", "et": "sale"},
            {"subid": "c1", "payout": "1.50", "currency": "EUR", "tid": "t1", "status": "sale"},
        ):
            answer = await postback(client, app, **query)
            assert (answer.status, answer.json) == (200, {"success": True})
        assert (
            await postback(client, app, cnv_id="c2", cnv_status="rejected", aff="ä", mode="edit")
        ).status == 200
        assert (await postback(client, app, click_id="c3", cid="another", key="not asked for")).status == 200
        deliveries = [delivery for _, delivery in kept(tmp_path)]
        first, second, third, binom, both = map(fields_of, deliveries)
        assert first == second == third
        assert first["transaction_id"] == "t1"
        assert deliveries[0].keys == deliveries[1].keys == deliveries[2].keys
        assert binom == {"click_id": "c2", "event": "rejected", "aff": "ä", "mode": "edit"}
        assert both == {"click_id": "c3", "cid": "another"}
        assert deliveries[3].keys != deliveries[4].keys
        assert {(each.source, each.scheme, each.site) for each in deliveries} == {
            ("postback", "postback", SITE)
        }
        assert app.metrics.value(Counted.accepted, "postback") == 5


async def test_a_postback_may_be_posted_as_form_or_json(tmp_path: Path) -> None:
    form = {"content_type": "application/x-www-form-urlencoded"}
    async with running(config_with(tmp_path)) as (_, client):
        target = f"/postback?site={SITE}&event=lead"
        assert (await client.post(target, b"click_id=a+b&event=sale", **form)).status == 200
        assert (await client.post(target, b'{"click_id": 7, "payout": 1.10, "aff": null}')).status == 200
        assert (await client.request("POST", target + "&click_id=q", b"", {})).status == 200
        assert [fields_of(delivery) for _, delivery in kept(tmp_path)] == [
            {"click_id": "a b", "event": "sale"},
            {"click_id": "7", "payout": "1.10", "event": "lead"},
            {"click_id": "q", "event": "lead"},
        ]
        for body, headers, status, code in [
            (b"[]", {}, 400, "malformed"),
            (b"{", {}, 400, "malformed"),
            (b'{"click_id": {}}', {}, 400, "wrong_type"),
            (b"click_id=%s" % (b"x" * 1025), form, 422, "too_long"),
            (b"\xff", form, 400, "not_utf8"),
            (b"&".join(b"p%d=1" % number for number in range(65)), form, 400, "too_many_keys"),
        ]:
            answer = await client.post(target, body, **headers)
            assert (answer.status, answer.json["code"]) == (status, code), answer.body


async def test_a_postback_names_a_site_a_click_and_the_key_where_one_is_set(tmp_path: Path) -> None:
    async with running(config_with(tmp_path)) as (app, client):
        for query, status, code in [
            ({"site": "nobody", "click_id": "1"}, 401, "unknown_site"),
            ({"payout": "1"}, 400, "missing_field"),
            ({"site": OTHER, "click_id": "1"}, 401, "unauthorized"),
            ({"site": OTHER, "click_id": "1", "key": "p-ke"}, 401, "unauthorized"),
        ]:
            answer = await postback(client, app, **query)
            assert (answer.status, answer.json["code"]) == (status, code)
        assert not (tmp_path / "deals").exists()
        for key in ("p-key", "p-old"):
            assert (await postback(client, app, site=OTHER, click_id="1", key=key)).status == 200
        for partition, delivery in kept(tmp_path):
            assert (partition, delivery.site) == (partition_of(OTHER, PARTITIONS), OTHER)
            assert fields_of(delivery) == {"click_id": "1"}, "the key is no part of what is kept"
        assert (await client.request("PUT", "/postback", b"", {})).header("allow") == "GET, POST, OPTIONS"
