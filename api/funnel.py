"""The funnel: how many of the people who entered it reach each stage, how long that takes, and what each costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Literal

import msgspec
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from api.funnel_reading import Cohort
from api.numbers import money_each, plain_number, ratio
from api.requests import MAX_LIMIT, Filter, Name, QueryRequest, Value
from api.selection import END_OF_TIME, parse_range
from attribution.bulk.reached import StageCount, count_stages
from attribution.errors import Rejected
from attribution.funnel import Funnel

_MS = Decimal("0.001")
_FIELDS = {"date_range.0": "from", "date_range.1": "to", "date_range": "from, to", "filters.1.2": "channel"}
"""What the fields of a question about spend are called here."""
Values = Annotated[list[Value], Field(max_length=200)]


class FunnelRequest(BaseModel):
    """The parameters of ``GET /v1/funnel``. ``docs/funnel.md`` explains the answer."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )

    since: Annotated[Name | None, Field(alias="from")] = None
    """First day on which people entered, ``YYYY-MM-DD``, UTC; what they reached later counts."""
    until: Annotated[Name | None, Field(alias="to")] = None
    """Last day, included."""
    site: Values = []
    """Only of these sites."""
    channel: Values = []
    """Only people whom these channels brought."""
    by: Literal["channel"] | None = None
    """Also for each channel."""
    order: Literal["any", "strict"] = "any"
    """``strict``: a stage counts only for whoever reached all stages before, each no later than the next."""
    currency: Name | None = None
    """ISO 4217 of what stages cost; none: the installation's."""
    convert: bool = True
    """Spend in other currencies is converted at the rate of its own day; ``false``: it is left out."""

    @property
    def is_by_channel(self) -> bool:
        """Whether channels have to be known."""
        return self.by is not None or bool(self.channel)


class StageLine(msgspec.Struct, frozen=True):
    """A stage and the people who reached it."""

    stage: str
    persons: int
    """Who reached it. Each counts once."""
    share_of_first: Decimal | None
    """How many of the people of the first stage reached this one; ``None`` if nobody is there."""
    share_of_previous: Decimal | None
    """How many of the people of the stage before reached this one; ``None`` if nobody is there, and of the first."""
    from_previous: int
    """Of ``persons``: who reached the stage before, too."""
    skipped_previous: int
    """Of ``persons``: who never reached the stage before. 0 of the first stage."""
    before_previous: int
    """Of ``persons``: who reached the stage before, but later than this one."""
    lost: int
    """Of ``persons``: whose deals here are all lost by now."""
    median_seconds: Decimal | None
    """From the stage before, of those who reached this one after it."""
    median_seconds_from_first: Decimal | None
    """From the first stage, likewise."""
    cost_per_person: str | None
    """Spend of the time, for each of ``persons``; ``None`` if there are none."""


class ChannelFunnel(msgspec.Struct, frozen=True):
    """The people whom one channel brought, and what it cost."""

    channel: str
    persons: int
    spend: str
    stages: list[StageLine]


class FunnelTotals(msgspec.Struct, frozen=True):
    """All of them."""

    persons: int
    """Who entered in the time asked for, by whatever stage."""
    spend: str
    """Of the time asked for, in the currency of the answer."""


class WithoutPerson(msgspec.Struct, frozen=True):
    """Conversions of the time asked for that name nobody: they are in no other number."""

    stage: str
    conversions: int


class FunnelMeta(msgspec.Struct, frozen=True):
    """How to read it."""

    order: str
    entered_by: str
    """When a person counts as entered: ``first_stage_ever``, when he reached any stage for the first time of all."""
    acquired_by: str
    """What a person's channel is: ``first_session``, that of the first session of any of his devices."""
    currency: str
    without_person: list[WithoutPerson]
    elapsed_ms: float


class FunnelAnswer(msgspec.Struct, frozen=True):
    """The answer of ``GET /v1/funnel``."""

    totals: FunnelTotals
    stages: list[StageLine]
    channels: list[ChannelFunnel]
    """Only if asked for: those with most people first."""
    meta: FunnelMeta


def span_of(request: FunnelRequest) -> tuple[int, int]:
    """The time in which people entered, epoch ms. Raises ``Rejected`` naming the parameter."""
    try:
        since, until = parse_range((request.since, request.until))
    except Rejected as error:
        raise _of_a_parameter(error) from error
    return since * 1000, until * 1000 if until < END_OF_TIME else 2**48


