"""Senders of webhooks as their documentation describes them: written apart from the checks, to test those."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from collector.webhooks.request import WebhookHeaders, WebhookRequest
from collector.webhooks.secrets import (
    HubspotSecrets,
    PipedriveSecrets,
    SalesforceSecrets,
    SigningSecrets,
    StandardSecrets,
    WebhookSecrets,
)
from collector.webhooks.verified import Verified, WebhookScheme, WebhookSender
from collector.webhooks.verify import verify

NOW_MS = 1_790_000_000_000
URL = "https://collect.example.com/webhooks/x?site=shop&a=%28b%29%20c"
BODY = '[{"eventId":1,"name":"Käse"}]'.encode()
KEY_1, KEY_2, KEY_3 = "whsec_first-secret", "whsec_second-secret", "whsec_nobody-knows"
BASE64_1, BASE64_2, BASE64_3 = (
    base64.b64encode(text * 3).decode() for text in (b"01234567", b"abcdefgh", b"ABCDEFGH")
)
ORGANIZATION = "00D7F00000107XsUAI"
SOAP = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
    '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
    f"<OrganizationId>{ORGANIZATION}</OrganizationId><ActionId>04k7F0000008V3hQAE</ActionId>"
    '<SessionId xsi:nil="true"/>{notifications}</notifications></soapenv:Body></soapenv:Envelope>'
)
NOTIFICATION = (
    "<Notification><Id>{id}</Id>"
    '<sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
    "<sf:Id>0067F000003pmdWQAQ</sf:Id><sf:Amount>120000.0</sf:Amount><sf:Name>A &amp; B</sf:Name>"
    '<sf:StageName xsi:nil="true"/></sObject></Notification>'
)


def soap(*ids: str) -> bytes:
    """An outbound message with a notification per id."""
    return SOAP.format(notifications="".join(NOTIFICATION.format(id=one) for one in ids)).encode()


@dataclass(frozen=True)
class Sent:
    """A request on its way, with what the receiver checks it with."""

    sender: WebhookSender
    scheme: WebhookScheme
    secrets: WebhookSecrets
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(default=BODY)
    url: str = URL
    method: str = "POST"
    peer: str = "203.0.113.7"
    proofs: tuple[str, ...] = ()
    """Headers without which, or with another value of which, the request proves nothing."""
    stamp: str = ""
    """The header that holds the stamp."""

    def verify(self, now_ms: int = NOW_MS) -> Verified:
        """What the receiver makes of it."""
        request = WebhookRequest(
            method=self.method,
            url=self.url,
            headers=WebhookHeaders(self.headers),
            body=self.body,
            peer=self.peer,
        )
        return verify(self.sender, request, self.secrets, now_ms)

    def value(self, name: str) -> str:
        """Of the first header line called ``name``."""
        return next(value for line, value in self.headers if line.lower() == name)

    def with_header(self, name: str, value: str) -> Sent:
        """The same with another value of one header."""
        return replace(self, headers=tuple((n, value if n.lower() == name else v) for n, v in self.headers))

    def without_header(self, name: str) -> Sent:
        """The same without one header."""
        return replace(self, headers=tuple(line for line in self.headers if line[0].lower() != name))

    def with_line(self, name: str, value: str) -> Sent:
        """The same with one more header line."""
        return replace(self, headers=(*self.headers, (name, value)))


def _hex(key: str, content: bytes) -> str:
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()


def _base64(key: bytes, content: bytes) -> str:
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def stripe(body: bytes = BODY, signed_at: int = NOW_MS, keys: Iterable[str] = (KEY_1,), *known: str) -> Sent:
    stamp = str(signed_at // 1000)
    signatures = [f"v1={_hex(key, stamp.encode() + b'.' + body)}" for key in keys]
    return Sent(
        WebhookSender.stripe,
        WebhookScheme.stripe_v1,
        SigningSecrets(secrets=known or (KEY_1,)),
        (("Stripe-Signature", ",".join([f"t={stamp}", *signatures])),),
        body,
        proofs=("stripe-signature",),
        stamp="stripe-signature",
    )


def shopify(body: bytes = BODY, signed_at: int = 0, keys: Iterable[str] = (KEY_1,), *known: str) -> Sent:
    return Sent(
        WebhookSender.shopify,
        WebhookScheme.shopify_hmac,
        SigningSecrets(secrets=known or (KEY_1,)),
        (
            ("X-Shopify-Hmac-Sha256", _base64(next(iter(keys)).encode(), body)),
            ("X-Shopify-Topic", "orders/create"),
            ("X-Shopify-Webhook-Id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
            ("X-Shopify-Event-Id", "98880550-7158-44d4-b7cd-2c97c8a091b5"),
        ),
        body,
        proofs=("x-shopify-hmac-sha256",),
    )


def standard(
    body: bytes = BODY, signed_at: int = NOW_MS, keys: Iterable[str] = (BASE64_1,), *known: str
) -> Sent:
    stamp = str(signed_at // 1000)
    content = b"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W." + stamp.encode() + b"." + body
    signatures = [f"v1,{_base64(base64.b64decode(key.removeprefix('whsec_')), content)}" for key in keys]
    return Sent(
        WebhookSender.standard,
        WebhookScheme.standard_v1,
        StandardSecrets(secrets=known or (BASE64_1,)),
        (
            ("webhook-id", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"),
            ("webhook-timestamp", stamp),
            ("webhook-signature", " ".join(signatures)),
        ),
        body,
        proofs=("webhook-id", "webhook-timestamp", "webhook-signature"),
        stamp="webhook-timestamp",
    )


def hubspot_v3(
    body: bytes = BODY, signed_at: int = NOW_MS, keys: Iterable[str] = (KEY_1,), *known: str
) -> Sent:
    uri = "https://collect.example.com/webhooks/x?site=shop&a=(b)%20c"
    content = b"POST" + uri.encode() + body + str(signed_at).encode()
    return Sent(
        WebhookSender.hubspot,
        WebhookScheme.hubspot_v3,
        HubspotSecrets(client_secrets=known or (KEY_1,)),
        (
            ("X-HubSpot-Signature-v3", _base64(next(iter(keys)).encode(), content)),
            ("X-HubSpot-Request-Timestamp", str(signed_at)),
        ),
        body,
        proofs=("x-hubspot-signature-v3", "x-hubspot-request-timestamp"),
        stamp="x-hubspot-request-timestamp",
    )


def _hubspot_old(version: str, where: str, body: bytes, keys: Iterable[str], known: tuple[str, ...]) -> Sent:
    content = next(iter(keys)).encode() + where.encode() + body
    return Sent(
        WebhookSender.hubspot,
        WebhookScheme(f"hubspot_{version}"),
        HubspotSecrets(client_secrets=known or (KEY_1,), oldest_version="v1"),
        (
            ("X-HubSpot-Signature", hashlib.sha256(content).hexdigest()),
            ("X-HubSpot-Signature-Version", version),
        ),
        body,
        proofs=("x-hubspot-signature", "x-hubspot-signature-version"),
    )


def hubspot_v2(body: bytes = BODY, signed_at: int = 0, keys: Iterable[str] = (KEY_1,), *known: str) -> Sent:
    return _hubspot_old("v2", "POST" + URL, body, keys, known)


def hubspot_v1(body: bytes = BODY, signed_at: int = 0, keys: Iterable[str] = (KEY_1,), *known: str) -> Sent:
    return _hubspot_old("v1", "", body, keys, known)


def data360(body: bytes = BODY, signed_at: int = 0, keys: Iterable[str] = (KEY_1,), *known: str) -> Sent:
    return Sent(
        WebhookSender.salesforce,
        WebhookScheme.salesforce_data360,
        SalesforceSecrets(data360_keys=known or (KEY_1,)),
        (("x-signature", _base64(next(iter(keys)).encode(), body)),),
        body,
        proofs=("x-signature",),
    )


def pipedrive(body: bytes = BODY, signed_at: int = 0, keys: Iterable[str] = (KEY_1,), *known: str) -> Sent:
    token = base64.b64encode(f"head:{next(iter(keys))}".encode()).decode()
    return Sent(
        WebhookSender.pipedrive,
        WebhookScheme.pipedrive_basic,
        PipedriveSecrets(logins=tuple(("head", key) for key in known or (KEY_1,))),
        (("Authorization", f"Basic {token}"),),
        body,
        proofs=("authorization",),
    )


def outbound(
    body: bytes = soap("04l7F000008aeAyQAI"), signed_at: int = 0, keys: Iterable[str] = (KEY_1,), *known: str
) -> Sent:
    return Sent(
        WebhookSender.salesforce,
        WebhookScheme.salesforce_soap,
        SalesforceSecrets(organization_ids=(ORGANIZATION,), url_tokens=known or (KEY_1,)),
        (("SOAPAction", '""'),),
        body,
        url=f"https://collect.example.com/webhooks/salesforce?site=shop&token={next(iter(keys))}",
    )


Build = Callable[..., Sent]
SIGNING: tuple[Build, ...] = (stripe, shopify, standard, hubspot_v3, hubspot_v2, hubspot_v1, data360)
"""Those whose proof covers the body."""
STAMPED: tuple[Build, ...] = (stripe, standard, hubspot_v3)
ALL: tuple[Build, ...] = (*SIGNING, pipedrive, outbound)


def keys_for(build: Build) -> tuple[str, str, str]:
    """Two secrets that the receiver knows, and one that it does not."""
    return (BASE64_1, BASE64_2, BASE64_3) if build is standard else (KEY_1, KEY_2, KEY_3)
