"""Standard Webhooks: HMAC-SHA256 over ``<id>.<seconds>.<body>``, several signatures parted by spaces.

Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. Only symmetric signatures
(``v1``); ``v1a`` (ed25519) would need a library for curves and is passed over.
"""

from __future__ import annotations

import re

from collector.webhooks.keys import key_of
from collector.webhooks.reasons import WebhookRefusal, refusal
from collector.webhooks.request import WebhookRequest
from collector.webhooks.secrets import StandardSecrets
from collector.webhooks.signing import (
    MAX_SIGNATURES,
    check_window,
    hmac_base64,
    is_base64,
    match_or_refuse,
    parse_stamp,
)
from collector.webhooks.verified import Verified, WebhookEvent, WebhookScheme, WebhookSender

ID_HEADER = "webhook-id"
STAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
_ID = re.compile(r"[!-\-/-~]{1,256}", re.ASCII)
"""Visible ASCII without the full stop: with one, id and stamp could be cut apart at another place and still
have the same signature (the specification forbids it for that reason)."""
_REMEDY = "The signature belongs to no secret of this endpoint, or body, id or stamp were changed."


def verify_standard(
    request: WebhookRequest, secrets: StandardSecrets, now_ms: int, tolerance_ms: int
) -> Verified:
    """Raises ``Rejected``. The id is signed and stays the same over all tries, the stamp is of this try."""
    webhook_id = request.headers.get(ID_HEADER)
    if webhook_id is None:
        raise refusal(WebhookRefusal.missing_id, "Send webhook-id, the same for each try.", ID_HEADER)
    if not _ID.fullmatch(webhook_id):
        raise refusal(
            WebhookRefusal.malformed_id,
            "An id has 1 to 256 visible ASCII characters, none of them a full stop.",
            ID_HEADER,
        )
    stamp = request.headers.get(STAMP_HEADER)
    signed_at = parse_stamp(stamp, STAMP_HEADER)
    signatures = _parse(request.headers.get(SIGNATURE_HEADER))
    content = f"{webhook_id}.{stamp}.".encode() + request.body
    expected = [hmac_base64(key, content) for key in secrets.keys]
    index = match_or_refuse(expected, signatures, SIGNATURE_HEADER, _REMEDY)
    check_window(signed_at, now_ms, tolerance_ms, STAMP_HEADER)
    event = WebhookEvent(0, (key_of("standard", webhook_id),))
    return Verified(WebhookSender.standard, WebhookScheme.standard_v1, (event,), index, signed_at)


def _parse(header: str | None) -> list[str]:
    """The ``v1`` signatures. Raises ``Rejected`` if no well-formed one is there."""
    if header is None:
        raise refusal(
            WebhookRefusal.missing_signature, "Send webhook-signature: v1,<base64>.", SIGNATURE_HEADER
        )
    items = [item.partition(",") for item in header.split(" ")]
    signatures = [value for version, _, value in items if version == "v1" and is_base64(value)]
    if not signatures or len(items) > MAX_SIGNATURES:
        raise refusal(
            WebhookRefusal.malformed_signature,
            "Send v1,<base64 of 32 bytes>; signatures with public keys (v1a) are not supported.",
            SIGNATURE_HEADER,
        )
    return signatures
