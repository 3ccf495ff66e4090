"""Segment-compatible JSON (definitions C8) and the contract's own names, mapped to the contract's fields.

Differences from Segment: ``Order Completed`` is ``purchase``, ``Order Refunded`` is ``refund``, and so is ``Order
Cancelled``, without a value; an e-mail address in traits or properties is hashed and not kept; ``context`` is read
but not kept. An order may be named as GA4 names it: ``transaction_id``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from attribution.errors import Rejected
from attribution.scenes import country_of
from collector.addresses import client_of
from collector.fields import normal_consent
from collector.limits import MAX_BATCH, MAX_EVENT, check_shape
from collector.reasons import Refusal

KINDS = ("track", "page", "screen", "identify", "alias", "group")
BATCH = "batch"
POSTED: dict[str, str] = {
    **{f"/v1/{kind}": kind for kind in (*KINDS, BATCH)},
    **{f"/v1/{kind[0]}": kind for kind in (*KINDS, BATCH)},
}
"""What is posted to which path; the short ones are those of Segment's library for browsers."""

_EVENT_OF_KIND = {
    "page": "page_view",
    "screen": "screen_view",
    "identify": "identify",
    "alias": "alias",
    "group": "group",
}
_EVENT_NAMES = {
    "Order Completed": "purchase",
    "Order Refunded": "refund",
    "Order Cancelled": "refund",
    "Product Added": "add_to_cart",
    "Signed Up": "sign_up",
}
"""Names of Segment's specifications that the contract has a name for; any other name stays as it is."""
_OF_WHOLE_ORDER = "Order Cancelled"
"""Its amounts are the order's, not what is paid back: parts may have been already."""

T = TypeVar("T")
Paths = tuple[tuple[str, ...], ...]

_PATHS: dict[str, Paths] = {
    "site": (("site",), ("writeKey",)),
    "event_id": (("event_id",), ("messageId",)),
    "visitor_id": (("visitor_id",), ("anonymousId",)),
    "user_id": (("user_id",), ("userId",)),
    "email_sha256": (("email_sha256",),),
    "url": (("url",), ("context", "page", "url")),
    "referrer": (("referrer",), ("context", "page", "referrer")),
    "title": (("title",), ("context", "page", "title")),
    "occurred_at": (("occurred_at",), ("originalTimestamp",), ("timestamp",)),
    "sent_at": (("sent_at",), ("sentAt",)),
    "value": (("value",),),
    "currency": (("currency",),),
    "order_id": (("order_id",),),
    "user_agent": (("context", "userAgent"),),
    "ip": (("context", "ip"),),
}
"""Where each field may stand, best place first."""

_MORE_PATHS: dict[str, dict[str, Paths]] = {
    "page": {
        "url": (("properties", "url"),),
        "referrer": (("properties", "referrer"),),
        "title": (("properties", "title"), ("name",)),
    },
    "screen": {"title": (("properties", "title"), ("name",))},
    "track": {
        "value": (("properties", "value"), ("properties", "revenue")),
        "currency": (("properties", "currency"),),
        "order_id": (("properties", "order_id"),),
    },
    "order": {"value": (("properties", "total"),), "order_id": (("properties", "transaction_id"),)},
}
_PATHS_OF_KIND: dict[str, dict[str, Paths]] = {
    kind: {name: paths + _MORE_PATHS.get(kind, {}).get(name, ()) for name, paths in _PATHS.items()}
    for kind in KINDS
}
# Libraries send the browser's own id beside the former one, and it is the former one that an alias is about.
_PATHS_OF_KIND["alias"]["visitor_id"] = (("visitor_id",), ("previousId",), ("anonymousId",))
_PATHS_OF_KIND["order"] = {
    name: paths + _MORE_PATHS["order"].get(name, ()) for name, paths in _PATHS_OF_KIND["track"].items()
}

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
_EMPTY: Mapping[str, Any] = {}
_MAX_EXPONENT = 30


def paths_of(kind: str) -> Mapping[str, Paths]:
    """Where each field may stand in an event of ``kind``, best place first."""
    return _PATHS_OF_KIND[kind]


class Batch(msgspec.Struct, rename={"sent_at": "sentAt", "write_key": "writeKey"}):
    """The body of ``/v1/batch``; the events stay undecoded, so that one bad event spoils only itself."""

    batch: list[msgspec.Raw] = []
    site: str = ""
    write_key: str = ""
    sent_at: Any = None
    context: dict[str, Any] = {}


