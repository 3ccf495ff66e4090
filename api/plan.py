"""From a question to one SQL statement: pure, so that it can be tested without a server.

Text from users ends up in server-side parameters only; every identifier and expression comes from ``catalog``,
``measures`` and the files in ``sql/``. How rows are grouped: ``groups``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from api.catalog import (
    DIMENSIONS,
    JOINED,
    MATURITY,
    METRICS,
    OF_CUSTOMERS,
    SPREAD,
    Dimension,
    Metric,
)
from api.groups import Groups
from api.measures import EARNED, Side, in_currency
from api.models import check_model, spread_models
from api.queries import load_sql
from api.rates import Rates
from api.reading import Reading
from api.requests import QueryRequest
from api.selection import (
    END_OF_TIME,
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

TIMES = ("hour", "day", "week", "month")
"""Dimensions of time: answers that have one are in its order unless told otherwise."""
_OF_DROPS = ("site", *TIMES)
"""What is known of a dropped hit."""
_OF_CURVE = ("site", "conversion_type")
"""Filters that narrow the touches from which maturity is learnt: of a channel alone there are soon too few."""
_DAY_S = 86_400
_UNION = "\nUNION ALL\n"
QUALIFIED_LEADS = ("qualified_lead", "sql")
"""Conversion types that are qualified leads unless the installation says otherwise: one name for each sender, so that a
lead that is first marketing and then sales qualified counts once."""


NOT_ORDERS = (
    *(
        "page_view",
        "screen_view",
        "impression",
        "click",
        "video_view",
        "email_open",
        "email_click",
        "install",
    ),
    *("add_to_cart", "sign_up", "lead", "mql", "sql", "qualified_lead"),
)
"""Conversion types that are no orders, whatever an installation calls its leads."""


@dataclass(frozen=True)
class Terms:
    """What an installation means by the words of a question."""

    currency: str = "USD"
    """ISO 4217, when none is asked for."""
    qualified_leads: tuple[str, ...] = QUALIFIED_LEADS
    """Conversion types."""
    pipeline: tuple[str, ...] = ("opportunity",)
    """Conversion types by which a deal is opened: what they are worth is hoped for, not earned."""
    leads: tuple[str, ...] = ()
    """Conversion types by which somebody becomes a lead, and those that bring no money: no orders."""
    funnel: Funnel = DEFAULT_FUNNEL
    """Which stage a conversion type belongs to."""


@dataclass(frozen=True)
class Conversion:
    """Money of other currencies is converted."""

    currencies: tuple[str, ...]
    """Which, the one asked for included."""
    horizon: int
    """The day (since 1970) until which the last rate of each is taken to hold."""
    rates: Rates | None = None
    """Of the days asked for; ``None``: the statement works them out."""

    def days(self, since: int, until: int) -> tuple[int, int]:
        """Whose rates a question from ``since`` to ``until`` (epoch seconds) needs: the first day since 1970, 0 if it
        names none, and the one after the last.
        """
        last = self.horizon if until == END_OF_TIME else min(until // _DAY_S, self.horizon)
        return since // _DAY_S, max(last, since // _DAY_S)


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
    has_cost: bool
    """What ads cost is asked for: the answer says all of it."""
    converts: bool
    """Whether money of other currencies is converted."""
    has_maturity: bool
    """The parameters ``arrived`` and ``at`` are to be told: ``api.maturity``."""
    curve_where: str
    """Which entries of the ledger tell how revenue arrives: of the sites and types asked for, whatever the time."""
    has_people: bool = False
    """Each row has one column more: the visitors whom any id names, by hash. ``JOINED`` is to be told from them."""
    customers: frozenset[str] = frozenset()
    """Of ``OF_CUSTOMERS`` what is to be told. Each row then has two columns more: conversions and shares in turns, and
    whether the row stays if none of them is anybody's first."""
    own_order: tuple[tuple[str, bool], ...] = ()
    """(column, is descending): what SQL cannot put in order, because it does not know people or customers. The
    statement then has all groups, up to ``MOST_IN_ORDER``, and one more."""