def spend_question(request: FunnelRequest, *, by_channel: bool) -> QueryRequest:
    """What the time cost, as a question to ``POST /v1/query``."""
    filters: list[Filter] = []
    if request.site:
        filters.append(("site", "is", list(request.site)))
    if request.channel:
        filters.append(("channel", "is", list(request.channel)))
    return QueryRequest(
        metrics=["spend"],
        dimensions=["channel"] if by_channel else [],
        filters=filters,
        date_range=(request.since, request.until),
        currency=request.currency,
        convert=request.convert,
        limit=MAX_LIMIT,
    )


Spend = Callable[[QueryRequest], tuple[Mapping[str, str], str]]
"""A question about spend to money by channel ("" = of all) and the currency of it."""


def funnel_answer(
    request: FunnelRequest, funnel: Funnel, cohort: Cohort, spend: Spend, started: float
) -> FunnelAnswer:
    """What ``cohort`` did, and what it cost; ``started`` is ``time.perf_counter()``. Raises what ``spend`` raises."""
    try:
        whole, currency = spend(spend_question(request, by_channel=False))
        of_channels = spend(spend_question(request, by_channel=True))[0] if request.by else {}
    except Rejected as error:
        raise _of_a_parameter(error) from error
    nothing = str(Decimal(whole[""]) * 0)
    reached, channel_of = cohort.reached, cohort.channel_of
    if request.channel:
        wanted = [place for place, name in enumerate(cohort.channels) if name in request.channel]
        of_them = np.isin(channel_of, wanted)
        reached, channel_of = reached.of(of_them), channel_of[of_them]
    is_strict = request.order == "strict"
    people = np.bincount(channel_of, minlength=len(cohort.channels)).tolist() if request.by else []
    by_name = {name: (place, people[place]) for place, name in enumerate(cohort.channels) if request.by}
    lines = []
    for name in {**dict.fromkeys(n for n, (_, many) in by_name.items() if many), **of_channels}:
        place, many = by_name.get(name, (-1, 0))
        counts = count_stages(reached.of(channel_of == place), in_order=is_strict)
        cost = of_channels.get(name, nothing)
        lines.append(ChannelFunnel(name, many, cost, _lines(funnel, counts, cost, currency)))
    counts = count_stages(reached, in_order=is_strict)
    return FunnelAnswer(
        FunnelTotals(len(reached.persons), whole[""]),
        _lines(funnel, counts, whole[""], currency),
        sorted(lines, key=lambda line: (-line.persons, -Decimal(line.spend), line.channel)),
        FunnelMeta(
            order=request.order,
            entered_by="first_stage_ever",
            acquired_by="first_session",
            currency=currency,
            without_person=[
                WithoutPerson(name, many)
                for name, many in zip(funnel.names, cohort.without_person, strict=True)
                if many
            ],
            elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
        ),
    )


def _lines(funnel: Funnel, counts: Sequence[StageCount], spend: str, currency: str) -> list[StageLine]:
    lines = []
    for place, (name, one) in enumerate(zip(funnel.names, counts, strict=True)):
        is_first = place == 0
        lines.append(
            StageLine(
                stage=name,
                persons=one.persons,
                share_of_first=ratio(one.of_first, counts[0].persons),
                share_of_previous=None if is_first else ratio(one.of_previous, counts[place - 1].persons),
                from_previous=0 if is_first else one.of_previous,
                skipped_previous=0 if is_first else one.persons - one.of_previous,
                before_previous=one.before_previous,
                lost=one.lost,
                median_seconds=_seconds(one.median_ms),
                median_seconds_from_first=_seconds(one.median_of_first_ms),
                cost_per_person=money_each(Decimal(spend), one.persons, currency),
            )
        )
    return lines


def _seconds(ms: float | None) -> Decimal | None:
    if ms is None:
        return None
    return plain_number((Decimal(ms) / 1000).quantize(_MS, ROUND_HALF_EVEN))


def _of_a_parameter(error: Rejected) -> Rejected:
    return Rejected(error.reason, error.message, _FIELDS.get(error.field, error.field))
