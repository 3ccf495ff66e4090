"""The contract's fields, checked, as a ``Hit``. The pixel and the JSON endpoints both end here.

Text is attacker's text: control characters are taken out, lengths are limited, and nothing is escaped; whoever
shows it must escape it for its place.
"""

from __future__ import annotations

import re

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


def clean(text: str) -> str:
    """``text`` without control characters and line separators."""
    return text if text.isprintable() else _CONTROL.sub("", text)


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
    """A ``Hit`` of ``fields`` (names of ``MAX_LENGTH``, cleaned). Raises ``Rejected`` naming the field.

    The caller has checked the site.
    """
    get = fields.get
    url, referrer = get("url", ""), get("referrer", "")
    if url:
        if not url.startswith(_ORDINARY):
            _check_url(url)
        url = redact_personal_ids(url)
    if referrer:
        # Trackers send "null", "$direct" and the like: that says nothing, and must not cost the hit (or its money).
        is_address = referrer.startswith(_ORDINARY) or _SCHEME.match(referrer) is not None
        referrer = redact_personal_ids(referrer) if is_address else ""
    occurred_at, clock_skew_ms, time_flag = heard.received_at, 0, "received"
    if "occurred_at" in fields or "sent_at" in fields:
        occurred_at, clock_skew_ms, time_flag = place_in_time(
            heard.received_at, get("occurred_at", ""), get("sent_at", "")
        )
    currency = get("currency", "")
    value = get("value") or None
    if value is not None:
        currency = currency_of(currency or default_currency).code
        value = format_amount(parse_amount(value, currency), currency)
    elif currency:
        currency = currency_of(currency).code
    email_sha256 = get("email_sha256", "")
    if email_sha256:
        email_sha256 = email_sha256.lower()
        if not _SHA256.fullmatch(email_sha256):
            raise Rejected(
                Refusal.bad_email_hash,
                "Send the SHA-256 of the trimmed, lower-case address in hex.",
                "email_sha256",
            )
    return Hit(
        event_id=get("event_id") or new_event_id(heard.received_at),
        site=fields["site"],
        visitor_id=get("visitor_id") or heard.visitor_id,
        occurred_at=occurred_at,
        received_at=heard.received_at,
        event=get("event") or "page_view",
        clock_skew_ms=clock_skew_ms,
        time_flag=time_flag,
        url=url,
        referrer=referrer,
        title=get("title", ""),
        user_id=get("user_id", ""),
        email_sha256=email_sha256,
        value=value,
        currency=currency,
        order_id=get("order_id", ""),
        consent=get("consent", ""),
        gpc=heard.gpc,
        dnt=heard.dnt,
        user_agent=get("user_agent") or heard.user_agent,
        ip=get("ip") or heard.ip,
        props=props,
    )


def _check_url(text: str) -> None:
    """Only ``scheme://…`` and paths: keeps ``javascript:`` and markup out of what people will click on."""
    if not _SCHEME.match(text):
        raise Rejected(Refusal.bad_url, "Send an absolute URL, or a path that begins with a slash.", "url")
