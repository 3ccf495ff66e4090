"""How each sender delivers: how long it tries, what makes it try again, and the answer it wants.

Read on 2026-11-23 in copies of the senders' own pages, which each row names; the 60 s of Salesforce stand in its help
("Considerations for Outbound Messages"), the 5 s of Shopify under "HTTPS delivery". Where a sender says nothing, the
row says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from attribution.deals.remembered import REMEMBER_FOR
from collector.webhooks.verified import WebhookScheme

SOAP_ACK = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack>'
    b"</notificationsResponse></soapenv:Body></soapenv:Envelope>"
)
"""Without it Salesforce sends the message again, whatever the status."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What tells a sender that its request is durable."""

    status: int
    content_type: str
    """"" for an empty body."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One sender's habits."""

    tries_for: timedelta | None
    """From the first try to the last; None: not published."""
    waits_for: timedelta | None
    """How long it waits for an answer; None: not published."""
    tries_again_on: str
    remember_for: timedelta
    """How long the keys of its events must be kept: longer than it tries."""
    answer: WebhookAnswer
    source: str
    """Page of the sender."""


_EMPTY = WebhookAnswer(200, "", b"")
_NOT_2XX = "any status but 2xx, no answer in time"

_HUBSPOT = Delivery(
    tries_for=timedelta(hours=24),
    waits_for=timedelta(seconds=5),
    tries_again_on="4xx, 5xx, no connection, no answer in time; 10 times, at random moments",
    remember_for=REMEMBER_FOR[WebhookScheme.hubspot_v3],
    answer=_EMPTY,
    source="https://developers.hubspot.com/docs/api/webhooks#retries",
)
_HUBSPOT_UNSTAMPED = replace(_HUBSPOT, remember_for=REMEMBER_FOR[WebhookScheme.hubspot_v1])
DELIVERIES: dict[WebhookScheme, Delivery] = {
    WebhookScheme.hubspot_v1: _HUBSPOT_UNSTAMPED,
    WebhookScheme.hubspot_v2: _HUBSPOT_UNSTAMPED,
    WebhookScheme.hubspot_v3: _HUBSPOT,
    WebhookScheme.salesforce_soap: Delivery(
        tries_for=timedelta(hours=24),
        waits_for=timedelta(seconds=60),
        tries_again_on="anything but an Ack of true; the pause grows to two hours",
        remember_for=REMEMBER_FOR[WebhookScheme.salesforce_soap],
        answer=WebhookAnswer(200, "text/xml; charset=utf-8", SOAP_ACK),
        source="https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/"
        "sforce_api_om_outboundmessaging_notifications.htm",
    ),
    WebhookScheme.salesforce_data360: Delivery(
        tries_for=None,
        waits_for=None,
        tries_again_on="not published",
        remember_for=REMEMBER_FOR[WebhookScheme.salesforce_data360],
        answer=_EMPTY,
        source="https://developer.salesforce.com/docs/data/data-cloud-int/references/webhook-data-action-targets",
    ),
    WebhookScheme.pipedrive_basic: Delivery(
        tries_for=timedelta(seconds=183),
        waits_for=timedelta(seconds=10),
        tries_again_on=f"{_NOT_2XX}; after 3, 30 and 150 seconds",
        remember_for=REMEMBER_FOR[WebhookScheme.pipedrive_basic],
        answer=_EMPTY,
        source="https://pipedrive.readme.io/docs/guide-for-webhooks-v2#retry-logic",
    ),
    WebhookScheme.stripe_v1: Delivery(
        tries_for=timedelta(days=3),
        waits_for=None,
        tries_again_on=_NOT_2XX,
        remember_for=REMEMBER_FOR[WebhookScheme.stripe_v1],
        answer=_EMPTY,
        source="https://docs.stripe.com/workbench/webhooks",
    ),
    WebhookScheme.shopify_hmac: Delivery(
        tries_for=timedelta(hours=4),
        waits_for=timedelta(seconds=5),
        tries_again_on=f"{_NOT_2XX}; 8 times",
        remember_for=REMEMBER_FOR[WebhookScheme.shopify_hmac],
        answer=_EMPTY,
        source="https://shopify.dev/changelog/updates-to-webhook-retry-mechanism",
    ),
    WebhookScheme.standard_v1: Delivery(
        tries_for=timedelta(hours=75, minutes=35, seconds=5),
        waits_for=timedelta(seconds=15),
        tries_again_on=f"{_NOT_2XX}; 410 ends it. The specification's example; each sender chooses its own",
        remember_for=REMEMBER_FOR[WebhookScheme.standard_v1],
        answer=_EMPTY,
        source="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    ),
}
"""By the check that was passed."""
