"""What can be asked: metrics and dimensions by name. User text is only ever looked up here, never put into
SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import Enum

from attribution.money import CURRENCIES

RATIO_DIGITS = Decimal("0.000001")

UNATTRIBUTED_CHANNEL = "(unattributed)"
"""The channel of revenue without any touchpoint in its window, so that the rows add up to all revenue."""


class Side(Enum):
    """Which rows a measure comes from."""

    traffic = "traffic"
    """Hits and sessions; they have no model, basis, conversion type or currency."""
    credit = "credit"
    """The ledger, under one model and basis."""


@dataclass(frozen=True)
class Measure:
    """A sum that SQL computes over fact rows."""

    name: str
    side: Side
    total: str
    """The aggregate."""
    zero: str
    """An aggregate of the same type that is always zero."""
    condition: str = "1"
    """Which credit rows are summed."""
    column: str = ""
    """Of credit: what is summed."""
    of: str = ""
    """The metric whose spread it is part of."""

    def total_of(self, model: str) -> str:
        """The aggregate over the rows of one of several models that are read at once; ``model`` is SQL."""
        return f"sumIf({self.column}, {self.condition} AND model = {model})"


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
    """Traffic rows carry it; else they stand under \"\" and filters on it leave them alone."""


@dataclass(frozen=True)
class Metric:
    """A column of the answer, computed from measures after everything is summed."""

    name: str
    side: Side
    """Whose groups the metric asks for."""
    measures: tuple[str, ...]
    """Numerator first, then the base of a ratio."""
    order: str
    """SQL over the measures to sort by."""
    value: Callable[..., int | str | Decimal | None]
    """From the measures (``int`` or ``Decimal``) and the currency to the value in the answer."""
    base: str = ""
    """What a ratio divides by, for ``meta.bases``."""
    needs_traffic: bool = False
    """A credit metric whose base is traffic."""


_COUNT = "sum(toInt64(0))"
# Not CAST or toDecimal128: the small embedded engine has neither for Decimal(38, n).
_WEIGHT = "sum(toDecimal64(0, 9))"
_MONEY = "sum(toDecimal64(0, 4))"
_IN_CURRENCY = "currency = {currency:String}"

MEASURES: tuple[Measure, ...] = (
    Measure("hits", Side.traffic, "sum(hits)", _COUNT),
    Measure("page_views", Side.traffic, "sum(page_views)", _COUNT),
    Measure("impressions", Side.traffic, "sum(impressions)", _COUNT),
    Measure("sessions", Side.traffic, "sum(sessions)", _COUNT),
    Measure("conversions", Side.credit, "sum(conversions)", _WEIGHT, column="conversions"),
    Measure("revenue", Side.credit, f"sumIf(revenue, {_IN_CURRENCY})", _MONEY, _IN_CURRENCY, "revenue"),
    # Conversions in the currency asked for: what average order value divides by.
    Measure("paid", Side.credit, f"sumIf(conversions, {_IN_CURRENCY})", _WEIGHT, _IN_CURRENCY, "conversions"),
)
"""Visitors are no measure: they do not add up over groups and are counted apart (``grouped_with_visitors.sql``)."""

JOINED = "joined"
"""By how many the visitors of a group are more than the people that they are. SQL does not know it: ``api.people``."""


def money_text(amount: Decimal, currency: str) -> str:
    """``amount`` with the decimals of its currency; digits beyond them are kept rather than rounded away."""
    known = CURRENCIES.get(currency)
    unit = Decimal(1).scaleb(-(known.exponent if known else 2))
    rounded = amount.quantize(unit)
    return f"{rounded if rounded == amount else amount.normalize():f}"


def plain_number(amount: Decimal) -> Decimal:
    """``amount`` without zeros at the end: ``1.500000000`` is 1.5, ``100`` stays 100."""
    return Decimal(f"{amount.normalize():f}")


def _count(value: int, currency: str) -> int:
    return value


