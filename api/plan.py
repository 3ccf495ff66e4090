"""From a question to one SQL statement: pure, so that it can be tested without a server.

Text from users ends up in server-side parameters only; every identifier and expression comes from ``catalog``
and the files in ``sql/``. Rules:

- Traffic (hits, sessions, visitors) and credit are added up side by side: a group that only one of them has stays.
  A side that no metric asks for is not read, so its groups do not appear.
- ``conversion_type`` is a property of credit only. A filter on it leaves traffic alone; grouped by it traffic stands
  under "", and ``cr`` divides by the sessions of the other dimensions.
- Groups whose measures are all zero (taken back) are left out, whether ClickHouse has merged them away or not.
- Visitors are those with a session in the group: impressions, opened emails and purchases that a server sends are
  hits, but nobody's visit.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from api.catalog import (
    DIMENSIONS,
    LATER_DIMENSIONS,
    LATER_METRICS,
    LATER_MODELS,
    MEASURES,
    METRICS,
    OPERATORS,
    Dimension,
    Metric,
    Side,
)
from api.queries import load_sql
from api.requests import Filter, QueryRequest
from attribution.errors import Rejected
from attribution.money import currency_of
from sinks.names import qualify

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_FIRST_DAY, _LAST_DAY = dt.date(1970, 1, 1), dt.date(2105, 12, 31)
_END_OF_TIME = 2**32 - 1
"""Largest instant of ClickHouse's DateTime, in 2106."""
_SINCE = "hour >= toDateTime({from:UInt32}, 'UTC')"
_UNTIL = "hour < toDateTime({to:UInt32}, 'UTC')"
_KINDS_OF_HITS = frozenset({"page_views", "impressions"})
"""Measures that are zero wherever hits are: read only if asked for."""
TIMES = ("hour", "day", "week", "month")
"""Dimensions of time: answers that have one are in its order unless told otherwise."""


@dataclass(frozen=True)
class Plan:
    """One statement and how to read its answer."""

    sql: str
    parameters: dict[str, Any]
    metrics: tuple[Metric, ...]
    dimensions: tuple[Dimension, ...]
    measures: tuple[str, ...]
    """What each row's ``measures`` hold, in order."""
    currency: str
    limit: int
    """Rows wanted; the statement asks for one more, to know whether there are more."""


@dataclass(frozen=True)
class _Condition:
    dimension: Dimension
    sql: str


def build_plan(request: QueryRequest, database: str, models: Collection[str], currency: str) -> Plan:
    """The statement that answers ``request``. ``models`` are those credited here, ``currency`` the default.

    Raises ``Rejected`` naming the field, with the valid names in the message.
    """
    if request.as_of is not None:
        raise Rejected("not_available", "Reports as of an earlier instant are not available yet.", "as_of")
    metrics = [METRICS[name] for name in _names("metrics", request.metrics, METRICS, LATER_METRICS)]
    dimensions = [
        DIMENSIONS[n] for n in _names("dimensions", request.dimensions, DIMENSIONS, LATER_DIMENSIONS)
    ]
    _check_name("model", "model", request.model, models, LATER_MODELS)
    wanted = _currency(request.currency or currency)
    conditions = [_condition(number, given) for number, given in enumerate(request.filters)]
    since, until = _parse_range(request.date_range)
    measures = tuple(dict.fromkeys(name for metric in metrics for name in metric.measures))
    texts = [dimension.text.format(f"d{number}") for number, dimension in enumerate(dimensions)]
    time = _time(since, until)
    rows, bases = _with_bases(
        _grouped(metrics, dimensions, conditions, time, request.basis, database), metrics, dimensions
    )
    sql = load_sql(
        "query",
        rows=rows,
        bases=bases,
        texts=", ".join(texts) or "CAST('', 'String')",
        measures=", ".join(f"toString(m_{name})" for name in measures),
        order=_order(request, metrics, dimensions),
        channel_metrics=qualify(database, "channel_metrics"),
        coverage_where=_all_of(
            *time,
            "model = {model:String} AND basis = {basis:String}",
            *(condition.sql for condition in conditions if not condition.dimension.of_touch),
        ),
    )
    parameters = {
        **{"from": since, "to": until, "model": request.model, "basis": request.basis, "currency": wanted},
        **{"limit": request.limit + 1, "offset": request.offset},
        **{f"f{number}": list(values) for number, (_, _, values) in enumerate(request.filters)},
    }
    return Plan(sql, parameters, tuple(metrics), tuple(dimensions), measures, wanted, request.limit)


