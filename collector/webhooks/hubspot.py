"""HubSpot: signatures v3 (HMAC with a stamp), v2 and v1 (plain hashes without one).

Source: developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests (v1, v2, v3) and
…/apps/developer-platform/build-apps/authentication/request-validation (v3). HubSpot sends an old version beside
v3; **the strongest that is there decides alone**, so a broken v3 is never made up for by a right v1, and whoever
leaves v3 out gets no further than the settings allow.

v1 and v2 hash the secret before the content, so whoever has seen one can lengthen its body without knowing the
secret (length extension of SHA-256). What that appends is never JSON: such bodies must be JSON to pass.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from collector.webhooks.keys import NO_JSON, body_key, content_key, key_of
from collector.webhooks.reasons import WebhookRefusal, refusal
from collector.webhooks.request import WebhookRequest
from collector.webhooks.secrets import HubspotSecrets
from collector.webhooks.signing import (
    check_window,
    hmac_base64,
    is_base64,
    is_hex,
    match_or_refuse,
    parse_stamp,
)
from collector.webhooks.verified import Verified, WebhookEvent, WebhookScheme, WebhookSender

V3_HEADER = "x-hubspot-signature-v3"
STAMP_HEADER = "x-hubspot-request-timestamp"
OLD_HEADER = "x-hubspot-signature"
VERSION_HEADER = "x-hubspot-signature-version"
_DECODED = re.compile(r"%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE | re.ASCII)
"""The codes that HubSpot decodes before it signs with v3; all others stay as they are."""
_REMEDY = (
    "The signature belongs to no client secret of the app, the body was changed, or the address that HubSpot "
    "called is not the public address in the settings."
)
_NAMING = ("portalId", "subscriptionId", "eventId", "occurredAt", "objectId")
"""Together they name an event; ``eventId`` alone "is not guaranteed to be unique" (HubSpot's webhooks guide)."""
_ATTEMPT = "attemptNumber"
MAX_EVENTS = 1000
"""Ten times what HubSpot says it sends at once; an array of more is not read for keys."""


def verify_hubspot(
    request: WebhookRequest, secrets: HubspotSecrets, now_ms: int, tolerance_ms: int
) -> Verified:
    """Raises ``Rejected``. v3 is signed anew for each try; against replay of v1 and v2 only the keys help."""
    signature = request.headers.get(V3_HEADER)
    if signature is not None:
        return _verify_v3(request, secrets, signature, now_ms, tolerance_ms)
    signature = request.headers.get(OLD_HEADER)
    if signature is None:
        raise refusal(WebhookRefusal.missing_signature, "HubSpot sends it with each request.", V3_HEADER)
    return _verify_old(request, secrets, signature)


def _verify_v3(
    request: WebhookRequest, secrets: HubspotSecrets, signature: str, now_ms: int, tolerance_ms: int
) -> Verified:
    stamp = request.headers.get(STAMP_HEADER)
    signed_at = parse_stamp(stamp, STAMP_HEADER, is_milliseconds=True)
    if not is_base64(signature):
        raise refusal(
            WebhookRefusal.malformed_signature, "Send base64 of 32 bytes, as HubSpot does.", V3_HEADER
        )
    content = _bytes_of(request.method + decode_uri(request.url)) + request.body + _bytes_of(stamp or "")
    index = match_or_refuse(
        [hmac_base64(key, content) for key in secrets.keys], [signature], V3_HEADER, _REMEDY
    )
    check_window(signed_at, now_ms, tolerance_ms, STAMP_HEADER)
    events = events_of(request.body)
    return Verified(
        WebhookSender.hubspot,
        WebhookScheme.hubspot_v3,
        (WebhookEvent(0, (body_key("hubspot", request.body),)),) if events is None else events,
        index,
        signed_at,
        is_read=events is not None,
    )


def _verify_old(request: WebhookRequest, secrets: HubspotSecrets, signature: str) -> Verified:
    version = request.headers.get(VERSION_HEADER)
    if version not in ("v1", "v2"):
        raise refusal(
            WebhookRefusal.malformed_signature, "The version of a signature is v1 or v2.", VERSION_HEADER
        )
    if version < secrets.oldest_version:
        raise refusal(
            WebhookRefusal.weak_signature,
            f"Only signatures of {secrets.oldest_version} and later are allowed; does a proxy drop {V3_HEADER}?",
            OLD_HEADER,
        )
    if not is_hex(signature):
        raise refusal(WebhookRefusal.malformed_signature, "Send 64 hex digits, as HubSpot does.", OLD_HEADER)
    where = _bytes_of(request.method + request.url) if version == "v2" else b""
    expected = [hashlib.sha256(key + where + request.body).hexdigest().encode() for key in secrets.keys]
    index = match_or_refuse(expected, [signature], OLD_HEADER, _REMEDY)
    events = events_of(request.body)
    if events is None:
        raise refusal(WebhookRefusal.malformed_body, "The body is no JSON.", "body")
    scheme = WebhookScheme.hubspot_v2 if version == "v2" else WebhookScheme.hubspot_v1
    return Verified(WebhookSender.hubspot, scheme, events, index)


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def decode_uri(url: str) -> str:
    """The address as v3 signs it: twelve percent codes are the characters they stand for."""
    return _DECODED.sub(lambda code: chr(int(code[1], 16)), url)


def events_of(body: bytes) -> tuple[WebhookEvent, ...] | None:
    """The events of a body, one for each member of an array; None if it is no JSON array or object, or too long."""
    try:
        told = msgspec.json.decode(body)
        if isinstance(told, dict):
            told = [told]  # what a workflow sends
        if not isinstance(told, list) or len(told) > MAX_EVENTS:
            return None
        return tuple(_event_of(position, event) for position, event in enumerate(told))
    except NO_JSON:
        return None


def _event_of(position: int, told: Any) -> WebhookEvent:
    """The number of the try is no part of the key. What lacks a naming field is named by its content."""
    if not isinstance(told, dict):
        return WebhookEvent(position, (content_key("hubspot", told),))
    tries = told.get(_ATTEMPT)
    attempt = tries if isinstance(tries, int) else 0
    names = [name for name in map(told.get, _NAMING) if isinstance(name, int | str)]
    if len(names) == len(_NAMING):
        return WebhookEvent(position, (key_of("hubspot", *names),), attempt)
    content = {name: value for name, value in told.items() if name != _ATTEMPT}
    return WebhookEvent(position, (content_key("hubspot", content),), attempt)
