"""The paths before conversions: the most frequent, how long, how slow, and which channels assist.

Read from ``paths``: one signed row for each change of a conversion's path, which the credit stage writes beside the
ledger and dates as it. So every list is a plain sum, and agrees with the ledger as of any instant. What is asked of now
and of all channels is read from the roll-up of these rows (``path_roll_up``), with the same answer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from api.instants import instant_text, parse_instant
from api.measures import EARNED
from api.numbers import RATIO_DIGITS, money_text, plain_number
from api.path_roll_up import MAX_PATHS, Ask, RollUp, read_roll_up
from api.queries import load_sql
from api.requests import Name, Value
from api.selection import END_OF_TIME, all_of, parse_range, wanted_currency
from attribution.errors import Rejected
from sinks.names import qualify

LONGEST = 100
"""Paths of more touchpoints are counted with those of so many."""
OLDEST = 400
"""Days; longer ago is counted with so long ago."""
_DAY_SECONDS = 86_400
_WORTH = f"sum(if(currency = {{currency:String}} AND {EARNED}, value * sign, toDecimal64(0, 4)))"

Values = Annotated[list[Value], Field(max_length=200)]


class PathsRequest(BaseModel):
    """The parameters of ``GET /v1/paths``. ``docs/query.md`` explains the answer."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )

    since: Annotated[Name | None, Field(alias="from")] = None
    """First day of conversions, ``YYYY-MM-DD``, UTC."""
    until: Annotated[Name | None, Field(alias="to")] = None
    """Last day, included."""
    conversion_type: Values = []
    """Only conversions of these types. If none is named, open deals are no revenue."""
    site: Values = []
    """Only of these sites."""
    channel: Values = []
    """Only paths that any of these channels is in."""
    collapse: bool = True
    """A channel that follows itself counts once in the paths that are listed; lengths count every touchpoint."""
    currency: Name | None = None
    """ISO 4217 of the revenue; none: the installation's."""
    as_of: Name | None = None
    """As it stood at the end of a day or at an instant with its time zone."""
    limit: Annotated[int, Field(ge=1, le=MAX_PATHS)] = 20
    """Paths that are listed."""


class PathTotals(msgspec.Struct, frozen=True):
    """All conversions of the report; revenue in its currency."""

    conversions: int
    revenue: str
    unattributed_conversions: int
    """Of them: without any touchpoint that counts."""
    unattributed_revenue: str


class PathLine(msgspec.Struct, frozen=True):
    """Conversions that came the same way."""

    channels: tuple[str, ...]
    """In the order of time."""
    conversions: int
    revenue: str
    share: Decimal
    """Of the conversions that have a path."""


class LengthLine(msgspec.Struct, frozen=True):
    """Conversions after so many touchpoints."""

    touchpoints: int
    """100 stands for 100 and more."""
    conversions: int
    revenue: str


class LagLine(msgspec.Struct, frozen=True):
    """Conversions after so many whole days."""

    days: int
    """400 stands for 400 and more."""
    conversions: int
    revenue: str


class ChannelLine(msgspec.Struct, frozen=True):
    """The parts that a channel plays."""

    channel: str
    participation_conversions: int
    """Conversions with the channel anywhere in their path: each distinct channel gets 100 %."""
    participation_revenue: str
    last_conversions: int
    """Conversions that it was the last touchpoint of."""
    last_revenue: str
    assisted_conversions: int
    """Conversions that it is in the path of, but not last: participation without last."""
    assisted_revenue: str
    assist_ratio: Decimal | None
    """Assisted by last conversions: above 1 the channel opens more than it closes. ``None`` if it never closes."""


class PathsMeta(msgspec.Struct, frozen=True):
    """How to read it."""

    currency: str
    as_of: str | None
    collapse: bool
    adds_up: dict[str, bool]
    """By list, whether its conversions are those of the totals. Participation does not add up: a conversion counts once
    for each of its channels."""
    elapsed_ms: float


class PathsAnswer(msgspec.Struct, frozen=True):
    """The answer of ``GET /v1/paths``."""

    totals: PathTotals
    paths: list[PathLine]
    lengths: list[LengthLine]
    days_from_first: list[LagLine]
    days_from_last: list[LagLine]
    channels: list[ChannelLine]
    meta: PathsMeta


class PathsPlan(NamedTuple):
    """How to answer a question."""

    roll_up: RollUp | None
    """Off the roll-up, if it can tell."""
    sql: str
    """Else by this statement over all rows of ``paths``."""
    parameters: dict[str, Any]
    currency: str
    as_of: int | None

    def read(self, limit: int, ask: Ask) -> Sequence[Sequence[Any]]:
        """The rows (kind, key, conversions, revenue), at least ``limit`` paths. Raises what ``ask`` raises."""
        return read_roll_up(self.roll_up, limit, ask) if self.roll_up else ask(self.sql, self.parameters, {})


