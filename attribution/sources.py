"""What a source is: search engine, social network, … by name or by host, from the table files."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import msgspec

from attribution.tables import read_rows


class SourceKind(StrEnum):
    """Kinds of sources. The first five decide channels; the others decide what a referrer means."""

    search = "search"
    social = "social"
    video = "video"
    shopping = "shopping"
    ai_assistant = "ai_assistant"
    webmail = "webmail"
    ad_server = "ad_server"
    ignored = "ignored"
    """Payment providers and login pages: they bring nobody."""
    plain = "plain"
    """Nothing special."""


class KnownSource(msgspec.Struct, frozen=True):
    """One row of the tables."""

    kind: SourceKind
    source: str = ""
    """Name that a referrer of it gets; "" = the host itself."""
    medium: str = ""
    """Medium that a referrer of it gets; "" = that of its kind."""


PLAIN = KnownSource(SourceKind.plain)

_FILES = {
    "search.tsv": SourceKind.search,
    "social.tsv": SourceKind.social,
    "video.tsv": SourceKind.video,
    "shopping.tsv": SourceKind.shopping,
    "ai_assistants.tsv": SourceKind.ai_assistant,
    "webmail.tsv": SourceKind.webmail,
    "ad_servers.tsv": SourceKind.ad_server,
    "ignored_referrers.tsv": SourceKind.ignored,
    "plain.tsv": SourceKind.plain,
}

_names: dict[str, KnownSource] = {}
_single_hosts: dict[str, KnownSource] = {}
_domains: dict[str, KnownSource] = {}


def _load() -> None:
    for file, kind in _FILES.items():
        for pattern, *rest in read_rows(file):
            # The second column of ignored_referrers.tsv says why; it is for the reader.
            columns = [] if kind is SourceKind.ignored else rest
            known = KnownSource(kind, *columns)
            if "." not in pattern:
                table, key = _names, pattern
            elif pattern.startswith("="):
                table, key = _single_hosts, pattern[1:]
            else:
                table, key = _domains, pattern
            if key in table:
                raise ValueError(f"{file}: {pattern} is listed twice")
            table[key] = known


_load()


@lru_cache(maxsize=8192)
def known_host(host: str) -> KnownSource:
    """What ``host`` (lower case) is. Whole labels only; the longest listed domain wins."""
    bare = host.removeprefix("www.")
    known = _single_hosts.get(bare) or _single_hosts.get(_country_free(bare))
    while known is None and bare:
        known = _domains.get(bare) or _domains.get(_country_free(bare))
        bare = bare.partition(".")[2]
    return known or PLAIN


def known_source(source: str) -> KnownSource:
    """What ``source`` (lower case; a bare name such as ``google`` or a host) is."""
    return _names.get(source) or (known_host(source) if "." in source else PLAIN)


def _country_free(host: str) -> str:
    """``host`` with its country suffix as "*": ``google.co.in`` and ``google.de`` give ``google.*``."""
    base, _, last = host.rpartition(".")
    if not base or not (last == "com" or len(last) == 2):
        return ""
    if len(last) == 2:
        shorter, _, second = base.rpartition(".")
        if shorter and second in ("co", "com"):
            base = shorter
    return base + ".*"
