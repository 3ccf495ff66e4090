"""Spend and touches that did not meet: campaigns without a touch, paid touches without spend, shared names.

Joining itself is the stage's (``attribution/spend/labels.py``); this lists what it could not join, so that somebody can
mend tags, names or imports.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from api.numbers import rounded_money
from api.queries import load_sql
from api.requests import MAX_LIMIT, Name, Value
from api.selection import END_OF_TIME, all_of, parse_range
from attribution.spend.labels import TouchLabel
from attribution.spend.matching import CampaignSpend, LoneTouches, SharedName, match
from sinks.names import qualify

Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]


class MatchingRequest(BaseModel):
    """The parameters of ``GET /v1/spend/matching``."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )

    since: Annotated[Name | None, Field(alias="from")] = None
    """First day of spend and of touches, ``YYYY-MM-DD``."""
    until: Annotated[Name | None, Field(alias="to")] = None
    """Last day, included."""
    site: Annotated[list[Value], Field(max_length=200)] = []
    """Only of these sites."""
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    """Lines of each list, the greatest first."""


class LoneSpend(msgspec.Struct, frozen=True):
    """A campaign whose spend stands under what clicks of its network are, because no touch names it."""

    site: str
    ad_network: str
    campaign_id: str
    campaign: str
    currency: str
    spend: str
    clicks: int
    """As the network tells."""


class MatchingMeta(msgspec.Struct, frozen=True):
    """How to read it."""

    campaigns: int
    """Campaigns without a touch, by currency; those listed and those beyond the limit."""
    touch_labels: int
    """Labels of paid touches without spend."""
    shared_names: int
    elapsed_ms: float


class MatchingAnswer(msgspec.Struct, frozen=True):
    """What did not meet."""

    spend_without_touch: list[LoneSpend]
    touches_without_spend: list[LoneTouches]
    shared_names: list[SharedName]
    meta: MatchingMeta


def spend_matching(request: MatchingRequest, database: str, ask: Ask) -> MatchingAnswer:
    """The answer. Raises ``Rejected`` for a date, and what ``ask`` raises."""
    started = time.perf_counter()
    since, until = parse_range((request.since, request.until))
    days = {"from": _day(since), "to": _day(until), "sites": request.site}
    campaigns = load_sql(
        "spend_campaigns", spend=qualify(database, "spend"), within="day >= {from:Date} AND day < {to:Date}"
    )
    seconds = {"from": since, "to": until, "sites": request.site}
    touches = load_sql(
        "spend_touches",
        touchpoints=qualify(database, "touchpoints"),
        within=all_of(
            "toStartOfHour(touched_at) >= toDateTime({from:UInt32}, 'UTC')",
            "toStartOfHour(touched_at) < toDateTime({to:UInt32}, 'UTC')",
        ),
    )
    every = {"from": 0, "to": END_OF_TIME, "sites": request.site}
    known = [CampaignSpend(*row) for row in ask(campaigns, days)]
    found = match(
        known,
        [TouchLabel(*row) for row in ask(touches, seconds)],
        [TouchLabel(*row) for row in ask(touches, every)],
    )
    return MatchingAnswer(
        [
            LoneSpend(
                one.site,
                one.ad_network,
                one.campaign_id,
                one.campaign,
                one.currency,
                rounded_money(one.spend, one.currency),
                one.clicks,
            )
            for one in found.spend_without_touch[: request.limit]
        ],
        found.touches_without_spend[: request.limit],
        found.shared_names[: request.limit],
        MatchingMeta(
            len(found.spend_without_touch),
            len(found.touches_without_spend),
            len(found.shared_names),
            round((time.perf_counter() - started) * 1000, 1),
        ),
    )


def _day(seconds: int) -> str:
    """The day of an instant, no later than a ``Date`` holds."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()
