"""The wire form of a webhook or postback: what the collector writes to Kafka and the deals stage reads."""

from __future__ import annotations

import msgspec

from attribution.wire import Wire

POSTBACK = "postback"
"""``source`` of what a tracker says by calling an address; its body is the query as a JSON object of texts."""


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One request of a sender whose right to send it was checked. Partition: by ``site``."""

    site: str
    source: str
    """``hubspot``, ``salesforce``, ``pipedrive``, ``stripe``, ``shopify``, ``standard`` or ``postback``."""
    scheme: str
    """By which check it was let in (``collector.webhooks.verified.WebhookScheme``); of a postback the source."""
    keys: list[list[str]]
    """Per event in the body, in their order: names that stay the same on every attempt; one in common = the same."""
    received_at: int
    """Epoch milliseconds, UTC."""
    headers: dict[str, str] = {}
    """Those that adapters need, names in lower case (Shopify's topic)."""
    body: bytes
    """As it came, unchanged; base64 in JSON."""
    is_read: bool = True
    """False: the body is not what the sender documents; its one event is named by the body's bytes."""


_WIRE = Wire(Delivery)
encode_delivery, encode_deliveries, decode_deliveries = _WIRE.encode_one, _WIRE.encode_many, _WIRE.decode
