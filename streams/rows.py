"""Domain values as ClickHouse rows, in the column order of ``sinks.tables``.

Instants stay epoch milliseconds and hours epoch seconds: ClickHouse reads both into DateTime64(3) and DateTime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from attribution.acquisition import DIRECT, Acquisition
from attribution.conversions import ConversionFact
from attribution.drops import DropReason
from attribution.enrich import Enriched
from attribution.entries import Entry
from attribution.hit import NO_PROPS, Hit
from attribution.links import LinkChange
from attribution.money import format_amount
from attribution.scenes import scene_names
from attribution.spend.click_costs import ClickCost
from attribution.standing_path import StandingPath
from attribution.touchpoints import Session, Touchpoint
from sinks.tables import ACQUISITION, CLICK_COSTS_COLUMNS

Row = tuple[Any, ...]
"""Values in the order of the table's columns."""
WrittenRow = msgspec.Raw
"""The same as a JSON array that is already written out."""
UNASSIGNED = Acquisition("Unassigned", "(not set)", "(not set)")
"""A hit outside sessions that says nothing of where it came from, such as a purchase sent by a shop's server:
it did not come directly, it did not come at all."""
PPB_DIGITS = 9
_REASON = CLICK_COSTS_COLUMNS.index("reason")

_way_of: Callable[[Acquisition], tuple[str, ...]] = attrgetter(*ACQUISITION)
# The rows of hits, sessions and touchpoints name each attribute: that takes two thirds of the time of getters whose
# tuples are joined, and these are made for every hit.


def hit_row(hit: Hit, enriched: Enriched, broker: str, partition: int, offset: int) -> Row:
    """A row of ``hits``."""
    way = enriched.acquisition or (DIRECT if enriched.in_session else UNASSIGNED)
    agent = enriched.agent
    return (
        hit.site,
        hit.event_id,
        hit.visitor_id,
        hit.event,
        hit.occurred_at,
        hit.received_at,
        hit.clock_skew_ms,
        hit.time_flag,
        1 if enriched.in_session else 0,
        hit.url,
        enriched.path,
        hit.referrer,
        enriched.referrer_host,
        hit.title,
        way.channel,
        way.source,
        way.medium,
        way.campaign,
        way.term,
        way.content,
        way.ad_network,
        way.click_id_param,
        way.click_id,
        hit.user_id,
        hit.email_sha256,
        hit.value,
        hit.currency,
        hit.order_id,
        hit.consent,
        1 if hit.gpc else 0,
        1 if hit.dnt else 0,
        agent.device,
        agent.browser,
        agent.os,
        hit.user_agent,
        hit.ip,
        scene_names(enriched.scene)[1],
        "{}" if hit.props is NO_PROPS else str(hit.props, "utf-8"),
        broker,
        partition,
        offset,
    )


def write_row(row: Row) -> WrittenRow:
    """``row`` written out."""
    return msgspec.Raw(_encode(row))


_encode = msgspec.json.Encoder().encode


def session_row(session: Session, sign: int, broker: str, partition: int, offset: int) -> Row:
    """A signed row of ``sessions``; ``offset`` is the batch's first."""
    way = session.acquisition
    return (
        session.site,
        session.session_id,
        session.visitor_id,
        session.started_at,
        session.ended_at,
        way.channel,
        way.source,
        way.medium,
        way.campaign,
        way.term,
        way.content,
        way.ad_network,
        session.landing_page,
        session.referrer_host,
        *scene_names(session.scene),
        session.hits,
        session.page_views,
        session.hours,
        session.hour_hits,
        session.hour_page_views,
        sign,
        broker,
        partition,
        offset,
    )


def touchpoint_row(touchpoint: Touchpoint, sign: int, broker: str, partition: int, offset: int) -> Row:
    """A signed row of ``touchpoints``; ``offset`` is the batch's first."""
    way = touchpoint.acquisition
    return (
        touchpoint.site,
        touchpoint.touchpoint_id,
        touchpoint.visitor_id,
        touchpoint.touched_at,
        way.channel,
        way.source,
        way.medium,
        way.campaign,
        way.term,
        way.content,
        way.ad_network,
        touchpoint.landing_page,
        # Not ``kind``: enumerations are slow to ask, and this is asked for every touchpoint.
        "view" if touchpoint.is_view else "click" if way.is_click else "visit",
        *scene_names(touchpoint.scene),
        sign,
        broker,
        partition,
        offset,
    )


