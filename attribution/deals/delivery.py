"""The wire form of a webhook or postback: what the collector writes to Kafka and the deals stage reads.

A Kafka value is one JSON object or a JSON array of objects of the same partition (an envelope).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from attribution.errors import Rejected

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


_encode = msgspec.json.Encoder().encode
_decode_many = msgspec.json.Decoder(list[Delivery]).decode
_decode_one = msgspec.json.Decoder(Delivery).decode


def encode_delivery(delivery: Delivery) -> bytes:
    """One delivery as a JSON object."""
    return _encode(delivery)


def encode_deliveries(deliveries: Iterable[Delivery]) -> bytes:
    """One Kafka value for ``deliveries`` of the same partition."""
    return _encode(list(deliveries))


def decode_deliveries(value: bytes) -> list[Delivery]:
    """Deliveries of one Kafka value. Raises ``Rejected('malformed')`` when any of it does not fit."""
    try:
        if value[:1] == b"[":
            return _decode_many(value)
        return [_decode_one(value)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("malformed", str(error)) from error