MOST_IN_ORDER = 100_000
"""Groups that can be put in order by what SQL does not know."""


def build_plan(
    request: QueryRequest,
    database: str,
    models: Collection[str],
    terms: Terms,
    conversion: Conversion | None = None,
) -> Plan:
    """The statement that answers ``request``. ``models`` are those credited here.

    Raises ``Rejected`` naming the field, with the valid names in the message.
    """
    metrics = [METRICS[name] for name in check_names("metrics", request.metrics, METRICS)]
    dimensions = [DIMENSIONS[n] for n in check_names("dimensions", request.dimensions, DIMENSIONS)]
    check_model(request.model, models)
    spread = _spread_of(request, metrics, models)
    reading = Reading.of(
        metrics,
        request,
        database,
        spread,
        converts=conversion is not None,
        has_rates=conversion is not None and conversion.rates is not None,
    )
    wanted = wanted_currency(request.currency or terms.currency)
    conditions = [condition_of(number, given) for number, given in enumerate(request.filters)]
    _check_metrics(request, metrics, [*dimensions, *(one.dimension for one in conditions)])
    since, until = parse_range(request.date_range)
    time = hours_within(since, until)
    of_models = [measure.name for measure in reading.measures if measure.of]
    asked = [*(name for metric in metrics for name in metric.measures), *of_models]
    measures = tuple(name for name in dict.fromkeys(asked) if name != JOINED and name not in OF_CUSTOMERS)
    has_people = JOINED in asked
    customers = OF_CUSTOMERS.intersection(asked)
    order = _terms(request, metrics, dimensions)
    own_order: tuple[tuple[str, bool], ...] = ()
    if customers or "people" in dict(order):
        own_order, order = tuple((name, way == "desc") for name, way in order), []
    texts = [dimension.text.format(f"d{number}") for number, dimension in enumerate(dimensions)]
    rows = Groups(metrics, dimensions, conditions, time, reading).sql()
    beside = {
        **({"linked": "emptyArrayUInt64()"} if has_people else {}),
        **({"acquired": "emptyArrayUInt64()", "stays": "toUInt8(0)"} if customers else {}),
    }
    no_linked = "".join(f", {empty} AS {name}" for name, empty in beside.items())
    about_all = [condition.sql for condition in conditions if not condition.dimension.of_touch]
    coverage = _Coverage(reading, all_of(*time, *about_all) or "1", no_linked)
    sql = load_sql(
        "query",
        rows=rows,
        texts=", ".join(texts) or "CAST('', 'String')",
        measures=", ".join(f"toString(m_{name})" for name in measures),
        linked="".join(f", m_{name} AS {name}" for name in beside),
        no_linked=no_linked,
        order=_order(order, metrics, dimensions),
        coverage=coverage.sql(),
        drops=qualify(database, "drops"),
        drops_where=all_of(
            *time, "reason = 'bot'", *(one.sql for one in conditions if one.dimension.name in _OF_DROPS)
        ),
        dropped_conversions=qualify(database, "dropped_conversions"),
    )
    parameters = {
        **{"from": since, "to": until, "model": request.model, "basis": request.basis, "currency": wanted},
        **{"limit": MOST_IN_ORDER + 1 if own_order else request.limit + 1},
        **{"offset": 0 if own_order else request.offset},
        **{"pipeline_types": list(terms.pipeline), "qualified_leads": list(terms.qualified_leads)},
        **{"not_orders": [*terms.pipeline, *terms.qualified_leads, *terms.leads, *NOT_ORDERS]},
        **stage_values(terms.funnel),
        **{f"f{number}": list(values) for number, (_, _, values) in enumerate(request.filters)},
        **({} if reading.as_of is None else {"as_of": reading.as_of}),
        **({"models": [*dict.fromkeys((request.model, *spread))]} if spread else {}),
        **{f"s{number}": name for number, name in enumerate(spread)},
        **_of_conversion(conversion, since, until),
    }
    return Plan(
        sql,
        coverage.claims(),
        parameters,
        tuple(metrics),
        tuple(dimensions),
        measures,
        wanted,
        request.limit,
        reading.as_of,
        spread,
        Side.cost in reading.sides,
        conversion is not None,
        MATURITY in asked,
        all_of(*(one.sql for one in conditions if one.dimension.name in _OF_CURVE)) or "1",
        has_people,
        customers,
        own_order,
    )


