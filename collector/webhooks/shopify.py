"""Shopify: ``X-Shopify-Hmac-Sha256``, base64 HMAC-SHA256 over the body alone.

Source: shopify.dev/docs/apps/build/webhooks/verify-deliveries. No stamp is signed, and **no header is signed**:
shop, topic and ids are what somebody wrote beside a body. Whoever has caught one request could send its body
again under another id, so the bytes are a key of their own beside the id. A try again has both unchanged
(shopify.dev/changelog/updates-to-webhook-retry-mechanism: the original payload is sent).
"""

from __future__ import annotations

from collector.webhooks.keys import body_key, key_of
from collector.webhooks.reasons import WebhookRefusal, refusal
from collector.webhooks.request import WebhookRequest
from collector.webhooks.secrets import SigningSecrets
from collector.webhooks.signing import hmac_base64, is_base64, match_or_refuse
from collector.webhooks.verified import Verified, WebhookEvent, WebhookScheme, WebhookSender

HEADER = "x-shopify-hmac-sha256"
ID_HEADER = "x-shopify-webhook-id"
EVENT_HEADER = "x-shopify-event-id"
TOPIC_HEADER = "x-shopify-topic"
_REMEDY = "The signature belongs to no client secret of the app, or the body was changed."


def verify_shopify(request: WebhookRequest, secrets: SigningSecrets) -> Verified:
    """Raises ``Rejected``. Against replay only the remembered keys help."""
    headers = request.headers
    signature = headers.get(HEADER)
    if signature is None:
        raise refusal(WebhookRefusal.missing_signature, "Shopify sends it with each delivery.", HEADER)
    if not is_base64(signature):
        raise refusal(WebhookRefusal.malformed_signature, "Send base64 of 32 bytes, as Shopify does.", HEADER)
    expected = [hmac_base64(key, request.body) for key in secrets.keys]
    index = match_or_refuse(expected, [signature], HEADER, _REMEDY)
    topic = headers.get(TOPIC_HEADER) or ""
    keys = [body_key("shopify", request.body, topic)]
    if webhook_id := headers.get(ID_HEADER):
        keys.insert(0, key_of("shopify", "webhook", webhook_id))
    # One change gives several topics the same event id; within a topic it names what several subscriptions got.
    if event_id := headers.get(EVENT_HEADER):
        keys.insert(-1, key_of("shopify", "event", topic, event_id))
    event = WebhookEvent(0, tuple(keys))
    return Verified(WebhookSender.shopify, WebhookScheme.shopify_hmac, (event,), index)