_decode_batch = msgspec.json.Decoder(Batch, float_hook=Decimal).decode


def parse_batch(body: bytes) -> Batch:
    """The envelope of a batch. Raises ``Rejected`` (``malformed``, ``not_utf8``, ``batch_too_large``)."""
    try:
        batch = _decoded(_decode_batch, body)
    except Rejected as error:
        if error.reason != Refusal.too_deep:
            raise
        # Some event is nested so deeply that the parser gives up. It is cut off at a depth that is still too
        # deep, so that this event is refused by its index and the others are kept.
        batch = _decoded(_decode_batch, cut_depth(body))
    if len(batch.batch) > MAX_BATCH:
        raise Rejected(
            Refusal.batch_too_large,
            f"Send at most {MAX_BATCH} events in a batch, and the rest in another.",
            "batch",
        )
    return batch


def parse_event(body: bytes | msgspec.Raw) -> dict[str, Any]:
    """One event as a dict within the limits. Raises ``Rejected``."""
    if len(memoryview(body)) > MAX_EVENT:
        raise Rejected(Refusal.event_too_large, f"One event may have {MAX_EVENT} bytes.")
    event = _decoded(_decode, body)
    if not isinstance(event, dict):
        raise Rejected(Refusal.malformed, "Send one JSON object for each event.")
    check_shape(event)
    return event


def decode_json(body: bytes) -> Any:
    """What a body says; numbers with a point are ``Decimal``.

    Raises ``Rejected``: ``malformed``, ``not_utf8``, ``too_deep``.
    """
    return _decoded(_decode, body)


def fields_of(kind: str, event: Mapping[str, Any]) -> tuple[dict[str, str], msgspec.Raw]:
    """Contract fields and ``props`` of one event. Raises ``Rejected`` naming the field."""
    properties = _object(event, "properties")
    traits = _object(event, "traits")
    context = _object(event, "context")
    name = _event_name(kind, event)
    is_order = kind == "track" and name in ("purchase", "refund")
    fields = {"event": name}
    for field, paths in _PATHS_OF_KIND["order" if is_order else kind].items():
        for path in paths:
            text = _text_at(event, path, field in ("value",))
            if text:
                fields[field] = text
                break
    if is_order and event.get("event") == _OF_WHOLE_ORDER:
        fields.pop("value", None)
    if event.get("receivedAt") and event.get("timestamp"):
        # Already corrected by a Segment pipeline; the time it was sent says nothing about our clock.
        fields["occurred_at"] = _text_at(event, ("timestamp",))
        fields.pop("sent_at", None)
    if "ip" in fields:
        fields["ip"] = client_of(fields["ip"]).kept_ip
    if consent := _consent(event, context):
        fields["consent"] = consent
    props = {**properties, **traits, **_object(event, "props")}
    props.update(
        (key[6:], value) for key, value in event.items() if key.startswith("props.") and len(key) > 6
    )
    if kind == "group" and event.get("groupId"):
        props["group_id"] = _text_at(event, ("groupId",))
    _hash_email(fields, props, _object(context, "traits"))
    _add_campaign(fields, props, _object(context, "campaign"))
    return fields, msgspec.Raw(_encode(props))


def country_told(event: Mapping[str, Any]) -> str:
    """The country in ``context.location``, by code or name; "" if there is none that we know.

    It must not cost the hit, whatever stands there.
    """
    context = event.get("context")
    location = context.get("location") if isinstance(context, dict) else None
    country = location.get("country") if isinstance(location, dict) else None
    return country_of(country) if isinstance(country, str) else ""


def stand_in_for_visitor(fields: Mapping[str, str], event: Mapping[str, Any]) -> str:
    """The visitor of a hit that names none: whom it is about, so that what a server says of somebody is one visitor's.

    "" when it names nobody.
    """
    if user_id := fields.get("user_id"):
        return f"user:{user_id}"
    if email_sha256 := fields.get("email_sha256"):
        return f"email:{email_sha256.lower()}"
    for part in ("properties", "traits", "props"):
        contact = _object(event, part).get("crm_contact_id")
        if isinstance(contact, str | int) and not isinstance(contact, bool) and contact != "":
            return f"crm:{contact}"
    return ""