def _people(visitors: int, joined: int, currency: str) -> int:
    return visitors - joined


def _weight(value: Decimal, currency: str) -> Decimal:
    return plain_number(value)


def _money(value: Decimal, currency: str) -> str:
    return money_text(value, currency)


def _ratio(value: Decimal, base: int, currency: str) -> Decimal | None:
    return plain_number((value / base).quantize(RATIO_DIGITS, ROUND_HALF_EVEN)) if base else None


def _average_money(value: Decimal, base: Decimal, currency: str) -> str | None:
    if not base:
        return None
    known = CURRENCIES.get(currency)
    unit = Decimal(1).scaleb(-(known.exponent if known else 2))
    return f"{(value / base).quantize(unit, ROUND_HALF_EVEN):f}"


SPREAD: dict[str, Callable[[Decimal, str], Decimal | str]] = {"conversions": _weight, "revenue": _money}
"""Metrics that every model can be asked for at once, and how their values are written."""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *(
            Metric(name, Side.traffic, (name,), f"m_{name}", _count)
            for name in ("hits", "page_views", "impressions", "sessions", "visitors")
        ),
        Metric("people", Side.traffic, ("visitors", JOINED), "m_visitors", _people),
        Metric("conversions", Side.credit, ("conversions",), "m_conversions", _weight),
        Metric("revenue", Side.credit, ("revenue",), "m_revenue", _money),
        Metric(
            "cr",
            Side.credit,
            ("conversions", "sessions_base"),
            "toFloat64(m_conversions) / nullIf(m_sessions_base, 0)",
            _ratio,
            base="sessions",
            needs_traffic=True,
        ),
        Metric(
            "aov",
            Side.credit,
            ("revenue", "paid"),
            "toFloat64(m_revenue) / nullIf(toFloat64(m_paid), 0)",
            _average_money,
            base="conversions in the currency",
        ),
    )
}

LATER_METRICS = frozenset(
    {
        *("reach", "clicks", "views", "installs", "spend", "qualified_leads", "pipeline"),
        *("cpc", "cpm", "cpv", "ctr", "cpa", "cpql", "cac", "cpi", "roas", "roi", "ltv"),
        *("pipeline_roi", "revenue_roi", "payback_days"),
    }
)
"""Named by the contract, answered by a later version."""

_DAY = "toDate(hour, 'UTC')"

DIMENSIONS: dict[str, Dimension] = {
    dimension.name: dimension
    for dimension in (
        Dimension("channel", "channel", of_touch=True),
        Dimension("source", "source", of_touch=True),
        Dimension("medium", "medium", of_touch=True),
        Dimension("campaign", "campaign", of_touch=True),
        Dimension("landing_page", "landing_page", of_touch=True, in_roll_up=False),
        Dimension("site", "site"),
        Dimension("conversion_type", "conversion_type", of_traffic=False),
        Dimension("hour", "hour", "formatDateTime({0}, '%Y-%m-%dT%H:00:00Z', 'UTC')"),
        Dimension("day", _DAY, "toString({0})"),
        Dimension("week", "toMonday(hour, 'UTC')", "toString({0})"),
        Dimension("month", "toStartOfMonth(hour, 'UTC')", "formatDateTime({0}, '%Y-%m')"),
    )
}

LATER_DIMENSIONS = frozenset({"term", "content", "ad_network", "country", "device", "stage"})
"""Named by the contract, answered by a later version."""

OPERATORS: dict[str, str] = {
    "is": "{column} IN {{{parameter}:Array(String)}}",
    "is_not": "{column} NOT IN {{{parameter}:Array(String)}}",
    "contains": "multiSearchAnyCaseInsensitiveUTF8({column}, {{{parameter}:Array(String)}})",
    "contains_not": "NOT multiSearchAnyCaseInsensitiveUTF8({column}, {{{parameter}:Array(String)}})",
}
"""``is`` compares exactly, ``contains`` ignores case; several values mean any of them (or none, with
``not``).
"""
