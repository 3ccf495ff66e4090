"""One door to all checks."""

from __future__ import annotations

from attribution.errors import Misconfigured
from collector.webhooks.hubspot import verify_hubspot
from collector.webhooks.pipedrive import verify_pipedrive
from collector.webhooks.request import WebhookRequest
from collector.webhooks.salesforce import verify_salesforce
from collector.webhooks.secrets import (
    HubspotSecrets,
    PipedriveSecrets,
    SalesforceSecrets,
    SigningSecrets,
    StandardSecrets,
    WebhookSecrets,
)
from collector.webhooks.shopify import verify_shopify
from collector.webhooks.signing import TOLERANCE_MS
from collector.webhooks.standard import verify_standard
from collector.webhooks.stripe import verify_stripe
from collector.webhooks.verified import Verified, WebhookSender

SECRETS_OF: dict[WebhookSender, type[WebhookSecrets]] = {
    WebhookSender.hubspot: HubspotSecrets,
    WebhookSender.salesforce: SalesforceSecrets,
    WebhookSender.pipedrive: PipedriveSecrets,
    WebhookSender.stripe: SigningSecrets,
    WebhookSender.shopify: SigningSecrets,
    WebhookSender.standard: StandardSecrets,
}
"""What each sender is checked with."""


def verify(
    sender: WebhookSender,
    request: WebhookRequest,
    secrets: WebhookSecrets,
    now_ms: int,
    tolerance_ms: int = TOLERANCE_MS,
) -> Verified:
    """Whether ``request`` is from ``sender``, at ``now_ms`` (epoch milliseconds).

    Raises ``Rejected`` with a ``WebhookRefusal`` as its reason, whatever the request holds, and ``Misconfigured``
    if ``secrets`` are those of another sender: the settings refuse that before the first request.
    """
    match sender, secrets:
        case WebhookSender.hubspot, HubspotSecrets():
            return verify_hubspot(request, secrets, now_ms, tolerance_ms)
        case WebhookSender.salesforce, SalesforceSecrets():
            return verify_salesforce(request, secrets)
        case WebhookSender.pipedrive, PipedriveSecrets():
            return verify_pipedrive(request, secrets)
        case WebhookSender.stripe, SigningSecrets():
            return verify_stripe(request, secrets, now_ms, tolerance_ms)
        case WebhookSender.shopify, SigningSecrets():
            return verify_shopify(request, secrets)
        case WebhookSender.standard, StandardSecrets():
            return verify_standard(request, secrets, now_ms, tolerance_ms)
    raise Misconfigured(
        f"{sender.value} is not checked with {type(secrets).__name__}.",
        f"Give it {SECRETS_OF[sender].__name__}.",
    )
