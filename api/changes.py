"""Why a number changed: the difference of a report between two instants, by cause.

The ledger is append-only and every entry names its cause, so the entries recorded in between are the difference, and
what they add up to by cause adds up to it exactly.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from api.answers import Cell
from api.catalog import DIMENSIONS
from api.instants import instant_text, parse_instant
from api.measures import EARNED
from api.models import check_model
from api.numbers import money_text, plain_number
from api.queries import load_sql
from api.requests import MAX_LIMIT, Filter, Name
from api.scenes import Scenes
from api.selection import (
    all_of,
    check_names,
    condition_of,
    hours_within,
    parse_range,
    stage_values,
    wanted_currency,
)
from attribution.errors import Rejected
from attribution.funnel import DEFAULT_FUNNEL, Funnel
from sinks.names import qualify

_FOREVER = 2**53
_WHICH = "model = {model:String} AND toUnixTimestamp64Milli(recorded_at) <= {until:Int64}"
"""The ledger entries of the model that were recorded by the second instant."""
_ZERO = Decimal(0)


class ChangesRequest(BaseModel):
    """Two instants and a report. ``docs/query.md`` explains each field."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )

    since: Annotated[Name, Field(alias="from")]
    """The report as it stood then: a day (its end, UTC) or an instant with its time zone."""
    until: Annotated[Name | None, Field(alias="to")] = None
    """And as it stood then; none: as it stands."""
    dimensions: Annotated[list[Name], Field(max_length=8)] = ["channel"]
    filters: Annotated[list[Filter], Field(max_length=20)] = []
    """``[dimension, operator, values]``; all of them must hold."""
    date_range: tuple[Name | None, Name | None] | None = None
    """First and last day of the report, both included, UTC."""
    model: Name = "linear"
    basis: Literal["conversion", "touch"] = "conversion"
    currency: Name | None = None
    """ISO 4217; none: the installation's."""
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 100
    """Rows by dimension and cause, the greatest changes first; totals and causes are of all."""


class Amounts(msgspec.Struct, frozen=True):
    """Revenue in the currency asked for, conversions in every currency."""

    conversions: Decimal
    revenue: str


class CauseLine(msgspec.Struct, frozen=True):
    """What one cause did to the whole report."""

    cause: str
    """``conversion``, ``late_touch``, ``earlier_fact``, ``merge``, ``split``, ``policy``, …"""
    conversions: Decimal
    revenue: str
    entries: int
    """Of the ledger."""


class ChangesMeta(msgspec.Struct, frozen=True):
    """How to read it."""

    model: str
    basis: str
    currency: str
    since: str
    until: str | None
    has_more: bool
    """There are more rows than asked for."""
    elapsed_ms: float


class ChangesAnswer(msgspec.Struct, frozen=True):
    """``before`` + the causes = ``after``, exactly."""

    before: Amounts
    after: Amounts
    difference: Amounts
    causes: list[CauseLine]
    columns: tuple[str, ...]
    """The dimensions, ``cause``, ``conversions``, ``revenue``."""
    rows: list[list[Cell]]
    meta: ChangesMeta


class ChangesPlan(NamedTuple):
    """One statement and how to read its answer."""

    sql: str
    parameters: dict[str, Any]
    dimensions: tuple[str, ...]
    currency: str
    since: int
    until: int | None


def plan_changes(
    request: ChangesRequest,
    database: str,
    models: Collection[str],
    currency: str,
    pipeline: Collection[str] = (),
    funnel: Funnel = DEFAULT_FUNNEL,
) -> ChangesPlan:
    """The statement that answers ``request``; ``pipeline`` are conversion types that are no revenue,
    ``funnel`` says which stage a type belongs to.

    Raises ``Rejected`` naming the field.
    """
    names = check_names("dimensions", request.dimensions, DIMENSIONS)
    dimensions = [DIMENSIONS[name] for name in names]
    check_model(request.model, models)
    wanted = wanted_currency(request.currency or currency)
    since = parse_instant(request.since, "from")
    until = None if request.until is None else parse_instant(request.until, "to")
    if until is not None and until < since:
        raise Rejected("bad_instant", "The first instant is after the second.", "from")
    conditions = [condition_of(number, given) for number, given in enumerate(request.filters)]
    first, last = parse_range(request.date_range)
    expressions = [dimension.key for dimension in dimensions] or ["toUInt8(0)"]
    keys = [f"d{number}" for number in range(len(expressions))]
    scenes = Scenes.of([*dimensions, *(condition.dimension for condition in conditions)])
    sql = load_sql(
        "changes",
        earned=EARNED,
        credits=qualify(database, "credits"),
        which=_WHICH,
        scene=scenes.columns,
        scenes=scenes.join(database, _WHICH),
        credit_time="booked_at" if request.basis == "conversion" else "touched_at",
        keys=", ".join(keys),
        keys_as=", ".join(f"{key_sql} AS {key}" for key_sql, key in zip(expressions, keys, strict=True)),
        texts=", ".join(dimension.text.format(f"d{number}") for number, dimension in enumerate(dimensions))
        or "CAST('', 'String')",
        where=all_of(*hours_within(first, last), *(condition.sql for condition in conditions)) or "1",
    )
    parameters = {
        **{"from": first, "to": last, "model": request.model, "currency": wanted},
        **{"pipeline_types": list(pipeline)},
        **stage_values(funnel),
        **{"after": since, "until": _FOREVER if until is None else until},
        **{f"f{number}": list(values) for number, (_, _, values) in enumerate(request.filters)},
    }
    return ChangesPlan(sql, parameters, tuple(names), wanted, since, until)


def changes_answer(
    plan: ChangesPlan, request: ChangesRequest, found: Sequence[Sequence[Any]], started: float
) -> ChangesAnswer:
    """The rows (cause, dimensions, conversions, revenue, entries) as an answer."""
    before = [_ZERO, _ZERO]
    causes: dict[str, list[Decimal]] = {}
    entries: dict[str, int] = {}
    rows: list[list[Cell]] = []
    for cause, dimensions, conversions_text, revenue_text, count in found:
        conversions, revenue = Decimal(conversions_text), Decimal(revenue_text)
        sums = causes.setdefault(cause, [_ZERO, _ZERO]) if cause else before
        sums[0] += conversions
        sums[1] += revenue
        if cause:
            entries[cause] = entries.get(cause, 0) + count
            if conversions or revenue:
                told = dimensions if plan.dimensions else ()
                money = money_text(revenue, plan.currency)
                rows.append([*told, cause, plain_number(conversions), money])
    moved = [sum((sums[place] for sums in causes.values()), _ZERO) for place in (0, 1)]

    def amounts(sums: Sequence[Decimal]) -> Amounts:
        return Amounts(plain_number(sums[0]), money_text(sums[1], plan.currency))

    return ChangesAnswer(
        before=amounts(before),
        after=amounts([before[0] + moved[0], before[1] + moved[1]]),
        difference=amounts(moved),
        causes=[
            CauseLine(cause, plain_number(sums[0]), money_text(sums[1], plan.currency), entries[cause])
            for cause, sums in sorted(causes.items())
        ],
        columns=(*plan.dimensions, "cause", "conversions", "revenue"),
        rows=rows[: request.limit],
        meta=ChangesMeta(
            model=request.model,
            basis=request.basis,
            currency=plan.currency,
            since=instant_text(plan.since),
            until=None if plan.until is None else instant_text(plan.until),
            has_more=len(rows) > request.limit,
            elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
        ),
    )
