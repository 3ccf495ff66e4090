"""The wire form of a hit: what the collector writes to Kafka and the worker reads.

A Kafka value is one JSON object or a JSON array of objects of the same partition (an envelope).
"""

from __future__ import annotations

import msgspec

from attribution.errors import Rejected

NO_PROPS = msgspec.Raw(b"{}")
"""What ``Hit.props`` is, as an object too, when nothing was sent."""


class Restated(msgspec.Struct, frozen=True, gc=False):
    """On a hit that is in ``hits`` already and comes once more, to be judged by other rules (docs/restate.md)."""

    policy: str
    """Version of the policy that the visitor's affected conversions are credited under from now on."""
    recorded_at: int
    """When the restatement began, epoch ms: the ``recorded_at`` of the corrections."""


class Hit(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One tracked request as received, before judgement. Instants are epoch milliseconds, UTC."""

    event_id: str
    site: str
    visitor_id: str
    occurred_at: int
    """When it happened, after clock-skew correction. Decides sessions and paths."""
    received_at: int
    """When the collector heard it."""
    event: str = "page_view"
    clock_skew_ms: int = 0
    """What was added to the client's ``occurred_at``."""
    time_flag: str = ""
    """"" = client time used; ``received`` = no usable client time; ``clamped`` = was in the future."""
    url: str = ""
    referrer: str = ""
    title: str = ""
    user_id: str = ""
    email_sha256: str = ""
    value: str | None = None
    """Decimal notation, already validated against ``currency``."""
    currency: str = ""
    order_id: str = ""
    consent: str = ""
    gpc: bool = False
    dnt: bool = False
    user_agent: str = ""
    ip: str = ""
    """Truncated to /24 (IPv4) or /48 (IPv6) before it was first written."""
    props: msgspec.Raw = NO_PROPS
    """JSON object, unparsed: stored as it came."""
    country: str = ""
    """ISO 3166-1 alpha-2, where it is known; nothing finer is kept."""
    restated: Restated | None = None
    """Only ``headwater restate`` sets it; the collector never does."""


_decode_many = msgspec.json.Decoder(list[Hit]).decode
_decode_one = msgspec.json.Decoder(Hit).decode
_encoder = msgspec.json.Encoder()


def decode_envelope(value: bytes) -> list[Hit]:
    """Hits of one Kafka value. Raises ``Rejected('malformed')`` when any of it does not fit."""
    try:
        if value[:1] == b"[":
            return _decode_many(value)
        return [_decode_one(value)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("malformed", str(error)) from error


def encode_envelope(hits: list[Hit]) -> bytes:
    """One Kafka value for ``hits`` of the same partition."""
    return _encoder.encode(hits)


def encode_hit(hit: Hit) -> bytes:
    """One hit as a JSON object."""
    return _encoder.encode(hit)
