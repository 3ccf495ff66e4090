"""Pipedrive: HTTP Basic with the name and password that were written beside the address. Nothing is signed.

Source: pipedrive.readme.io/docs/guide-for-webhooks-v2. TLS alone keeps the password and the body from others,
and only the remembered keys keep a caught request from being sent again.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from collector.webhooks.keys import NO_JSON, body_key, content_key, key_of
from collector.webhooks.reasons import WebhookRefusal, refusal
from collector.webhooks.request import WebhookRequest
from collector.webhooks.secrets import PipedriveSecrets
from collector.webhooks.signing import index_of_match
from collector.webhooks.verified import Verified, WebhookEvent, WebhookScheme, WebhookSender

HEADER = "authorization"
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", re.ASCII)
_OF_ONE_TRY = ("attempt", "webhook_id", "webhook_owner_id", "permitted_user_ids", "correlation_id")
"""Of ``meta``: what may differ between tries and between two webhooks that tell the same event."""


def verify_pipedrive(request: WebhookRequest, secrets: PipedriveSecrets) -> Verified:
    """Raises ``Rejected``."""
    header = request.headers.get(HEADER)
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "basic" or not token:
        raise refusal(
            WebhookRefusal.missing_credentials,
            "Enter HTTP Auth username and password at the webhook in Pipedrive.",
            HEADER,
        )
    expected = [base64.b64encode(f"{name}:{password}".encode()) for name, password in secrets.logins]
    index = index_of_match(expected, [token])
    if index is None:
        raise refusal(
            WebhookRefusal.bad_credentials, "Username and password are not those of this site.", HEADER
        )
    event = _event_of(request.body)
    return Verified(
        WebhookSender.pipedrive,
        WebhookScheme.pipedrive_basic,
        (event or WebhookEvent(0, (body_key("pipedrive", request.body),)),),
        index,
        is_read=event is not None,
    )


def _event_of(body: bytes) -> WebhookEvent | None:
    """None if the body is not what Pipedrive sends.

    ``meta.id`` names the event in v2, where it is a UUID. In v1, and in messages that were seen in the wild, it
    is the deal's number: as a key it would take all changes of a deal for one. Then the content is the key.
    """
    try:
        message = msgspec.json.decode(body)
        meta = message.get("meta") if isinstance(message, dict) else None
        if not isinstance(meta, dict):
            return None
        tries, event_id = meta.get("attempt"), meta.get("id")
        attempt = max(tries - 1, 0) if isinstance(tries, int) else _number(message.get("retry"))
        if isinstance(event_id, str) and _UUID.fullmatch(event_id):
            return WebhookEvent(0, (key_of("pipedrive", event_id.lower()),), attempt)
        told = {name: value for name, value in message.items() if name not in ("meta", "retry")}
        told["meta"] = {name: value for name, value in meta.items() if name not in _OF_ONE_TRY}
        return WebhookEvent(0, (content_key("pipedrive", told),), attempt)
    except NO_JSON:
        return None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