def _names(field: str, names: Sequence[str], valid: Collection[str], later: Collection[str]) -> Sequence[str]:
    for number, name in enumerate(names):
        _check_name(field.removesuffix("s"), f"{field}.{number}", name, valid, later)
        if name in names[:number]:
            raise Rejected("duplicate_name", f"{name} is asked for twice.", f"{field}.{number}")
    return names


def _check_name(what: str, field: str, name: str, valid: Collection[str], later: Collection[str]) -> None:
    """The name itself is repeated in the message only if it is one of ours."""
    choice = f"Choose from: {', '.join(valid)}."
    if name in valid:
        return
    if name in later:
        raise Rejected("not_available", f"The {what} {name} is not available yet. {choice}", field)
    raise Rejected(f"unknown_{what}", f"There is no such {what}. {choice}", field)


def _currency(code: str) -> str:
    try:
        return currency_of(code).code
    except Rejected as error:
        raise Rejected(error.reason, error.message, "currency") from error


def _condition(number: int, given: Filter) -> _Condition:
    name, operator, values = given
    _check_name("dimension", f"filters.{number}.0", name, DIMENSIONS, LATER_DIMENSIONS)
    _check_name("operator", f"filters.{number}.1", operator, OPERATORS, ())
    if operator.startswith("contains") and "" in values:
        raise Rejected(
            "empty_value", "Every text contains the empty one; use is or is_not.", f"filters.{number}.2"
        )
    dimension = DIMENSIONS[name]
    column = dimension.text.format(dimension.key)
    sql = OPERATORS[operator].format(column=column, parameter=f"f{number}")
    return _Condition(dimension, f"({sql})" if dimension.of_traffic else f"(model = '' OR {sql})")


def _parse_range(given: tuple[str | None, str | None] | None) -> tuple[int, int]:
    """First instant and the one after the last, epoch seconds."""
    first, last = given or (None, None)
    since = _parse_day(first, "date_range.0")
    until = _parse_day(last, "date_range.1")
    if since and until and since > until:
        raise Rejected("bad_date_range", "The first day is after the last.", "date_range")
    return (
        _epoch(since) if since else 0,
        _epoch(until + dt.timedelta(days=1)) if until else _END_OF_TIME,
    )


def _parse_day(text: str | None, field: str) -> dt.date | None:
    if text is None:
        return None
    try:
        # The pattern first: fromisoformat also reads 20261001 and 2026-W40-4.
        day = dt.date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not _FIRST_DAY <= day <= _LAST_DAY:
        raise Rejected("bad_date_range", f"Send a day as YYYY-MM-DD, {_FIRST_DAY} to {_LAST_DAY}.", field)
    return day


def _time(since: int, until: int) -> list[str]:
    """Conditions on the hour, none where the range is open: they would be looked at row by row."""
    return [*([_SINCE] if since else []), *([_UNTIL] if until < _END_OF_TIME else [])]


def _epoch(day: dt.date) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp())


def _reads(metrics: Sequence[Metric]) -> tuple[bool, bool]:
    """(traffic is read, credit is read)."""
    return (
        any(metric.side is Side.traffic or metric.needs_traffic for metric in metrics),
        any(metric.side is Side.credit for metric in metrics),
    )


