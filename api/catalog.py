"""What can be asked: metrics and dimensions by name. User text is only ever looked up here, never put into
SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from api.answers import Cell
from api.measures import MEASURES, Side
from api.numbers import money_each, money_each_finely, money_text, plain_number, ratio, rounded_money
from api.reach import MEASURES as REACH_MEASURES
from api.reach import reach
from attribution.funnel import NO_STAGE

T = TypeVar("T", bound=Cell)
_SIDES = {measure.name: measure.side for measure in MEASURES}


@dataclass(frozen=True)
class Dimension:
    """Something to group and filter by. ``key`` is SQL over fact rows, ``text`` SQL over the key ``{0}``."""

    name: str
    key: str
    text: str = "CAST({0}, 'String')"
    of_touch: bool = False
    """A property of the touchpoint: unattributed credit has none, so coverage ignores filters on it."""
    in_roll_up: bool = True
    of_traffic: bool = True
    """Traffic rows carry it; else they stand under \"\" and filters on it leave them alone. So with cost."""
    of_cost: bool = True
    """What ads cost is known by it, or does not depend on it; else the two cannot be asked together."""
    of_scene: bool = False
    """Where the touch was made: the ledger does not keep it, the touchpoint does (``api.scenes``)."""


@dataclass(frozen=True)
class Metric:
    """A column of the answer, computed from measures after everything is summed."""

    name: str
    sides: frozenset[Side]
    """Whose groups the metric asks for."""
    measures: tuple[str, ...]
    """Numerator first, then the base of a ratio."""
    order: str
    """SQL over the measures to sort by; "" where SQL does not know them."""
    value: Callable[..., Cell]
    """From the measures (``int`` or ``Decimal``) and the currency to the value in the answer."""
    base: str = ""
    """What a ratio divides by, for ``meta.bases``."""
    needs: frozenset[Side] = frozenset()
    """Sides that a ratio only divides by: read, but their groups are not asked for."""
    of_all: bool = False
    """Of all revenue and all spend: no property of a touchpoint can part it."""
    of_cohort: bool = False
    """Of touches and what came of them: asked under basis ``touch`` only."""

    @property
    def has_visits(self) -> bool:
        """Whether it counts visits, which are not dated by when they became known."""
        sides = (_SIDES.get(name) for name in self.measures)
        return Side.traffic in self.sides | self.needs or Side.traffic in sides

    @property
    def has_customers(self) -> bool:
        """Whether it is of people who bought for the first time."""
        return Side.customer in self.sides


MATURITY = "projected"
"""The measure that needs to know how revenue arrives: ``api.maturity``."""
JOINED = "joined"
"""By how many the visitors of a group are more than the people that they are. SQL does not know it: ``api.people``."""

NEW, LIFETIME, RATED, PAYBACK = "new", "lifetime", "rated", "payback"
"""New customers, what they have brought to date, how many of them have money that is counted, and days until that paid
back. SQL does not know them either: ``api.customers``."""
OF_CUSTOMERS = frozenset({NEW, LIFETIME, RATED, PAYBACK})


def _count(value: int, currency: str) -> int:
    return value


def _people(visitors: int, joined: int, currency: str) -> int:
    return visitors - joined


def _weight(value: Decimal, currency: str) -> Decimal:
    return plain_number(value)


def _money(value: Decimal, currency: str) -> str:
    return money_text(value, currency)


def _ratio(value: Decimal | int, base: Decimal | int, currency: str) -> Decimal | None:
    return ratio(value, base)


def _gain(value: Decimal, cost: Decimal, currency: str) -> Decimal | None:
    return ratio(value - cost, cost)


def _claimed(value: Decimal, claims: int, currency: str) -> Decimal | None:
    """What nobody claims is unknown, not 0."""
    return plain_number(value) if claims else None


def _claimed_money(value: Decimal, claims: int, currency: str) -> str | None:
    return rounded_money(value, currency) if claims else None


