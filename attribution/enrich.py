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
from attribution.channel_rules import ArrivalRules, classify_arrival
from attribution.hit import Hit
from attribution.scenes import scene_of
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
    is_view: bool = False
    """Whether it is a view of an advertisement that counts as a touchpoint. Never in a session."""
    scene: int = 0
    """Device and country (``attribution.scenes``)."""


def enrich(hit: Hit, rules: ArrivalRules | None = None) -> Enriched:
    """Judge one hit, by the installation's own ``rules`` if it has any. Never raises, whatever its texts."""
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
    acquisition = None if is_inside else _acquire(page, query, referrer_location, rules)
    is_page_view = hit.event == PAGE_VIEW
    is_view = rules is not None and acquisition is not None and hit.event in rules.view_events
    agent = parse_user_agent(hit.user_agent)
    return Enriched(
        page.path,
        page.host,
        acquisition,
        agent,
        not is_view and (is_page_view or (hit.event not in OUT_OF_SESSION_EVENTS and bool(url or referrer))),
        origin.host,
        is_page_view,
        is_view,
        scene_of(agent.device, hit.country),
    )


def _acquire(
    page: ParsedUrl, query: str, referrer_location: str, rules: ArrivalRules | None
) -> Acquisition | None:
    host = page.host
    path = page.path if rules is not None and rules.looks_at_pages else ""
    if len(query) + len(referrer_location) + len(path) > _MAX_CACHED:
        return _acquire_by(host, path, query, referrer_location, rules)
    # No two clicks have the same id, so an address with one would never be found in the cache. What is kept of the
    # id is its text and nothing else: work the address out with a stand-in, and put the text back.
    click = _CLICK_ID.search("&" + query) if query else None
    if click is None or _STAND_IN in query:
        return _cached_acquire(host, path, query, referrer_location, rules)
    first, end = click.span(1)
    without = f"{query[: first - 1]}{_STAND_IN}{query[end - 1 :]}"
    found = _cached_acquire(host, path, without, referrer_location, rules)
    if found is None or found.click_id != _STAND_IN:
        return found
    return with_click_id(found, found.click_id_param, click[1])


@lru_cache(maxsize=_CACHE_SIZE)
def _cached_location(location: str) -> ParsedUrl:
    return parse_location(location)


def _acquire_by(
    host: str, path: str, query: str, referrer_location: str, rules: ArrivalRules | None
) -> Acquisition | None:
    page = ParsedUrl(host=host, query=parse_query(query))
    if rules is None:
        return acquire(page, referrer_location)
    acquisition = acquire(page, referrer_location, rules.ignored_referrers)
    if acquisition is None and (not host or parse_location(referrer_location).host):
        return None  # a step within the site, or no page at all: nobody arrives
    return classify_arrival(acquisition, path, rules)


_cached_acquire = lru_cache(maxsize=_CACHE_SIZE)(_acquire_by)
