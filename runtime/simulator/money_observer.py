"""Asks the query API for what ads cost, for deals and refunds, and for every metric that there is."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from api.catalog import METRICS
from runtime.simulator.costs import EURO, Billed
from runtime.simulator.crm import CURRENCY
from runtime.simulator.money import Cost, Gain, MoneySnapshot, by_programme
from runtime.simulator.observer import Observer

MODEL = "linear"
TOUCH = "touch"
RATIOS = ("spend", "cpc", "cpm", "ctr", "cpa", "roas", "roi", "cpql", "pipeline_roi")
"""Metrics that are shown for each channel."""
OF_CUSTOMERS = ("spend", "new_customers", "cac", "ltv", "payback_days")
"""Likewise, of the customers whom it has acquired."""


async def read_money(observer: Observer) -> MoneySnapshot:
    """Costs by campaign, as billed and converted, and what deals and orders brought. Raises ``Transient``."""
    billed: dict[Billed, int] = {}
    for currency in (CURRENCY, EURO):
        rows = await observer.ask(["spend"], ["campaign", "day"], MODEL, currency=currency)
        for campaign, day, spend in rows:
            billed[currency, campaign, str(day)] = _cents(spend)
    costs = await observer.ask(
        ["spend", "impressions", "clicks", "views", "installs"], ["campaign"], MODEL, convert=True
    )
    types = await observer.ask(["conversions", "revenue", "pipeline"], ["conversion_type"], MODEL)
    places = await observer.ask(
        ["conversions", "revenue", "pipeline", "qualified_leads"], ["channel", "source", "campaign"], MODEL
    )
    return MoneySnapshot(
        billed,
        {row[0]: Cost(_cents(row[1]), *(int(count or 0) for count in row[2:])) for row in costs},
        {row[0]: _gain(row[1:]) for row in types},
        by_programme(((row[0], row[1], row[2]), _gain(row[3:])) for row in places),
    )


async def read_metrics(observer: Observer) -> dict[str, Any]:
    """Every metric of everything in the installation, by name. Raises ``Transient``."""
    told: dict[str, Any] = {}
    for is_of_cohort in (False, True):
        names = [name for name, metric in METRICS.items() if metric.of_cohort is is_of_cohort]
        basis = {"basis": TOUCH} if is_of_cohort else {}
        (row,) = await observer.ask(names, [], MODEL, convert=True, **basis)
        told |= dict(zip(names, row, strict=True))
    return told


async def read_channels(observer: Observer, metrics: Sequence[str] = RATIOS) -> list[list[Any]]:
    """Channel and ``metrics``, the greatest spend first. Raises ``Transient``."""
    return await observer.ask(metrics, ["channel"], MODEL, convert=True, order_by=[["spend", "desc"]])


def _gain(values: list[Any]) -> Gain:
    conversions, revenue, pipeline, *qualified = values
    return Gain(
        Decimal(str(conversions or 0)),
        _cents(revenue),
        _cents(pipeline),
        Decimal(str(qualified[0] or 0)) if qualified else Decimal(0),
    )


def _cents(amount: str | None) -> int:
    """Of an amount in major units with the two decimals of dollars and euros; raises ``ValueError`` for more."""
    cents = Decimal(amount or 0) * 100
    if cents != int(cents):
        raise ValueError(f"{amount} has a fraction of a cent")
    return int(cents)