def _maturity(value: Decimal, projected: Decimal, currency: str) -> Decimal | None:
    """Nothing of what has too little of it to be projected."""
    return ratio(value, projected) if projected.is_finite() else None


def _days(days: int | None, spend: Decimal, currency: str) -> int | None:
    return days


def _thousandth(value: Decimal, base: int, currency: str) -> str | None:
    return money_each(1000 * value, base, currency)


def written(value: Callable[..., T], *, converts: bool) -> Callable[..., T | str]:
    """How a value is written: money of the ledger as it is, but rounded if some of it was converted."""
    return rounded_money if converts and value is _money else value


SPREAD: dict[str, Callable[..., Decimal | str]] = {"conversions": _weight, "revenue": _money}
"""Metrics that every model can be asked for at once, and how their values are written."""

_traffic, _credit, _cost = frozenset({Side.traffic}), frozenset({Side.credit}), frozenset({Side.cost})
_customer = frozenset({Side.customer})
_both = _credit | _cost
"""Spend without conversions stays, and so do conversions that cost nothing."""


def _number(measure: str) -> str:
    # By way of text: the small embedded engine makes no float of a decimal of 76 digits.
    return f"toFloat64(toString(m_{measure}))"


def _quotient(value: str, base: str) -> str:
    return f"{_number(value)} / nullIf({_number(base)}, 0)"


def _each(
    name: str,
    sides: frozenset[Side],
    value: str,
    base: str,
    said: str,
    shown: Callable[..., str | Decimal | None] = money_each,
) -> Metric:
    """A plain ratio of two measures."""
    return Metric(name, sides, (value, base), _quotient(value, base), shown, base=said)


def _return(name: str, value: str, said: str, *, of_cohort: bool = False) -> Metric:
    """(value - spend) / spend: has the order of value / spend."""
    measures = (value, "spend_base")
    return Metric(name, _both, measures, _quotient(*measures), _gain, base=said, of_cohort=of_cohort)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(
            Metric(name, _traffic, (name,), f"m_{name}", _count)
            for name in ("hits", "page_views", "impressions", "sessions", "visitors")
        ),
        Metric("people", _traffic, ("visitors", JOINED), "m_visitors", _people),
        *(Metric(name, _cost, (name,), f"m_{name}", _count) for name in ("clicks", "views", "installs")),
        Metric("spend", _cost, ("spend",), "m_spend", rounded_money),
        Metric(
            "platform_conversions",
            _cost,
            ("platform_conversions", "claims"),
            "if(m_claims = 0, NULL, m_platform_conversions)",
            _claimed,
        ),
        Metric(
            "platform_value",
            _cost,
            ("platform_value", "claims_of_value"),
            "if(m_claims_of_value = 0, NULL, m_platform_value)",
            _claimed_money,
        ),
        Metric(
            "reach",
            _cost,
            REACH_MEASURES,
            "if(m_reached > 0, m_reached, if(m_figures = 1 AND m_figures_with_reach = 1, m_reach, NULL))",
            reach,
        ),
        Metric("conversions", _credit, ("conversions",), "m_conversions", _weight),
        Metric("revenue", _credit, ("revenue",), "m_revenue", _money),
        Metric("qualified_leads", _credit, ("qualified_leads",), "m_qualified_leads", _weight),
        Metric("pipeline", _credit, ("pipeline",), "m_pipeline", _money),
        Metric(
            "cr",
            _credit,
            ("conversions", "sessions_base"),
            _quotient("conversions", "sessions_base"),
            _ratio,
            base="sessions",
            needs=_traffic,
        ),
        _each("aov", _credit, "order_revenue", "paid", "orders in the currency"),
        _each("cpc", _cost, "spend", "clicks", "clicks", money_each_finely),
        _each("cpm", _cost, "spend", "impressions", "thousand impressions", _thousandth),
        _each("cpv", _cost, "spend", "views", "views", money_each_finely),
        _each("cpi", _cost, "spend", "installs", "installs"),
        _each("ctr", _cost, "clicks", "impressions", "impressions", _ratio),
        _each("cpa", _both, "spend_base", "conversions", "conversions"),
        _each("cpql", _both, "spend_base", "qualified_leads", "qualified_leads"),
        _each("roas", _both, "attributed", "spend_base", "spend, of attributed revenue", _ratio),
        _return("roi", "attributed", "spend, of attributed revenue less spend"),
        _return("pipeline_roi", "attributed_pipeline", "spend, of attributed pipeline less spend"),
        _return(
            "revenue_roi",
            "attributed",
            "spend, of attributed revenue of these touches less spend",
            of_cohort=True,
        ),
        Metric(
            "maturity",
            _credit,
            ("attributed", MATURITY),
            f"if(isFinite(m_projected), {_number('attributed')} / nullIf(m_projected, 0), NULL)",
            _maturity,
            base="what these touches are likely to bring in the end",
            of_cohort=True,
        ),
        Metric(
            "mer",
            _both,
            ("revenue", "spend_base"),
            _quotient("revenue", "spend_base"),
            _ratio,
            base="all spend, of all revenue",
            of_all=True,
        ),
        Metric("new_customers", _customer, (NEW,), "", _weight),
        Metric("cac", _customer | _cost, ("spend_base", NEW), "", money_each, base="new customers"),
        Metric(
            "ltv", _customer, (LIFETIME, RATED), "", money_each, base="new customers whose money is counted"
        ),
        Metric(
            "payback_days",
            _customer | _cost,
            (PAYBACK, "spend_base"),
            "",
            _days,
            base="spend, of margin to date",
        ),
    )
}

