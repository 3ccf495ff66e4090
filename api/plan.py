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

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from api.catalog import (
    DIMENSIONS,
    JOINED,
    LATER_DIMENSIONS,
    LATER_METRICS,
    MEASURES,
    METRICS,
    SPREAD,
    Dimension,
    Measure,
    Metric,
    Side,
)
from api.instants import parse_instant
from api.models import check_model, spread_models
from api.queries import load_sql
from api.requests import QueryRequest
from api.selection import (
    Condition,
    all_of,
    check_names,
    condition_of,
    hours_within,
    parse_range,
    wanted_currency,
)
from attribution.errors import Rejected
from sinks.names import qualify

_KINDS_OF_HITS = frozenset({"page_views", "impressions"})
"""Measures that are zero wherever hits are: read only if asked for."""
TIMES = ("hour", "day", "week", "month")
"""Dimensions of time: answers that have one are in its order unless told otherwise."""
_OF_DROPS = ("site", *TIMES)
"""What is known of a dropped hit."""


@dataclass(frozen=True)
class Plan:
    """One statement and how to read its answer."""

    sql: str
    claims: str
    """A statement of rows like those of ``sql``: what dropped hits claim. It need not be asked where there are none."""
    parameters: dict[str, Any]
    metrics: tuple[Metric, ...]
    dimensions: tuple[Dimension, ...]
    measures: tuple[str, ...]
    """What each row's ``measures`` hold, in order."""
    currency: str
    limit: int
    """Rows wanted; the statement asks for one more, to know whether there are more."""
    as_of: int | None
    """The answer is as it stood then, epoch milliseconds."""
    spread: tuple[str, ...]
    """The models whose answers stand beside each number; none unless asked for."""
    has_people: bool = False
    """Each row has one column more: the visitors whom any id names, by hash. ``JOINED`` is to be told from them."""
    people_order: tuple[tuple[str, bool], ...] = ()
    """(column, is descending): what SQL cannot put in order, because it does not know people. The statement then has
    all groups, up to ``MOST_IN_ORDER``, and one more."""


MOST_IN_ORDER = 100_000
"""Groups that can be put in the order of their people."""


@dataclass(frozen=True)
class _Reading:
    """Where the rows of one question come from."""

    database: str
    basis: str
    as_of: int | None
    spread: tuple[str, ...]
    traffic: bool
    credit: bool

    @classmethod
    def of(
        cls, metrics: Sequence[Metric], request: QueryRequest, database: str, spread: tuple[str, ...]
    ) -> _Reading:
        """``Rejected`` when something is asked as of an instant that is not dated by when it became known."""
        as_of = None if request.as_of is None else parse_instant(request.as_of, "as_of")
        for number, metric in enumerate(metrics):
            if as_of is not None and (metric.side is Side.traffic or metric.needs_traffic):
                raise Rejected(
                    "not_available",
                    f"{metric.name} counts visits, which are not dated by when they became known. Ask it without"
                    " as_of; as of an instant there are conversions, revenue and aov.",
                    f"metrics.{number}",
                )
        return cls(
            database,
            request.basis,
            as_of,
            spread,
            traffic=any(metric.side is Side.traffic or metric.needs_traffic for metric in metrics),
            credit=any(metric.side is Side.credit for metric in metrics),
        )

    def facts(self, *, in_roll_up: bool, traffic: bool = True, credit: bool = True) -> str:
        """The roll-up if that can answer, else rows of the same shape. The roll-up has no past."""
        if in_roll_up and self.as_of is None:
            return qualify(self.database, "channel_metrics")
        return load_sql(
            "facts_detail",
            **{name: qualify(self.database, name) for name in ("sessions", "hits", "credits")},
            credit_time="converted_at" if self.basis == "conversion" else "touched_at",
            credit_models=self._models,
            known=self.known,
            reads_traffic=str(int(self.traffic and traffic)),
            reads_credit=str(int(self.credit and credit)),
        )

    def sides(self) -> str:
        """Traffic rows have neither model nor basis."""
        if not self.credit:
            return "model = ''"
        if self.spread:
            side = "model IN {models:Array(String)} AND basis = {basis:String}"
            return f"(model = '' OR {side})" if self.traffic else side
        if self.traffic:
            return "model IN ('', {model:String}) AND basis IN ('', {basis:String})"
        return "model = {model:String} AND basis = {basis:String}"

    @property
    def known(self) -> str:
        """Condition: the row was recorded by the instant as of which the answer is."""
        return "1" if self.as_of is None else "toUnixTimestamp64Milli(recorded_at) <= {as_of:Int64}"

    @property
    def _models(self) -> str:
        return "model IN {models:Array(String)}" if self.spread else "model = {model:String}"


