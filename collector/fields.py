"""The contract's fields, checked, as a ``Hit``. The pixel and the JSON endpoints both end here.

Text is attacker's text: control characters are taken out, lengths are limited, and nothing is escaped; whoever
shows it must escape it for its place.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw

from attribution.acquisition import redact_personal_ids
from attribution.errors import Rejected
from attribution.hit import Hit
from attribution.money import currency_of, format_amount, parse_amount
from collector.identifiers import new_event_id
from collector.instants import place_in_time
from collector.reasons import Refusal

MAX_LENGTH = {
    "site": 128,
    "event": 128,
    "event_id": 128,
    "visitor_id": 256,
    "user_id": 256,
    "email_sha256": 64,
    "url": 8192,
    "referrer": 8192,
    "title": 2048,
    "occurred_at": 64,
    "sent_at": 64,
    "value": 64,
    "currency": 16,
    "order_id": 256,
    "consent": 256,
    "user_agent": 2048,
    "ip": 64,
}
"""Fields that a hit may have, and how many characters each may hold."""

NO_PROPS = Hit(event_id="", site="", visitor_id="", occurred_at=0, received_at=0).props
"""The default itself, so that it is left out of the wire form."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CACHED_LENGTH = 512
_CACHED_ADDRESSES = 8192
_ORDINARY = ("https://", "http://", "/")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)


class Heard(msgspec.Struct, frozen=True, gc=False):
    """What a request says besides its fields."""

    received_at: int
    """Epoch milliseconds."""
    user_agent: str
    ip: str
    """Already truncated."""
    gpc: bool
    dnt: bool
    visitor_id: str
    """For a hit that names none."""
    country: str = ""
    """ISO 3166-1 alpha-2, where it is known."""


def clean(text: str) -> str:
    """``text`` without control characters and line separators."""
    return text if text.isprintable() else _CONTROL.sub("", text)


def normal_consent(text: str) -> str:
    """Granted purposes, comma separated, without blanks around them."""
    return ",".join(purpose.strip() for purpose in text.split(","))


def clean_fields(fields: dict[str, str]) -> None:
    """Take control characters out of all ``fields``. Raises ``Rejected('too_long')`` naming the field."""
    for name, text in fields.items():
        fields[name] = clean(text)
        if len(text) > MAX_LENGTH[name]:
            raise too_long(name)


def too_long(name: str) -> Rejected:
    """The refusal of a field that is longer than its limit."""
    return Rejected(Refusal.too_long, f"Send at most {MAX_LENGTH[name]} characters.", name)


def check_site(site: str, sites: frozenset[str]) -> None:
    """Raise ``Rejected('unknown_site')`` unless ``site`` is one of ``sites``."""
    if site not in sites:
        raise Rejected(Refusal.unknown_site, "Send the write key of a site as `site`.", "site")


def build_hit(fields: dict[str, str], heard: Heard, default_currency: str, props: Raw = NO_PROPS) -> Hit:
    """A ``Hit`` of ``fields`` (names of ``MAX_LENGTH``, cleaned), which it takes over. Raises ``Rejected``.

    The caller has checked the site.
    """
    # Filled like a form and handed over whole: naming every field to the constructor costs twice as much.
    values: dict[str, Any] = fields
    get = fields.get
    if url := get("url"):
        fields["url"] = _kept_url_cached(url) if len(url) <= _CACHED_LENGTH else _kept_url(url)
    if referrer := get("referrer"):
        cached = len(referrer) <= _CACHED_LENGTH
        fields["referrer"] = _kept_referrer_cached(referrer) if cached else _kept_referrer(referrer)
    values["received_at"] = heard.received_at
    if "occurred_at" in fields or "sent_at" in fields:
        values["occurred_at"], values["clock_skew_ms"], values["time_flag"] = place_in_time(
            heard.received_at, fields.pop("occurred_at", ""), fields.pop("sent_at", "")
        )
    else:
        values["occurred_at"] = heard.received_at
        values["time_flag"] = "received"
    if "value" in fields or "currency" in fields:
        _check_money(values, default_currency)
    if email_sha256 := get("email_sha256"):
        fields["email_sha256"] = _checked_hash(email_sha256)
    if not get("event_id"):
        fields["event_id"] = new_event_id(heard.received_at)
    if not get("visitor_id"):
        fields["visitor_id"] = heard.visitor_id
    if not get("event", "page_view"):
        del fields["event"]
    if not get("user_agent"):
        fields["user_agent"] = heard.user_agent
    if not get("ip"):
        fields["ip"] = heard.ip
    if heard.country:
        values["country"] = heard.country
    if heard.gpc:
        values["gpc"] = True
    if heard.dnt:
        values["dnt"] = True
    if props is not NO_PROPS:
        values["props"] = props
    return Hit(**values)


def _kept_url(text: str) -> str:
    """What is kept of a page's address. Only ``scheme://…`` and paths may be one: keeps ``javascript:`` and markup
    out of what people will click on."""
    if not text.startswith(_ORDINARY) and not _SCHEME.match(text):
        raise Rejected(Refusal.bad_url, "Send an absolute URL, or a path that begins with a slash.", "url")
    return redact_personal_ids(text)


def _kept_referrer(text: str) -> str:
    """Trackers send "null", "$direct" and the like: that says nothing, and must not cost the hit (or its money)."""
    is_address = text.startswith(_ORDINARY) or _SCHEME.match(text) is not None
    return redact_personal_ids(text) if is_address else ""


_kept_url_cached = lru_cache(_CACHED_ADDRESSES)(_kept_url)
_kept_referrer_cached = lru_cache(_CACHED_ADDRESSES)(_kept_referrer)
"""Addresses come again and again. Short ones only: at most some megabytes."""


def _check_money(values: dict[str, Any], default_currency: str) -> None:
    """Value and currency in their normal form. Raises ``Rejected``."""
    value, currency = values.pop("value", ""), values.get("currency", "")
    if value:
        currency = values["currency"] = currency_of(currency or default_currency).code
        values["value"] = format_amount(parse_amount(value, currency), currency)
    elif currency:
        values["currency"] = currency_of(currency).code


def _checked_hash(text: str) -> str:
    lower = text.lower()
    if not _SHA256.fullmatch(lower):
        raise Rejected(
            Refusal.bad_email_hash,
            "Send the SHA-256 of the trimmed, lower-case address in hex.",
            "email_sha256",
        )
    return lower