def plan_paths(
    request: PathsRequest, database: str, currency: str, pipeline: Collection[str] = ()
) -> PathsPlan:
    """How ``request`` is answered; ``pipeline`` are conversion types that are no revenue unless types are named.

    Raises ``Rejected`` naming the parameter.
    """
    try:
        since, until = parse_range((request.since, request.until))
    except Rejected as error:
        fields = {"date_range.0": "from", "date_range.1": "to", "date_range": "from, to"}
        raise Rejected(error.reason, error.message, fields[error.field]) from error
    as_of = None if request.as_of is None else parse_instant(request.as_of, "as_of")
    wanted = wanted_currency(request.currency or currency)
    common: list[str] = []
    if request.conversion_type:
        common.append("conversion_type IN {types:Array(String)}")
    if request.site:
        common.append("site IN {sites:Array(String)}")
    by_instant, by_day = list(common), list(common)
    if since:
        by_instant.append("converted_at >= toDateTime64({from:UInt32}, 3, 'UTC')")
        by_day.append("day >= toDate32({from_day:Int32})")
    if until < END_OF_TIME:
        by_instant.append("converted_at < toDateTime64({to:UInt32}, 3, 'UTC')")
        by_day.append("day < toDate32({to_day:Int32})")
    where, metrics_where = all_of("1", *by_instant), all_of("1", *by_day)
    if as_of is not None:
        by_instant.append("toUnixTimestamp64Milli(recorded_at) <= {as_of:Int64}")
    if request.channel:
        by_instant.append("hasAny(distinct_channels, {channels:Array(String)})")
    sql = load_sql(
        "paths",
        paths=qualify(database, "paths"),
        where=all_of("1", *by_instant),
        worth=_WORTH,
        path_hash="collapsed_hash" if request.collapse else "path_hash",
        shown="arrayCompact(any(channels))" if request.collapse else "any(channels)",
    )
    parameters = {
        **{"from": since, "to": until, "currency": wanted, "channels": list(request.channel)},
        **{"types": list(request.conversion_type), "sites": list(request.site)},
        **{"pipeline_types": [] if request.conversion_type else list(pipeline)},
        **{"most": MAX_PATHS, "longest": LONGEST, "oldest": OLDEST},
        **{"from_day": since // _DAY_SECONDS, "to_day": until // _DAY_SECONDS},
        **({} if as_of is None else {"as_of": as_of}),
    }
    roll_up = RollUp(
        qualify(database, "paths"),
        qualify(database, "path_metrics"),
        where,
        metrics_where,
        request.collapse,
        parameters,
    )
    # The roll-up tells neither when a row was recorded nor which channels a path of some length has.
    can_tell = as_of is None and not request.channel
    return PathsPlan(roll_up if can_tell else None, sql, parameters, wanted, as_of)


def paths_answer(
    plan: PathsPlan, request: PathsRequest, found: Sequence[Sequence[Any]], started: float
) -> PathsAnswer:
    """The rows (kind, key, conversions, revenue) as an answer; ``started`` is ``time.perf_counter()``."""
    by_kind: dict[str, list[tuple[tuple[str, ...], int, Decimal]]] = defaultdict(list)
    for kind, key, conversions, revenue in found:
        by_kind[kind].append((tuple(key), conversions, Decimal(revenue)))

    def money(amount: Decimal) -> str:
        return money_text(amount, plan.currency)

    def lags(kind: str) -> list[LagLine]:
        lines = sorted((int(key[0]), count, worth) for key, count, worth in by_kind[kind])
        return [LagLine(days, count, money(worth)) for days, count, worth in lines]

    lengths = sorted((int(key[0]), count, worth) for key, count, worth in by_kind["length"])
    conversions = sum(count for _, count, _ in lengths)
    revenue = sum((worth for _, _, worth in lengths), Decimal(0))
    nobody, nobodys = next(
        ((count, worth) for length, count, worth in lengths if not length), (0, Decimal(0))
    )
    with_path = conversions - nobody
    listed = by_kind["path"][: request.limit]
    return PathsAnswer(
        PathTotals(conversions, money(revenue), nobody, money(nobodys)),
        [
            PathLine(channels, count, money(worth), _ratio(count, with_path) or Decimal(0))
            for channels, count, worth in listed
        ],
        [LengthLine(length, count, money(worth)) for length, count, worth in lengths if length],
        lags("first_lag"),
        lags("last_lag"),
        _channels(by_kind, plan.currency),
        PathsMeta(
            currency=plan.currency,
            as_of=None if plan.as_of is None else instant_text(plan.as_of),
            collapse=request.collapse,
            adds_up={
                "paths": sum(count for _, count, _ in listed) == with_path,
                **dict.fromkeys(("lengths", "days_from_first", "days_from_last", "last"), True),
                "participation": False,
            },
            elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
        ),
    )


def _channels(
    by_kind: dict[str, list[tuple[tuple[str, ...], int, Decimal]]], currency: str
) -> list[ChannelLine]:
    """Those in most paths first."""
    last = {key[0]: (count, worth) for key, count, worth in by_kind["last"]}
    lines = []
    for (channel,), count, worth in by_kind["has"]:
        closed, closed_worth = last.get(channel, (0, Decimal(0)))
        lines.append(
            ChannelLine(
                channel,
                count,
                money_text(worth, currency),
                closed,
                money_text(closed_worth, currency),
                count - closed,
                money_text(worth - closed_worth, currency),
                _ratio(count - closed, closed),
            )
        )
    return lines


def _ratio(part: int, whole: int) -> Decimal | None:
    return plain_number((Decimal(part) / whole).quantize(RATIO_DIGITS)) if whole else None
