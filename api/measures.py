"""The sums that answers are made of, as SQL. Text of users is in none of it.

Money stands in the currency it was billed in. In one statement it is either summed where that is the currency asked
for, or summed by currency and day first and converted afterwards (``sql/converted.sql``): then a measure is read as
``part`` and summed up as ``converted``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

UNATTRIBUTED_CHANNEL = "(unattributed)"
"""The channel of revenue without any touchpoint in its window, so that the rows add up to all revenue."""


class Side(Enum):
    """Which rows a measure comes from."""

    traffic = "traffic"
    """Hits and sessions; they have no model, basis, conversion type or currency."""
    credit = "credit"
    """The ledger, under one model and basis."""
    cost = "cost"
    """What ads cost, and what came with it in the platforms' reports. No model, basis or conversion type."""
    customer = "customer"
    """People who bought for the first time, as the model credits that purchase. Not of SQL: ``api.customers``."""


class Rows(Enum):
    """Which rows a measure is summed over: those of each are read by a statement of their own."""

    heard = "heard"
    """Of hits, sessions and the ledger, or their roll-up."""
    cost = "cost"
    """Of table ``spend``, or its roll-up."""
    told = "told"
    """Of table ``spend``: the roll-up does not keep what networks claim, nor what does not add up."""
    reached = "reached"
    """Impressions that the own pixel heard, by who saw them: people do not add up, so no roll-up keeps them."""


_HEARD = frozenset({Rows.heard})
_COST = frozenset({Rows.cost})
_TOLD = frozenset({Rows.told})
_REACHED = frozenset({Rows.reached})


class Kind(Enum):
    """What is summed, with an aggregate of the same type that is always zero.

    Not CAST or toDecimal128: the small embedded engine has neither for Decimal(38, n).
    """

    count = "sum(toInt64(0))"
    weight = "sum(toDecimal64(0, 9))"
    money = "sum(toDecimal64(0, 4))"
    millionths = "sum(toDecimal64(0, 6))"
    estimate = "sum(toFloat64(0))"


_WANTED = "currency = {currency:String}"


@dataclass(frozen=True)
class Measure:
    """A sum over fact rows."""

    name: str
    side: Side
    kind: Kind
    column: str
    condition: str = ""
    """Which rows are summed."""
    is_of_money: bool = False
    """Only of rows whose money is counted: in the currency asked for, or converted to it."""
    rows: frozenset[Rows] = _HEARD
    of: str = ""
    """The metric whose spread it is part of."""
    is_distinct: bool = False
    """``column`` is not summed: its distinct values are counted, by a sketch. Never of money."""

    @property
    def zero(self) -> str:
        """An aggregate of the same type that is always zero."""
        return self.kind.value

    @property
    def part(self) -> str:
        """The aggregate over rows of one currency."""
        return self._distinct if self.is_distinct else _sum(self.column, self.condition)

    @property
    def total(self) -> str:
        """The aggregate over rows of all currencies, when money of the others is left out."""
        if self.is_distinct:
            return self._distinct
        return _sum(self.column, self.condition, _WANTED if self.is_of_money else "")

    @property
    def _distinct(self) -> str:
        return f"toInt64(uniq({self.column}))"

    @property
    def converted(self) -> str:
        """The aggregate over parts ``p_<name>`` by currency and day, beside which ``to_rate`` and ``from_rate`` stand:
        the first is 0 where none is known.
        """
        part = f"p_{self.name}"
        if not self.is_of_money:
            return f"sum({part})"
        if self.kind is Kind.weight:
            return f"sumIf({part}, to_rate != 0)"
        if self.kind is Kind.estimate:
            return f"sum({part} * toFloat64(to_rate) / toFloat64(from_rate))"
        return f"sum({in_currency(part)})"


def in_currency(amount: str) -> str:
    """SQL of an amount in the currency asked for: exact up to the eighteenth decimal, beyond it cut off; 0 where no
    rate is known.
    """
    # Of the engine's functions for 76 digits: a product of Decimal(38) and Decimal(18) is not there in the small one.
    return f"divideDecimal(multiplyDecimal({amount}, to_rate, 14), from_rate, 18)"


def _sum(column: str, *conditions: str) -> str:
    given = [condition for condition in conditions if condition]
    return f"sumIf({column}, {' AND '.join(given)})" if given else f"sum({column})"


