"""The pixel's query string as a hit. This is the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import unquote_plus

import msgspec

from attribution.errors import Rejected
from attribution.hit import Hit
from collector.fields import (
    MAX_LENGTH,
    NO_PROPS,
    Heard,
    build_hit,
    check_site,
    clean,
    clean_fields,
    normal_consent,
    too_long,
)
from collector.limits import MAX_KEYS, MAX_QUERY
from collector.reasons import Refusal

MAX_LENGTH_IN_QUERY = {name: limit for name, limit in MAX_LENGTH.items() if name not in ("user_agent", "ip")}
"""Fields that a pixel may name: browsers say the other two themselves."""
_CACHED_LENGTH = 512
_CACHED_PAIRS = 8192
_COMMON_ESCAPES = (
    ("%3A", ":"),
    ("%2F", "/"),
    ("%3F", "?"),
    ("%3D", "="),
    ("%26", "&"),
    ("%20", " "),
    ("%2C", ","),
    ("%7C", "|"),
)


def decode_value(text: str) -> str:
    """Undo form encoding and take control characters out. Bytes that are not UTF-8 become U+FFFD."""
    # Each "%" of encoded text begins an escape, so replacing whole escapes one kind after the other cannot meet in
    # the middle of another. If anything is left, "%25" above all, the text goes the general, ten times slower way.
    quick = text.replace("+", " ")
    for escape, character in _COMMON_ESCAPES:
        quick = quick.replace(escape, character)
    return clean(unquote_plus(text) if "%" in quick else quick)


def _decode_pair(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    name, text = (decode_value(name) if "%" in name else name), decode_value(value)
    return name, normal_consent(text) if name == "consent" else text


_decode_pair_cached = lru_cache(_CACHED_PAIRS)(_decode_pair)
"""Page addresses and referrers come again and again. Short texts only: at most some megabytes."""


def parse_query(query: str) -> tuple[dict[str, str], msgspec.Raw]:
    """Contract fields and ``props`` of a query string, cleaned; other parameters (cache busters) are not kept.

    A parameter that comes twice counts as its last value. Raises ``Rejected`` (``too_long``, ``too_many_keys``).
    """
    if len(query) > MAX_QUERY:
        raise Rejected(Refusal.too_long, f"Send at most {MAX_QUERY} characters.", "query")
    if not query.isascii():  # a request line holds no control characters, but may hold others
        query = clean(query)
    fields: dict[str, str] = {}
    props: dict[str, str] = {}
    limit_of = MAX_LENGTH_IN_QUERY.get
    for pair in query.split("&"):
        if "%" in pair or "+" in pair:
            is_short = len(pair) <= _CACHED_LENGTH
            name, value = _decode_pair_cached(pair) if is_short else _decode_pair(pair)
        else:
            name, _, value = pair.partition("=")
        limit = limit_of(name)
        if limit is not None:
            if len(value) > limit:
                raise too_long(name)
            fields[name] = value
        elif name.startswith("props.") and len(name) > len("props."):
            props[name[6:]] = value
            if len(props) > MAX_KEYS:
                raise Rejected(Refusal.too_many_keys, f"Send at most {MAX_KEYS} properties.", "props")
    return fields, msgspec.Raw(msgspec.json.encode(props)) if props else NO_PROPS


def hit_of_query(
    query: str, headers: Mapping[str, str], heard: Heard, sites: frozenset[str], default_currency: str
) -> Hit:
    """The hit of a pixel request. Without ``url`` the page is the ``Referer`` header. Raises ``Rejected``."""
    fields, props = parse_query(query)
    check_site(fields.get("site", ""), sites)
    if not fields.get("url"):
        referer = headers.get("referer")
        if referer and referer.startswith("http"):
            fields["url"] = referer
            clean_fields(fields)
    return build_hit(fields, heard, default_currency, props)
