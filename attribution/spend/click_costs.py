"""What a click cost, as the landing page's address tells it: networks and trackers fill a macro with the price.

A hit tells a cost, or the reason for which what it says is not counted. Clicks sum up to live figures of a
campaign's day, which count until a report tells that day (``merging.counted``).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import msgspec

from attribution.acquisition import MAX_FIELD, OWN_CLICK_ID
from attribution.enrich import Enriched
from attribution.errors import Rejected
from attribution.hit import Hit
from attribution.money import currency_of
from attribution.spend.cells import EARLIEST, is_empty, parse_millionths, parse_network
from attribution.spend.fact import MICROS, Level, SpendFact
from attribution.spend.labels import network_of_source
from attribution.urls import clean_text, parse_query, split_url

PARAMETER = "hw_cost"
CURRENCY_PARAMETER = "hw_currency"
MAX_CLICK_MICROS = 1_000_000 * MICROS
"""Of one click. Who knows the address of a page can write what he likes behind it."""
DOUBLES_WITHIN_DAYS = 30
"""A click id that comes again so many days after its click, or earlier, is the same click."""
_UNFILLED = frozenset("{}[]<>%$#_")
"""Macros that nobody has replaced: ``{cost}``, ``[BID]``, ``%COST%``, ``${CPC}``, ``__PRICE__``."""
_CAMPAIGN_IDS = ("utm_id", "gad_campaignid")
_LAST_YEAR = 2099


class ClickCostRules(msgspec.Struct, frozen=True):
    """How an installation hears what clicks cost."""

    parameter: str = PARAMETER
    """Query parameter with the amount; "" = none is read."""
    currency: str = ""
    """ISO 4217, of amounts without ``hw_currency``; "" = the installation's own."""


class ClickCost(NamedTuple):
    """What one hit says that its click cost."""

    ad_network: str
    click: str
    """Names the click: hits with the same one within ``DOUBLES_WITHIN_DAYS`` are one click. Hex digits."""
    day: date
    """Of UTC: an account's zone stands in no address."""
    campaign_id: str
    campaign: str
    currency: str
    micros: int
    reason: str
    """Why it does not count; "" = it does."""


class LiveFigure(NamedTuple):
    """What the clicks of one campaign and currency come to on one day of a site's network."""

    campaign_id: str
    campaign: str
    currency: str
    micros: int
    clicks: int
    heard_at: int
    """When the collector heard the last of these clicks, epoch ms."""


def click_cost(
    hit: Hit, enriched: Enriched, rules: ClickCostRules, default_currency: str
) -> ClickCost | None:
    """What ``hit`` tells of its click; None if it is none or its address names no cost. Never raises."""
    # This runs for every hit: an address without the name is not taken apart.
    if not rules.parameter or rules.parameter not in hit.url or not enriched.in_session:
        return None
    query = parse_query(split_url(hit.url)[1])
    said = query.get(rules.parameter)
    if said is None:
        return None
    moment = datetime.fromtimestamp(hit.occurred_at / 1000, UTC)
    campaign_id = next((text for name in _CAMPAIGN_IDS if (text := _text(query.get(name, "")))), "")
    network, micros, currency, reason = "", 0, "", ""
    try:
        network = _network(enriched)
        micros = _micros(said)
        currency = _currency(query.get(CURRENCY_PARAMETER, ""), rules.currency or default_currency)
        if moment.date() < EARLIEST or moment.year > _LAST_YEAR:
            raise Rejected("bad_day", "Days from 2000 to 2099 are believed.")
    except Rejected as rejected:
        reason = rejected.reason
    return ClickCost(
        network,
        _name_of(hit, enriched, query, moment.date()),
        moment.date(),
        campaign_id,
        _text(query.get("utm_campaign", "")),
        currency,
        micros,
        reason,
    )


def live_fact(ad_network: str, day: date, figure: LiveFigure) -> SpendFact:
    """The figure as a fact of spend."""
    heard_at = datetime.fromtimestamp(figure.heard_at / 1000, UTC)
    return SpendFact(
        day=day,
        ad_network=ad_network,
        level=Level.live,
        campaign_id=figure.campaign_id,
        campaign=figure.campaign,
        currency=figure.currency,
        cost=figure.micros,
        clicks=figure.clicks,
        time_zone="UTC",
        as_of=heard_at,
        imported_at=heard_at,
    )


def days_before(day: date) -> date:
    """From here on an earlier hit of a click of ``day`` makes it the click of another day."""
    return day - timedelta(days=DOUBLES_WITHIN_DAYS)


def days_after(day: date) -> date:
    """Until here a click of ``day`` takes the place of later hits."""
    return day + timedelta(days=DOUBLES_WITHIN_DAYS)


def _network(enriched: Enriched) -> str:
    way = enriched.acquisition
    if way is None:
        raise Rejected("no_network", "Name the network by utm_source, or let it add its click id.")
    try:
        return parse_network(way.ad_network or network_of_source(way.source))
    except Rejected as rejected:
        raise Rejected("no_network", rejected.message) from rejected


def _micros(said: str) -> int:
    text = said.strip()
    if is_empty(text):
        raise Rejected("no_amount", "The network told no price.")
    if not _UNFILLED.isdisjoint(text):
        raise Rejected("unfilled_macro", "Use the macro that this network replaces.")
    try:
        micros = int(parse_millionths(text))
    except Rejected as rejected:
        reason = "bad_amount" if rejected.reason == "bad_number" else rejected.reason
        raise Rejected(reason, rejected.message) from rejected
    if not 0 <= micros <= MAX_CLICK_MICROS:
        raise Rejected("out_of_range", "A click costs from 0 to a million.")
    return micros


def _currency(said: str, default: str) -> str:
    try:
        return currency_of(said.strip() or default).code
    except Rejected as rejected:
        raise Rejected("unknown_currency", rejected.message) from rejected


def _name_of(hit: Hit, enriched: Enriched, query: dict[str, str], day: date) -> str:
    """By the click id, else by visitor, address and day: then a page that is loaded again is no other click."""
    way = enriched.acquisition
    told: tuple[str, ...]
    if way is not None and way.click_id:
        told = ("id", way.click_id_param, way.click_id)
    elif given := query.get(OWN_CLICK_ID, "").strip():
        told = ("id", OWN_CLICK_ID, given)
    else:
        told = ("page", hit.visitor_id, hit.url, day.isoformat())
    return hashlib.blake2b(msgspec.json.encode(told), digest_size=16).hexdigest()


def _text(text: str) -> str:
    return clean_text(text)[:MAX_FIELD].rstrip()