_DAY = "toDate(hour, 'UTC')"
_STAGE = (
    "if(conversion_type = '', '', transform(CAST(conversion_type, 'String'), {stage_types:Array(String)},"
    f" {{stage_names:Array(String)}}, '{NO_STAGE}'))"
)
"""Of a conversion the stage of the funnel that its type belongs to; of traffic and cost none."""

DIMENSIONS: dict[str, Dimension] = {
    dimension.name: dimension
    for dimension in (
        Dimension("channel", "channel", of_touch=True),
        Dimension("source", "source", of_touch=True),
        Dimension("medium", "medium", of_touch=True),
        Dimension("campaign", "campaign", of_touch=True),
        Dimension("landing_page", "landing_page", of_touch=True, in_roll_up=False, of_cost=False),
        Dimension("ad_network", "ad_network", of_touch=True, in_roll_up=False),
        Dimension("term", "term", of_touch=True, in_roll_up=False, of_cost=False),
        Dimension("content", "content", of_touch=True, in_roll_up=False, of_cost=False),
        Dimension("country", "country", of_touch=True, in_roll_up=False, of_cost=False, of_scene=True),
        Dimension("device", "device", of_touch=True, in_roll_up=False, of_cost=False, of_scene=True),
        Dimension("site", "site"),
        Dimension("conversion_type", "conversion_type", of_traffic=False),
        Dimension("stage", _STAGE, of_traffic=False),
        Dimension("hour", "hour", "formatDateTime({0}, '%Y-%m-%dT%H:00:00Z', 'UTC')"),
        Dimension("day", _DAY, "toString({0})"),
        Dimension("week", "toMonday(hour, 'UTC')", "toString({0})"),
        Dimension("month", "toStartOfMonth(hour, 'UTC')", "formatDateTime({0}, '%Y-%m')"),
    )
}

OPERATORS: dict[str, str] = {
    "is": "{column} IN {{{parameter}:Array(String)}}",
    "is_not": "{column} NOT IN {{{parameter}:Array(String)}}",
    "contains": "multiSearchAnyCaseInsensitiveUTF8({column}, {{{parameter}:Array(String)}})",
    "contains_not": "NOT multiSearchAnyCaseInsensitiveUTF8({column}, {{{parameter}:Array(String)}})",
}
"""``is`` compares exactly, ``contains`` ignores case; several values mean any of them (or none, with
``not``).
"""
