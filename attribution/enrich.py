"""What a hit says beyond its own words: page, way here, device, whether it belongs to a session.

A function of the hit alone. It runs for every hit, so the parts that repeat (addresses, arrivals, user agents) are
kept in bounded caches; they hold results only, never change them.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from attribution.acquisition import CLICK_IDS, MAX_FIELD, Acquisition, acquire, with_click_id
from attribution.agents import Agent, parse_user_agent
from attribution.hit import Hit
from attribution.urls import ParsedUrl, parse_location, parse_query, split_url

PAGE_VIEW = "page_view"
OUT_OF_SESSION_EVENTS = frozenset(("impression", "email_open", "identify", "alias", "group", "unlink"))
"""Events that happen to somebody who is not on the site (or say only who he is)."""

_CACHE_SIZE = 8192
_MAX_CACHED = (
    512  # longer addresses are worked out each time: nobody shall fill the caches' memory from outside
)
_STAND_IN = "a-click-id"
# Of a query with an "&" before it: a pattern that begins with a letter is found six times as fast as "(?:^|&)".
_CLICK_ID = re.compile(
    f"&(?!utm_)(?:{'|'.join(CLICK_IDS)})=([A-Za-z0-9_-]{{1,{MAX_FIELD}}})(?=&|$)", re.ASCII
)
"""The first click id whose text needs neither decoding nor cleaning."""


class Enriched(msgspec.Struct, frozen=True, gc=False):
    """What is known of one hit after reading it."""

    path: str
    """Path of the page with its leading "/", without query; "" if the hit names no page. The landing page."""
    host: str
    """Host of the page."""
    acquisition: Acquisition | None
    """The way here as far as this hit tells; None = it says nothing (Direct)."""
    agent: Agent
    in_session: bool
    """Whether it belongs to a session (docs/architecture.md, "In session")."""
    referrer_host: str
    is_page_view: bool


def enrich(hit: Hit) -> Enriched:
    """Judge one hit. Never raises, whatever its texts."""
    url, referrer = hit.url, hit.referrer
    # As split_url does, without a call for the common address: this runs twice for every hit.
    if "#" in url or len(url) > _MAX_CACHED:
        location, query = split_url(url)
    else:
        location, _, query = url.partition("?")
    if "#" in referrer or len(referrer) > _MAX_CACHED:
        referrer_location, _ = split_url(referrer)
    else:
        referrer_location = referrer.partition("?")[0] if "?" in referrer else referrer
    page = _cached_location(location) if len(location) <= _MAX_CACHED else parse_location(location)
    origin = (
        _cached_location(referrer_location)
        if len(referrer_location) <= _MAX_CACHED
        else parse_location(referrer_location)
    )
    # The commonest hit, a step within the site, needs no look at the rules; acquire() would say None as well.
    is_inside = not query and origin.host == page.host and origin.scheme in ("https", "http", "")
    is_page_view = hit.event == PAGE_VIEW
    return Enriched(
        page.path,
        page.host,
        None if is_inside else _acquire(page.host, query, referrer_location),
        parse_user_agent(hit.user_agent),
        is_page_view or (hit.event not in OUT_OF_SESSION_EVENTS and bool(url or referrer)),
        origin.host,
        is_page_view,
    )


def _acquire(host: str, query: str, referrer_location: str) -> Acquisition | None:
    if len(query) + len(referrer_location) > _MAX_CACHED:
        return acquire(ParsedUrl(host=host, query=parse_query(query)), referrer_location)
    # No two clicks have the same id, so an address with one would never be found in the cache. What is kept of the
    # id is its text and nothing else: work the address out with a stand-in, and put the text back.
    click = _CLICK_ID.search("&" + query) if query else None
    if click is None or _STAND_IN in query:
        return _cached_acquire(host, query, referrer_location)
    first, end = click.span(1)
    found = _cached_acquire(host, f"{query[: first - 1]}{_STAND_IN}{query[end - 1 :]}", referrer_location)
    if found is None or found.click_id != _STAND_IN:
        return found
    return with_click_id(found, found.click_id_param, click[1])


@lru_cache(maxsize=_CACHE_SIZE)
def _cached_location(location: str) -> ParsedUrl:
    return parse_location(location)


@lru_cache(maxsize=_CACHE_SIZE)
def _cached_acquire(host: str, query: str, referrer_location: str) -> Acquisition | None:
    return acquire(ParsedUrl(host=host, query=parse_query(query)), referrer_location)