PIPELINE = "conversion_type IN {pipeline_types:Array(String)}"
EARNED = "conversion_type NOT IN {pipeline_types:Array(String)}"
"""An open deal is no revenue: what it may bring is pipeline, what it brought is a conversion of its own."""
ORDERED = "conversion_type NOT IN {not_orders:Array(String)}"
"""A lead or a cart is no order."""
_ATTRIBUTED = f"channel != '{UNATTRIBUTED_CHANNEL}'"
# The place of an hour in ``arrived`` (sql/arrived.sql) by its age; 0 where too little has arrived by then.
_AGE = "intDiv(toInt64({at:UInt32}) - toInt64(toUnixTimestamp(hour)), 3600)"
_PLACE = f"greatest(if({_AGE} < 48, {_AGE}, 46 + intDiv({_AGE}, 24)), 1)"
_ARRIVED = f"arrayElement({{arrived:Array(Float64)}}, least({_PLACE}, length({{arrived:Array(Float64)}})))"
_QUALIFIED = "conversion_type IN {qualified_leads:Array(String)}"

_traffic, _credit, _cost = Side.traffic, Side.credit, Side.cost

MEASURES: tuple[Measure, ...] = (
    Measure("hits", _traffic, Kind.count, "hits"),
    Measure("page_views", _traffic, Kind.count, "page_views"),
    Measure("impressions", _traffic, Kind.count, "impressions", rows=_HEARD | _COST),
    Measure("sessions", _traffic, Kind.count, "sessions"),
    Measure("conversions", _credit, Kind.weight, "conversions"),
    Measure("revenue", _credit, Kind.money, "revenue", EARNED, is_of_money=True),
    # Orders whose money is counted, and that money: the average order value.
    Measure("paid", _credit, Kind.weight, "conversions", ORDERED, is_of_money=True),
    Measure("order_revenue", _credit, Kind.money, "revenue", ORDERED, is_of_money=True),
    Measure("attributed", _credit, Kind.money, "revenue", f"{EARNED} AND {_ATTRIBUTED}", is_of_money=True),
    Measure("pipeline", _credit, Kind.money, "revenue", PIPELINE, is_of_money=True),
    Measure(
        "attributed_pipeline",
        _credit,
        Kind.money,
        "revenue",
        f"{PIPELINE} AND {_ATTRIBUTED}",
        is_of_money=True,
    ),
    Measure(
        "projected",
        _credit,
        Kind.estimate,
        f"if(revenue = 0, 0, toFloat64(revenue) / {_ARRIVED})",
        f"{EARNED} AND {_ATTRIBUTED}",
        is_of_money=True,
    ),
    Measure("qualified_leads", _credit, Kind.weight, "conversions", _QUALIFIED),
    Measure("spend", _cost, Kind.millionths, "spend", is_of_money=True, rows=_COST),
    Measure("clicks", _cost, Kind.count, "clicks", rows=_COST),
    Measure("views", _cost, Kind.count, "views", rows=_COST),
    Measure("installs", _cost, Kind.count, "installs", rows=_COST),
    Measure("platform_conversions", _cost, Kind.millionths, "platform_conversions", rows=_TOLD),
    Measure("claims", _cost, Kind.count, "if(has_platform_conversions, sign, 0)", rows=_TOLD),
    Measure("platform_value", _cost, Kind.millionths, "platform_value", is_of_money=True, rows=_TOLD),
    Measure("claims_of_value", _cost, Kind.count, "if(has_platform_value, sign, 0)", rows=_TOLD),
    Measure("reach", _cost, Kind.count, "reach * sign", rows=_TOLD),
    Measure("figures_with_reach", _cost, Kind.count, "if(has_reach, sign, 0)", rows=_TOLD),
    Measure("figures", _cost, Kind.count, "sign", rows=_TOLD),
    Measure("reached", _cost, Kind.count, "visitor", rows=_REACHED, is_distinct=True),
)
"""Visitors are no measure: they do not add up over groups and are counted apart (``grouped_visitors.sql``)."""

ALWAYS: dict[Side, frozenset[str]] = {
    Side.traffic: frozenset({"hits", "sessions"}),
    Side.credit: frozenset({"conversions", "revenue", "paid"}),
    Side.cost: frozenset({"spend"}),
    Side.customer: frozenset(),
}
"""Read whenever the side is asked for: what a group must have of it to be there."""
