"""Stripe: ``Stripe-Signature: t=<seconds>,v1=<hex>[,v1=…]``, HMAC-SHA256 over ``<t>.<body>``.

Source: docs.stripe.com/webhooks/signature (manual verification). stripe-python refuses only old stamps; here
the future is refused too. Schemes other than ``v1`` (``v0`` of test events) prove nothing and are passed over.
"""

from __future__ import annotations

import msgspec

from collector.webhooks.keys import NO_JSON, body_key, key_of
from collector.webhooks.reasons import WebhookRefusal, refusal
from collector.webhooks.request import WebhookRequest
from collector.webhooks.secrets import SigningSecrets
from collector.webhooks.signing import (
    MAX_SIGNATURES,
    check_window,
    hmac_hex,
    is_hex,
    match_or_refuse,
    parse_stamp,
)
from collector.webhooks.verified import Verified, WebhookEvent, WebhookScheme, WebhookSender

HEADER = "stripe-signature"
_REMEDY = "The signature belongs to no signing secret of this endpoint (whsec_…), or the body was changed."


class _Event(msgspec.Struct):
    id: str


def verify_stripe(
    request: WebhookRequest, secrets: SigningSecrets, now_ms: int, tolerance_ms: int
) -> Verified:
    """Raises ``Rejected``. Stripe signs every try anew, so the window holds for repeats too."""
    header = request.headers.get(HEADER)
    if header is None:
        raise refusal(
            WebhookRefusal.missing_signature, "Stripe sends Stripe-Signature with each event.", HEADER
        )
    stamp, signatures = _parse(header)
    signed_at = parse_stamp(stamp, HEADER)
    content = f"{stamp}.".encode() + request.body
    index = match_or_refuse([hmac_hex(key, content) for key in secrets.keys], signatures, HEADER, _REMEDY)
    check_window(signed_at, now_ms, tolerance_ms, HEADER)
    try:
        key = key_of("stripe", msgspec.json.decode(request.body, type=_Event).id)
    except NO_JSON:
        key = ""
    return Verified(
        WebhookSender.stripe,
        WebhookScheme.stripe_v1,
        (WebhookEvent(0, (key or body_key("stripe", request.body),)),),
        index,
        signed_at,
        is_read=bool(key),
    )


def _parse(header: str) -> tuple[str | None, list[str]]:
    """The stamp and the ``v1`` signatures. Raises ``Rejected`` if no well-formed one is there."""
    stamps: list[str] = []
    signatures: list[str] = []
    for item in header.split(","):
        name, _, value = item.partition("=")
        if name == "t":
            stamps.append(value)
        elif name == "v1":
            signatures.append(value)
    if len(stamps) > 1:
        raise refusal(WebhookRefusal.malformed_stamp, "The header has several times of signing.", HEADER)
    well_formed = [signature for signature in signatures if is_hex(signature)]
    if not well_formed or len(signatures) > MAX_SIGNATURES:
        raise refusal(
            WebhookRefusal.malformed_signature, "Send t=<seconds>,v1=<64 hex digits>, as Stripe does.", HEADER
        )
    return (stamps[0] if stamps else None), well_formed
