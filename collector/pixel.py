"""The pixel's query string as a hit. This is the hot path: plain string methods, no regular expressions."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

import msgspec

from attribution.errors import Rejected
from attribution.hit import Hit
from collector.fields import MAX_LENGTH, NO_PROPS, Heard, build_hit, check_site, clean
from collector.limits import MAX_KEYS, MAX_QUERY
from collector.reasons import Refusal

_FIELDS = frozenset(MAX_LENGTH) - {"user_agent", "ip"}
_COMMON_ESCAPES = (
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%3D", "="),
    ("%26", "&"),
    ("%20", " "),
    ("%2C", ","),
)


def decode_value(text: str) -> str:
    """Undo form encoding. Bytes that are not UTF-8 become U+FFFD."""
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    # Each "%" of encoded text begins an escape, so replacing whole escapes one kind after the other cannot
    # meet in the middle of another; what is left goes the general (ten times slower) way, where "%25" is undone
    # last by never mixing both ways in one text.
    quick = text
    for escape, character in _COMMON_ESCAPES:
        quick = quick.replace(escape, character)
    if "%" not in quick:
        return quick
    return unquote_plus(text)


def parse_query(query: str) -> tuple[dict[str, str], msgspec.Raw]:
    """Contract fields and ``props`` of a query string; other parameters (cache busters) are not kept.

    A parameter that comes twice counts as its last value. Raises ``Rejected`` (``too_long``, ``too_many_keys``).
    """
    if len(query) > MAX_QUERY:
        raise Rejected(Refusal.too_long, f"Send at most {MAX_QUERY} characters.", "query")
    fields: dict[str, str] = {}
    props: dict[str, str] | None = None
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name not in _FIELDS:
            if "%" in name:
                name = unquote_plus(name)
            if name.startswith("props.") and len(name) > 6:
                if props is None:
                    props = {}
                elif len(props) >= MAX_KEYS:
                    raise Rejected(Refusal.too_many_keys, f"Send at most {MAX_KEYS} properties.", "props")
                props[clean(name[6:])] = clean(decode_value(value))
                continue
            if name not in _FIELDS:
                continue
        if value:
            fields[name] = decode_value(value) if "%" in value or "+" in value else value
    return fields, NO_PROPS if props is None else msgspec.Raw(msgspec.json.encode(props))


def hit_of_query(query: str, headers: Any, heard: Heard, sites: frozenset[str], default_currency: str) -> Hit:
    """The hit of a pixel request. Without ``url`` the page is the ``Referer`` header. Raises ``Rejected``."""
    fields, props = parse_query(query)
    check_site(fields.get("site", ""), sites)
    if "url" not in fields:
        referer = headers.get("referer")
        if referer and referer.startswith("http"):
            fields["url"] = referer
    return build_hit(fields, heard, default_currency, props)