def _grouped(
    metrics: Sequence[Metric],
    dimensions: Sequence[Dimension],
    conditions: Sequence[_Condition],
    time: Sequence[str],
    basis: str,
    database: str,
) -> str:
    """The statement with one row per group: keys ``d0`` …, measures ``m_*``."""
    traffic, credit = _reads(metrics)
    visitors = any("visitors" in metric.measures for metric in metrics)
    expressions = [dimension.key for dimension in dimensions] or ["toUInt8(0)"]
    keys = [f"d{number}" for number in range(len(expressions))]
    asked = {name for metric in metrics for name in metric.measures}
    read = [
        measure
        for measure in MEASURES
        if (traffic if measure.side is Side.traffic else credit)
        and (measure.name in asked or measure.name not in _KINDS_OF_HITS)
    ]
    shown = [f"m_{measure.name}" for measure in read]
    places = {
        "keys": ", ".join(keys),
        "keys_as": ", ".join(f"{sql} AS {key}" for sql, key in zip(expressions, keys, strict=True)),
        "where": _all_of(*time, _sides(traffic, credit), *(condition.sql for condition in conditions)),
        "facts": _facts(
            [*dimensions, *(condition.dimension for condition in conditions)], metrics, basis, database
        ),
    }
    if not visitors:
        return load_sql(
            "grouped",
            totals=", ".join(f"{measure.total} AS m_{measure.name}" for measure in read),
            having=" OR ".join(f"{name} != 0" for name in shown),
            **places,
        )
    names = [*(measure.name for measure in read), "visitors"]
    return load_sql(
        "grouped_with_visitors",
        sessions=qualify(database, "sessions"),
        parts=", ".join(f"{m.total} AS p_{m.name}" for m in read) + ", toInt64(0) AS p_visitors",
        no_parts=", ".join(f"{measure.zero} AS p_{measure.name}" for measure in read),
        sums=", ".join(f"sum(p_{name}) AS m_{name}" for name in names),
        having=" OR ".join(f"{name} != 0" for name in (*shown, "m_visitors")),
        **places,
    )


def _facts(used: Sequence[Dimension], metrics: Sequence[Metric], basis: str, database: str) -> str:
    """Where the rows come from: the roll-up if it has every dimension."""
    if all(dimension.in_roll_up for dimension in used):
        return qualify(database, "channel_metrics")
    traffic, credit = _reads(metrics)
    return load_sql(
        "facts_detail",
        **{name: qualify(database, name) for name in ("sessions", "hits", "credits")},
        credit_time="converted_at" if basis == "conversion" else "touched_at",
        reads_traffic=str(int(traffic)),
        reads_credit=str(int(credit)),
    )


def _sides(traffic: bool, credit: bool) -> str:
    """Traffic rows have neither model nor basis."""
    if traffic and credit:
        return "model IN ('', {model:String}) AND basis IN ('', {basis:String})"
    return "model = ''" if traffic else "model = {model:String} AND basis = {basis:String}"


def _with_bases(grouped: str, metrics: Sequence[Metric], dimensions: Sequence[Dimension]) -> tuple[str, str]:
    """The groups, and what is selected beside them: the sessions to divide by.

    Those of the group; where traffic lacks a dimension, of all groups that differ in it only. Traffic that is read only
    for that has no rows of its own.
    """
    if not _reads(metrics)[0]:
        return grouped, ""
    keys = [(f"d{number}", dimension.of_traffic) for number, dimension in enumerate(dimensions)]
    if all(of_traffic for _, of_traffic in keys):
        return grouped, ", m_sessions AS m_sessions_base"
    shared = [key for key, of_traffic in keys if of_traffic]
    is_asked = any(metric.side is Side.traffic for metric in metrics)
    rows = load_sql(
        "over_types",
        grouped=grouped,
        window=f"PARTITION BY {', '.join(shared)}" if shared else "",
        keep="1" if is_asked else _all_of(*(f"{key} != ''" for key, of_traffic in keys if not of_traffic)),
    )
    return rows, ""


def _order(request: QueryRequest, metrics: Sequence[Metric], dimensions: Sequence[Dimension]) -> str:
    keys = {dimension.name: f"d{number}" for number, dimension in enumerate(dimensions)}
    columns = {**keys, **{metric.name: metric.order for metric in metrics}}
    asked: list[tuple[str, str]] = [*request.order_by]
    for number, (name, _) in enumerate(asked):
        if name not in columns:
            choice = f"Order by what is asked for: {', '.join(columns)}."
            raise Rejected("bad_order", choice, f"order_by.{number}.0")
    if not asked:
        asked = [(name, "asc") for name in keys if name in TIMES] or [(metrics[0].name, "desc")]
    # The keys last, so that pages neither overlap nor miss a row.
    terms = [f"{columns[name]} {'DESC' if way == 'desc' else 'ASC'} NULLS LAST" for name, way in asked]
    return ", ".join([*terms, *(keys.values() or ["d0"])])


def _all_of(*conditions: str) -> str:
    return " AND ".join(conditions)
