"""Addresses as they come in from the wild: parsing that never fails, hosts compared by whole labels."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_plus

import msgspec

from attribution.tables import read_rows

MAX_URL = 8192
"""Characters of an address that are looked at."""
MAX_PATH = 1024
"""Characters of a path that are kept."""
_MAX_HOST = 253

# Control characters, lone surrogates (not encodable) and the marks that turn the direction of text around.
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.IGNORECASE | re.ASCII)
_HOST = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]", re.ASCII)
_IPV4 = re.compile(r"[0-9]+(\.[0-9]+){3}", re.ASCII)

_suffix_rows = read_rows("suffixes.tsv")
_SECOND_LEVELS = frozenset(text for kind, text in _suffix_rows if kind == "second_level")
_SHARED_SUFFIXES = frozenset(text for kind, text in _suffix_rows if kind == "suffix")


class ParsedUrl(msgspec.Struct, frozen=True):
    """The parts of an address that decide something. Every part may be empty."""

    scheme: str = ""
    """Lower case, without the colon."""
    host: str = ""
    """Lower case (IDNA form), without port, user and final dot. "" when it is no host name."""
    path: str = ""
    """As written (percent signs kept), with a leading "/"; "" when there is neither host nor path."""
    query: dict[str, str] = {}
    """First value of each parameter; names in lower case, both decoded."""


def clean_text(text: str) -> str:
    """``text`` without control characters, lone surrogates and direction marks, and without outer blanks."""
    return _UNWANTED.sub("", text).strip()


def parse_url(url: str) -> ParsedUrl:
    """Parse an absolute (``https://…``, ``//…``) or relative address. Never raises, whatever the text."""
    location, query = split_url(url)
    page = parse_location(location)
    return ParsedUrl(page.scheme, page.host, page.path, parse_query(query)) if query else page


def split_url(url: str) -> tuple[str, str]:
    """The raw location (all before "?" and "#") and the raw query of an address."""
    location, _, query = url[:MAX_URL].partition("?")
    if "#" in location:
        return location.partition("#")[0], ""
    return location, query.partition("#")[0] if "#" in query else query


def parse_location(location: str) -> ParsedUrl:
    """An address without query and fragment. Never raises, whatever the text."""
    text = clean_text(location)
    scheme = ""
    match = _SCHEME.match(text)
    if match:
        scheme, text = match[1].lower(), text[match.end() :]
        if text[:1] not in ("/", "\\"):
            return ParsedUrl(scheme)  # mailto:, javascript:, about: … lead to no page
    text = text.replace("\\", "/")  # as browsers do: https://evil.example\@shop.example is evil.example
    host = ""
    if text.startswith("//"):
        authority, slash, rest = text[2:].partition("/")
        host, text = _parse_host(authority), slash + rest or "/"
    if text and not text.startswith("/"):
        text = "/" + text
    return ParsedUrl(scheme, host, text[:MAX_PATH])


def parse_query(query: str) -> dict[str, str]:
    """First value of each parameter of a raw query string (no "?"). Names in lower case. Never raises."""
    found: dict[str, str] = {}
    if not query:
        return found
    for pair in query[:MAX_URL].split("&"):
        name, _, value = pair.partition("=")
        name = _decode(name).lower()
        # "&amp;" in links that were escaped twice (mail programs do this) would hide utm_medium and the rest.
        name = name.removeprefix("amp;")
        if name and name not in found:
            found[name] = _decode(value)
    return found


def host_labels_match(host: str, domain: str) -> bool:
    """Whether ``host`` is ``domain`` or below it: ``walmart.com`` is not below ``t.co``."""
    return host == domain or (bool(domain) and host.endswith("." + domain))


@lru_cache(maxsize=8192)
def registrable_domain(host: str) -> str:
    """The part of ``host`` that one owner registers: ``shop.example.co.uk`` gives ``example.co.uk``.

    A rule of thumb over ``tables/suffixes.tsv``, not the whole public suffix list. An address (IPv4, IPv6) or a
    single label is its own domain.
    """
    if "." not in host or host.startswith("[") or _IPV4.fullmatch(host):
        return host
    labels = host.split(".")
    if labels[0] == "www" and len(labels) > 2:
        del labels[0]
    if len(labels) < 3:
        return ".".join(labels)
    last_two = ".".join(labels[-2:])
    is_long_suffix = last_two in _SHARED_SUFFIXES or (len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVELS)
    return ".".join(labels[-3:]) if is_long_suffix else last_two


def is_same_site(host: str, other: str) -> bool:
    """Whether two hosts belong to one owner, as far as their names tell."""
    return (
        bool(host)
        and bool(other)
        and (host == other or registrable_domain(host) == registrable_domain(other))
    )


def _parse_host(authority: str) -> str:
    host = authority.rpartition("@")[2].lower()
    is_ipv6 = host.startswith("[")
    host = host.partition("]")[0] + "]" if is_ipv6 else host.partition(":")[0].rstrip(".")
    if len(host) > _MAX_HOST:
        return ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii").rstrip(".")
        except UnicodeError:
            return ""
    return host if _HOST.fullmatch(host) and ".." not in host and not host.startswith(".") else ""


def _decode(text: str) -> str:
    if "%" in text or "+" in text:
        text = unquote_plus(text)
    return clean_text(text)