def link_row(
    visitor: tuple[str, str],
    link: LinkChange,
    event_id: str,
    recorded_at: int,
    broker: str,
    partition: int,
    offset: int,
) -> Row:
    """A signed row of ``identity_links``; ``visitor`` is (site, visitor_id), ``offset`` the batch's first."""
    fact = link.fact
    sign = 1 if fact.is_held else -1
    return (*visitor, link.id, event_id, fact.said_at, sign, recorded_at, broker, partition, offset)


def conversion_row(fact: ConversionFact, sign: int, cause: str, recorded_at: int) -> Row:
    """A signed row of ``conversions``. Its value is what the conversion is worth now."""
    return (
        fact.site,
        fact.conversion_id,
        fact.type,
        fact.order_id,
        fact.visitor_id,
        fact.event_id,
        fact.occurred_at,
        format_amount(fact.net_minor, fact.currency),
        fact.currency,
        sign,
        cause,
        recorded_at,
        fact.ids,
    )


def dropped_conversion_row(
    fact: ConversionFact, reason: DropReason, broker: str, partition: int, offset: int
) -> Row:
    """A row of ``dropped_conversions``; ``offset`` is the hit's own."""
    value = None if fact.value_minor is None else format_amount(fact.value_minor, fact.currency)
    return (
        fact.site,
        fact.conversion_id,
        fact.type,
        fact.event_id,
        fact.occurred_at,
        value,
        fact.currency,
        reason.value,
        fact.received_at,
        broker,
        partition,
        offset,
    )


def click_cost_row(
    hit: Hit, cost: ClickCost, dropped: DropReason | None, broker: str, partition: int, offset: int
) -> Row:
    """A row of ``click_costs``; ``offset`` is the hit's own. ``dropped``: why the hit itself was, if it was."""
    micros = f"{cost.micros:07d}"
    return (
        hit.site,
        cost.ad_network,
        cost.day.isoformat(),
        cost.click,
        cost.campaign_id,
        cost.campaign,
        cost.currency,
        f"{micros[:-6]}.{micros[-6:]}",
        dropped.value if dropped is not None else cost.reason,
        hit.event_id,
        hit.occurred_at,
        hit.received_at,
        broker,
        partition,
        offset,
    )


def with_reason(cost: Row, dropped: DropReason) -> Row:
    """A row of ``click_costs`` whose hit turned out to be dropped."""
    return (*cost[:_REASON], dropped.value, *cost[_REASON + 1 :])


def path_row(site: str, conversion_id: str, path: StandingPath, sign: int, recorded_at: int) -> Row:
    """A signed row of ``paths``."""
    return (
        site,
        conversion_id,
        path.conversion_type,
        path.converted_at,
        path.currency,
        format_amount(path.value_minor, path.currency),
        path.channels,
        path.first_touch_at,
        path.last_touch_at,
        sign,
        recorded_at,
    )


def credit_rows(
    site: str, conversion_id: str, entries: Sequence[Entry], cause: str, policy_version: str, recorded_at: int
) -> list[Row]:
    """Signed rows of ``credits``, one for each of ``entries``, which are about one conversion.

    ``cause``: of those that do not follow from a booking.
    """
    ways: dict[int, tuple[str, ...]] = {}
    rows: list[Row] = []
    for entry in entries:
        terms, touch = entry.terms, entry.touch
        # Every model credits the same few touches, and the entries keep them: no other takes the id of one.
        way = ways.get(id(touch))
        if way is None:
            way = ways[id(touch)] = (*_way_of(touch.acquisition), touch.landing_page)
        currency = terms.currency
        rows.append(
            (
                site,
                entry.model,
                conversion_id,
                touch.touchpoint_id,
                terms.conversion_type,
                terms.visitor_id,
                *way,
                format_ppb(entry.weight_ppb),
                format_amount(entry.amount_minor, currency),
                format_amount(entry.conversion_value_minor, currency),
                currency,
                entry.cause or cause,
                policy_version,
                touch.touched_at,
                terms.converted_at,
                recorded_at,
                entry.booked_at,
            )
        )
    return rows


@lru_cache(maxsize=8192)
def format_ppb(billionths: int) -> str:
    """A weight as decimal text with nine digits: 250000000 is ``0.250000000``."""
    sign = "-" if billionths < 0 else ""
    whole, rest = divmod(abs(billionths), 10**PPB_DIGITS)
    return f"{sign}{whole}.{rest:0{PPB_DIGITS}d}"