def build_plan(request: QueryRequest, database: str, models: Collection[str], currency: str) -> Plan:
    """The statement that answers ``request``. ``models`` are those credited here, ``currency`` the default.

    Raises ``Rejected`` naming the field, with the valid names in the message.
    """
    metrics = [METRICS[name] for name in check_names("metrics", request.metrics, METRICS, LATER_METRICS)]
    dimensions = [
        DIMENSIONS[n] for n in check_names("dimensions", request.dimensions, DIMENSIONS, LATER_DIMENSIONS)
    ]
    check_model(request.model, models)
    spread = _spread_of(request, metrics, models)
    reading = _Reading.of(metrics, request, database, spread)
    wanted = wanted_currency(request.currency or currency)
    conditions = [condition_of(number, given) for number, given in enumerate(request.filters)]
    since, until = parse_range(request.date_range)
    time = hours_within(since, until)
    beside = [measure for measure in _spread_measures(spread) if measure.of in request.metrics]
    asked = [*(name for metric in metrics for name in metric.measures), *(measure.name for measure in beside)]
    measures = tuple(name for name in dict.fromkeys(asked) if name != JOINED)
    has_people = JOINED in asked
    terms = _terms(request, metrics, dimensions)
    people_order = tuple((name, way == "desc") for name, way in terms)
    if "people" not in dict(terms):
        people_order = ()
    texts = [dimension.text.format(f"d{number}") for number, dimension in enumerate(dimensions)]
    rows, bases = _with_bases(
        _grouped(metrics, dimensions, conditions, time, reading, beside), metrics, dimensions, reading
    )
    no_linked = ", emptyArrayUInt64() AS linked" if has_people else ""
    about_all = [condition.sql for condition in conditions if not condition.dimension.of_touch]
    sql = load_sql(
        "query",
        rows=rows,
        bases=bases,
        texts=", ".join(texts) or "CAST('', 'String')",
        measures=", ".join(f"toString(m_{name})" for name in measures),
        linked=", m_linked AS linked" if has_people else "",
        no_linked=no_linked,
        order=_order(terms, metrics, dimensions),
        credit_facts=replace(reading, credit=True, spread=()).facts(in_roll_up=True, traffic=False),
        drops=qualify(database, "drops"),
        drops_where=all_of(
            *time, "reason = 'bot'", *(one.sql for one in conditions if one.dimension.name in _OF_DROPS)
        ),
        dropped_conversions=qualify(database, "dropped_conversions"),
        coverage_where=all_of(*time, "model = {model:String} AND basis = {basis:String}", *about_all),
    )
    claims = load_sql(
        "query_claims",
        dropped_conversions=qualify(database, "dropped_conversions"),
        conversions=qualify(database, "conversions"),
        dropped_where=all_of(*time, *about_all) or "1",
        known=reading.known,
        no_linked=no_linked,
    )
    parameters = {
        **{"from": since, "to": until, "model": request.model, "basis": request.basis, "currency": wanted},
        **{"limit": MOST_IN_ORDER + 1 if people_order else request.limit + 1},
        **{"offset": 0 if people_order else request.offset},
        **{f"f{number}": list(values) for number, (_, _, values) in enumerate(request.filters)},
        **({} if reading.as_of is None else {"as_of": reading.as_of}),
        **({"models": [*dict.fromkeys((request.model, *spread))]} if spread else {}),
        **{f"s{number}": name for number, name in enumerate(spread)},
    }
    return Plan(
        sql,
        claims,
        parameters,
        tuple(metrics),
        tuple(dimensions),
        measures,
        wanted,
        request.limit,
        reading.as_of,
        spread,
        has_people,
        people_order,
    )


def _spread_of(request: QueryRequest, metrics: Sequence[Metric], models: Collection[str]) -> tuple[str, ...]:
    if not request.spread:
        return ()
    if not any(metric.name in SPREAD for metric in metrics):
        raise Rejected(
            "bad_spread", f"The spread is of {' and '.join(SPREAD)}: ask for at least one of them.", "spread"
        )
    return spread_models(models)


def _spread_measures(models: Sequence[str]) -> list[Measure]:
    """What each model says, for each metric that has a spread."""
    return [
        replace(
            measure,
            name=f"{measure.name}_{number}",
            total=measure.total_of(f"{{s{number}:String}}"),
            of=measure.name,
        )
        for measure in MEASURES
        if measure.name in SPREAD
        for number, _ in enumerate(models)
    ]


