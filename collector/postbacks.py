"""``/postback``: what affiliate and mobile networks say by calling an address, as a delivery for the deals stage."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from attribution.deals.delivery import POSTBACK, Delivery
from attribution.errors import Rejected
from collector.fields import check_site
from collector.reasons import Refusal
from collector.segment import decode_json
from collector.webhooks.keys import content_key
from collector.webhooks.settings import Webhooks

PATH = "/postback"
ALIASES: dict[str, tuple[str, ...]] = {
    "click_id": ("clickid", "cid", "subid", "cnv_id"),
    "payout": (),
    "currency": (),
    "transaction_id": ("txid", "tid"),
    "event": ("et", "status", "cnv_status"),
}
"""Our names, and those of Voluum, Keitaro, Binom and their kind, best first."""
MAX_TEXT = 1024
"""Characters of one parameter."""
MAX_PARAMETERS = 64
_ENVELOPE = ("site", "key")
_encode = msgspec.json.Encoder(order="deterministic").encode


def receive_postback(
    query: str, body: bytes, content_type: str, sites: frozenset[str], settings: Webhooks | None, now_ms: int
) -> Delivery:
    """The delivery of a postback. Its body is a JSON object of texts: our names, then whatever else was sent.

    What a form or JSON body says goes before the query. Nothing is judged here but what cannot be right: an event
    or currency that nobody knows is the stage's to name. Raises ``Rejected``.
    """
    told = _pairs(query) | _pairs_of_body(body, content_type)
    site, key = told.pop("site", ""), told.pop("key", "")
    check_site(site, sites)
    keys = settings.postback_keys.get(site, ()) if settings else ()
    if keys and not _is_one_of(key, keys):
        raise Rejected(
            Refusal.unauthorized, "Send key=, one of those that the settings hold for this site.", "key"
        )
    fields = _named(told)
    if not fields.get("click_id") and not fields.get("transaction_id"):
        raise Rejected(Refusal.missing_field, "Send click_id, or at least transaction_id.", "click_id")
    return Delivery(
        site=site,
        source=POSTBACK,
        scheme=POSTBACK,
        keys=[[content_key(POSTBACK, fields)]],
        received_at=now_ms,
        body=_encode(fields),
    )


def _pairs(text: str) -> dict[str, str]:
    """Of a parameter given twice the last counts, as with the pixel."""
    try:
        return _bounded(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS))
    except ValueError as error:
        raise Rejected(Refusal.too_many_keys, f"Send at most {MAX_PARAMETERS} parameters.") from error


def _pairs_of_body(body: bytes, content_type: str) -> dict[str, str]:
    if not body.strip():
        return {}
    if content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            return _pairs(body.decode())
        except UnicodeDecodeError as error:
            raise Rejected(Refusal.not_utf8, "Send a form in UTF-8.") from error
    told = decode_json(body)
    if not isinstance(told, dict):
        raise Rejected(Refusal.malformed, "Send a form, or one JSON object.")
    if len(told) > MAX_PARAMETERS:
        raise Rejected(Refusal.too_many_keys, f"Send at most {MAX_PARAMETERS} parameters.")
    return _bounded((name, _text(name, value)) for name, value in told.items() if value is not None)


def _bounded(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    told: dict[str, str] = {}
    for name, text in pairs:
        if len(name) > MAX_TEXT or len(text) > MAX_TEXT:
            raise Rejected(Refusal.too_long, f"At most {MAX_TEXT} characters.", name[:64])
        told[name] = text
    return told


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise Rejected(Refusal.wrong_type, "Send a text or a number.", name[:64])


def _named(told: Mapping[str, str]) -> dict[str, str]:
    """By our names where there is one; what stands under another name beside ours stays under its own."""
    fields = dict(told)
    for name, others in ALIASES.items():
        for other in others:
            if other in fields and not fields.get(name):
                fields[name] = fields.pop(other)
    return {name: text for name, text in fields.items() if name not in _ENVELOPE}


def _is_one_of(key: str, keys: Iterable[str]) -> bool:
    # Every one is looked at: which of them it is must not be told by the time it takes.
    found = [hmac.compare_digest(key.encode(), each.encode()) for each in keys]
    return any(found)
