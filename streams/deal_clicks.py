"""Conversions whose sender names a click: the visitor who landed with it is whom they are about.

Clicks are looked up in ClickHouse, where every hit is: nothing is kept for the many clicks that nobody ever names. A
click that has not come yet leaves an orphan, which is looked up again until it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from attribution.deals.told import Told
from attribution.policy import DAY_MS
from streams.deal_states import KeptTold
from streams.ownership import Ownership

ORPHAN_FOR_MS = 90 * DAY_MS
"""So long after it was told of a conversion is its click looked for."""
LOOK_SECONDS = 30.0
ORPHANS_AT_ONCE = 1_000


class Landing(NamedTuple):
    """Who landed with a click."""

    visitor_id: str
    received_at: int
    """When the collector heard of it, epoch ms."""


def lent(told: Mapping[str, Told], known: Mapping[str, KeptTold]) -> dict[str, Told]:
    """``told`` with the visitors that are known of the same clicks from before."""
    found = {}
    for conversion_id, one in told.items():
        last = known.get(conversion_id)
        is_lent = wants_visitor(one) and last is not None and last.clicks == one.clicks
        if is_lent and last is not None and last.fact.visitor_id:
            one = with_visitor(one, last.fact.visitor_id)
        found[conversion_id] = one
    return found


def wants_visitor(one: Told) -> bool:
    """Its sender names clicks and no visitor."""
    return bool(one.clicks) and not one.fact.visitor_id


def with_visitor(one: Told, visitor_id: str) -> Told:
    """``one`` about that visitor."""
    return one._replace(fact=msgspec.structs.replace(one.fact, visitor_id=visitor_id))


async def landings(own: Ownership, told: Mapping[str, Told]) -> dict[str, Landing]:
    """By conversion who landed with a click of it, as far as that is in ClickHouse; of several the least click."""
    clicks = sorted({click for one in told.values() for _, click in one.clicks})
    if not clicks:
        return {}
    landed: dict[tuple[str, str], list[tuple[str, Landing]]] = {}
    for site, param, click, visitor_id, received_at in sorted(await own.click_visitors(clicks)):
        landed.setdefault((site, click), []).append((param, Landing(visitor_id, received_at)))
    found: dict[str, Landing] = {}
    for conversion_id, one in told.items():
        for param, click in one.clicks:
            # A postback does not say by which parameter its click came.
            fitting = [to for its, to in landed.get((one.fact.site, click), ()) if param in ("", its)]
            if fitting:
                found[conversion_id] = fitting[0]
                break
    return found