def _of_conversion(conversion: Conversion | None, since: int, until: int) -> dict[str, Any]:
    if conversion is None:
        return {}
    first, last = conversion.days(since, until)
    return {
        "currencies": list(conversion.currencies),
        "fx_from": first,
        "fx_to": last,
        "fx_horizon": conversion.horizon,
        **(conversion.rates.parameters if conversion.rates else {}),
    }


@dataclass(frozen=True)
class _Coverage:
    """What became of all money of the sides that are read, whatever the rows show of it."""

    reading: Reading
    where: str
    """Time, and filters on what is no property of a touchpoint."""
    no_linked: str

    def sql(self) -> str:
        """Part 1, all revenue; part 6, whether rates that are given hold; part 4, all spend if any is asked for."""
        reading = self.reading
        credit = load_sql(
            "coverage_revenue",
            facts=reading.credit_facts(),
            where=all_of(self.where, "model = {model:String} AND basis = {basis:String}"),
            earned=EARNED,
            **self._by_money,
        )
        parts = [self._part("1", credit)]
        if reading.has_rates:
            fx_rates = qualify(reading.database, "fx_rates")
            parts.append(load_sql("rates_held", fx_rates=fx_rates, no_linked=self.no_linked))
        if Side.cost not in reading.sides:
            return _UNION.join(parts)
        spend = load_sql(
            "coverage_spend",
            facts=reading.cost_facts(),
            where=self.where,
            **self._by_money,
        )
        return _UNION.join([*parts, self._part("4", spend)])

    def claims(self) -> str:
        """Part 3, what dropped hits claim."""
        names = ("dropped_conversions", "conversions")
        rows = load_sql(
            "query_claims",
            dropped_where=self.where,
            known=self.reading.known,
            earned=EARNED,
            **{name: qualify(self.reading.database, name) for name in names},
            **self._by_money,
        )
        return self._part("3", rows)

    @property
    def _by_money(self) -> dict[str, str]:
        converts = self.reading.converts
        return {
            "of_day": ", toDate(hour, 'UTC') AS of_day" if converts else "",
            "by_day": ", of_day" if converts else "",
        }

    def _part(self, part: str, rows: str) -> str:
        places = {"part": part, "no_linked": self.no_linked}
        if not self.reading.converts:
            return load_sql("coverage", rows=rows, **places)
        converted = load_sql("converted", rows=rows, rates=self.reading.rates)
        return load_sql("coverage_converted", rows=converted, worth=in_currency("p_money"), **places)


def _check_metrics(request: QueryRequest, metrics: Sequence[Metric], dimensions: Sequence[Dimension]) -> None:
    """Raise ``Rejected`` where an answer would be a wrong number."""
    for number, metric in enumerate(metrics):
        for dimension in dimensions:
            if Side.cost in metric.sides and not dimension.of_cost:
                raise Rejected(
                    "not_available",
                    f"What ads cost is not known by {dimension.name}. Ask {metric.name} without it.",
                    f"metrics.{number}",
                )
            if metric.of_all and dimension.of_touch:
                raise Rejected(
                    "not_available",
                    f"{metric.name} is all revenue by all spend; it has no part of a {dimension.name}. Ask roas.",
                    f"metrics.{number}",
                )
        if metric.of_cohort and request.basis != "touch":
            raise Rejected(
                "not_available",
                f"{metric.name} is of the touches of a time and what came of them: ask it with basis touch.",
                f"metrics.{number}",
            )


def _spread_of(request: QueryRequest, metrics: Sequence[Metric], models: Collection[str]) -> tuple[str, ...]:
    if not request.spread:
        return ()
    if not any(metric.name in SPREAD for metric in metrics):
        raise Rejected(
            "bad_spread", f"The spread is of {' and '.join(SPREAD)}: ask for at least one of them.", "spread"
        )
    return spread_models(models)


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