def cut_depth(body: bytes, depth: int = 64) -> bytes:
    """JSON ``body`` with everything nested deeper than ``depth`` replaced by 0."""
    parts: list[bytes] = []
    level = kept = 0
    for token in _TOKENS.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            level += 1
            if level == depth + 1:
                parts += (body[kept : token.start()], b"0")
        elif first in b"]}":
            if level == depth + 1:
                kept = token.end()
            level -= 1
    if level <= depth:
        parts.append(body[kept:])
    return b"".join(parts)


_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def _decoded(decode: Callable[[bytes | msgspec.Raw], T], body: bytes | msgspec.Raw) -> T:
    try:
        return decode(body)
    except UnicodeDecodeError as error:
        raise Rejected(Refusal.not_utf8, "Send JSON in UTF-8.") from error
    except RecursionError as error:
        raise Rejected(Refusal.too_deep, "The JSON is nested too deeply.") from error
    except msgspec.ValidationError as error:
        field = str(error).partition("`$.")[2].rstrip("`")
        raise Rejected(Refusal.wrong_type, f"{error}.", field) from error
    except (msgspec.DecodeError, ArithmeticError) as error:
        given = bytes(body)
        if (mended := _ESCAPE.sub(_mend_escape, given)) != given:
            return _decoded(decode, mended)
        raise Rejected(Refusal.malformed, f"Send one valid JSON object ({error}).") from error


_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
"""An escape in JSON; group 1 is half of a surrogate pair, what browsers write when an emoji is cut in two."""


def _mend_escape(escape: re.Match[bytes]) -> bytes:
    """Half a pair becomes U+FFFD, as in browsers' own encoders: it must not cost the event, or the whole batch."""
    return b"\\ufffd" if escape[1] else escape[0]


def _object(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if value is None:
        return _EMPTY
    if not isinstance(value, dict):
        raise Rejected(Refusal.wrong_type, "Send a JSON object here.", name)
    return value


def _text_at(event: Mapping[str, Any], path: tuple[str, ...], is_money: bool = False) -> str:
    value: Any = event
    for index, name in enumerate(path):
        if value is None:
            return ""
        if not isinstance(value, dict):
            raise Rejected(Refusal.wrong_type, "Send a JSON object here.", ".".join(path[:index]))
        value = value.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if is_money and isinstance(value, Decimal) and abs(value.adjusted()) <= _MAX_EXPONENT:
        return format(value, "f")
    if is_money:
        raise Rejected(Refusal.wrong_type, "Send a number, or a decimal number as text.", ".".join(path))
    raise Rejected(Refusal.wrong_type, "Send text here.", ".".join(path))


def _event_name(kind: str, event: Mapping[str, Any]) -> str:
    if kind != "track":
        return _EVENT_OF_KIND[kind]
    name = _text_at(event, ("event",))
    return _EVENT_NAMES.get(name, name)


def _consent(event: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Granted purposes, comma separated: the contract's ``consent``, else Segment's category preferences."""
    given = event.get("consent")
    if isinstance(given, list):
        if not all(isinstance(purpose, str) for purpose in given):
            raise Rejected(Refusal.wrong_type, "Send the granted purposes as text.", "consent")
        return normal_consent(",".join(given))
    if given is not None:
        return normal_consent(_text_at(event, ("consent",)))
    preferences = _object(_object(context, "consent"), "categoryPreferences")
    return ",".join(purpose for purpose, granted in preferences.items() if granted is True)


def _hash_email(fields: dict[str, str], props: dict[str, Any], traits: Mapping[str, Any]) -> None:
    """Keep the hash of an e-mail address (definitions C9: trimmed, lower case, SHA-256), never the address."""
    address = props.pop("email", None) or traits.get("email")
    if isinstance(address, str) and "@" in address and "email_sha256" not in fields:
        fields["email_sha256"] = hashlib.sha256(address.strip().lower().encode()).hexdigest()


def _add_campaign(fields: dict[str, str], props: dict[str, Any], campaign: Mapping[str, Any]) -> None:
    """Write ``context.campaign`` into an URL that has no UTM parameters, where the worker reads campaigns."""
    if not campaign:
        return
    url = fields.get("url", "")
    if not url:
        props.setdefault("campaign", dict(campaign))
        return
    if "utm_" in url.lower():
        return
    tags = {
        f"utm_{'campaign' if key == 'name' else key}": text
        for key in ("source", "medium", "name", "term", "content")
        if (text := _text_at(campaign, (key,)))
    }
    if tags:
        base, hash_sign, fragment = url.partition("#")
        joint = "&" if "?" in base else "?"
        fields["url"] = f"{base}{joint}{urlencode(tags)}{hash_sign}{fragment}"