def _grouped(
    metrics: Sequence[Metric],
    dimensions: Sequence[Dimension],
    conditions: Sequence[Condition],
    time: Sequence[str],
    reading: _Reading,
    beside: Sequence[Measure],
) -> str:
    """The statement with one row per group: keys ``d0`` …, measures ``m_*``."""
    visitors = any("visitors" in metric.measures for metric in metrics)
    expressions = [dimension.key for dimension in dimensions] or ["toUInt8(0)"]
    keys = [f"d{number}" for number in range(len(expressions))]
    asked = {name for metric in metrics for name in metric.measures}
    read = [
        replace(measure, total=measure.total_of("{model:String}"))
        if reading.spread and measure.side is Side.credit
        else measure
        for measure in MEASURES
        if (reading.traffic if measure.side is Side.traffic else reading.credit)
        and (measure.name in asked or measure.name not in _KINDS_OF_HITS)
    ]
    read += beside
    shown = [f"m_{measure.name}" for measure in read]
    used = [*dimensions, *(condition.dimension for condition in conditions)]
    places = {
        "keys": ", ".join(keys),
        "keys_as": ", ".join(f"{sql} AS {key}" for sql, key in zip(expressions, keys, strict=True)),
        "where": all_of(*time, reading.sides(), *(condition.sql for condition in conditions)),
        "facts": reading.facts(in_roll_up=all(dimension.in_roll_up for dimension in used)),
    }
    if not visitors:
        return load_sql(
            "grouped",
            totals=", ".join(f"{measure.total} AS m_{measure.name}" for measure in read),
            having=" OR ".join(f"{name} != 0" for name in shown),
            **places,
        )
    names = [*(measure.name for measure in read), "visitors"]
    sums, linked, no_linked = [f"sum(p_{name}) AS m_{name}" for name in names], "", ""
    if any(JOINED in metric.measures for metric in metrics):
        links = qualify(reading.database, "identity_links")
        linked = f", {load_sql('linked_visitors', identity_links=links)} AS p_linked"
        no_linked = ", emptyArrayUInt64() AS p_linked"
        sums.append("groupArrayArray(p_linked) AS m_linked")
    return load_sql(
        "grouped_with_visitors",
        sessions=qualify(reading.database, "sessions"),
        parts=", ".join(f"{m.total} AS p_{m.name}" for m in read) + f", toInt64(0) AS p_visitors{no_linked}",
        no_parts=", ".join(f"{measure.zero} AS p_{measure.name}" for measure in read),
        sums=", ".join(sums),
        linked=linked,
        having=" OR ".join(f"{name} != 0" for name in (*shown, "m_visitors")),
        **places,
    )


def _with_bases(
    grouped: str, metrics: Sequence[Metric], dimensions: Sequence[Dimension], reading: _Reading
) -> tuple[str, str]:
    """The groups, and what is selected beside them: the sessions to divide by.

    Those of the group; where traffic lacks a dimension, of all groups that differ in it only. Traffic that is read only
    for that has no rows of its own.
    """
    if not reading.traffic:
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
        keep="1" if is_asked else all_of(*(f"{key} != ''" for key, of_traffic in keys if not of_traffic)),
    )
    return rows, ""


def _terms(
    request: QueryRequest, metrics: Sequence[Metric], dimensions: Sequence[Dimension]
) -> list[tuple[str, str]]:
    """(column, ``asc`` or ``desc``): what was asked for, or what is usual."""
    columns = [*(dimension.name for dimension in dimensions), *(metric.name for metric in metrics)]
    for number, (name, _) in enumerate(request.order_by):
        if name not in columns:
            choice = f"Order by what is asked for: {', '.join(dict.fromkeys(columns))}."
            raise Rejected("bad_order", choice, f"order_by.{number}.0")
    by_time = [(dimension.name, "asc") for dimension in dimensions if dimension.name in TIMES]
    return [*request.order_by] or by_time or [(metrics[0].name, "desc")]


def _order(
    terms: Sequence[tuple[str, str]], metrics: Sequence[Metric], dimensions: Sequence[Dimension]
) -> str:
    keys = {dimension.name: f"d{number}" for number, dimension in enumerate(dimensions)}
    columns = {**keys, **{metric.name: metric.order for metric in metrics}}
    # The keys last, so that pages neither overlap nor miss a row.
    sql = [f"{columns[name]} {'DESC' if way == 'desc' else 'ASC'} NULLS LAST" for name, way in terms]
    return ", ".join([*sql, *(keys.values() or ["d0"])])
