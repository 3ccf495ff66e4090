"""From what a statement found to the rows of an answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from api.acquired import acquired_by
from api.answers import Cell, Range
from api.catalog import JOINED, LIFETIME, NEW, PAYBACK, RATED, SPREAD, written
from api.customers import Known
from api.plan import Plan
from attribution.bulk.persons import Joined

_COUNTS = frozenset(
    {
        *("hits", "page_views", "impressions", "sessions", "sessions_base", "visitors"),
        *(
            "clicks",
            "views",
            "installs",
            "claims",
            "claims_of_value",
            "reach",
            "reached",
            "figures_with_reach",
            "figures",
        ),
    }
)


class Group(NamedTuple):
    """What was found of a group."""

    dimensions: Sequence[str]
    texts: Sequence[str]
    """Its measures as ``Plan.measures`` names them."""
    values: dict[str, Any]
    """All its measures, those that SQL does not know, too."""


def groups_of(
    plan: Plan, found: Sequence[Sequence[Any]], joined: Joined | None, known: Known | None, margin: Decimal
) -> list[Group]:
    """The groups of part 0 of ``query.sql``, in its order; without those that are there for customers who are none.

    ``joined``: who is one person with whom, if people are asked for; ``known``: all customers, if they are.
    """
    asked = sorted((row for row in found if row[0] == 0), key=lambda row: row[1])
    if not asked and not plan.dimensions and plan.parameters["offset"] == 0:
        # A total over nothing is zero, not absent.
        asked = [(0, 0, [], ["0"] * len(plan.measures), *([[]] if plan.has_people else []), [], 1)]
    groups = [Group(row[2] if plan.dimensions else (), row[3], _values(plan, row[3])) for row in asked]
    if joined is not None:
        for group, row in zip(groups, asked, strict=True):
            group.values[JOINED] = joined.surplus(np.array(row[4], dtype=np.uint64))
    if known is None:
        return groups
    spent = [group.values["spend_base"] for group in groups] if PAYBACK in plan.customers else None
    acquired = acquired_by([row[-2] for row in asked], known, spent, margin)
    standing = []
    for group, row, one in zip(groups, asked, acquired, strict=True):
        group.values.update({NEW: one.new_customers, LIFETIME: one.lifetime, RATED: one.rated})
        group.values[PAYBACK] = one.payback_days
        if row[-1] or one.new_customers or not plan.dimensions:
            standing.append(group)
    return standing


def _values(plan: Plan, texts: Sequence[str]) -> dict[str, Any]:
    return {
        name: int(text) if name in _COUNTS else Decimal(text)
        for name, text in zip(plan.measures, texts, strict=True)
    }


def cells_of(plan: Plan, group: Group) -> list[Cell]:
    """Dimensions, then metrics."""
    computed = (
        written(metric.value, converts=plan.converts)(
            *(group.values[name] for name in metric.measures), plan.currency
        )
        for metric in plan.metrics
    )
    return [*group.dimensions, *computed]


def ranges_of(plan: Plan, group: Group) -> dict[str, Range]:
    """By metric: the lowest and the highest that any of the models says, and which do."""
    values = dict(zip(plan.measures, group.texts, strict=True))
    ranges = {}
    for metric in plan.metrics:
        if metric.name in SPREAD:
            said = {
                model: Decimal(values[f"{metric.name}_{number}"]) for number, model in enumerate(plan.spread)
            }
            low, high = min(said.values()), max(said.values())
            shown = written(SPREAD[metric.name], converts=plan.converts)
            ranges[metric.name] = Range(
                shown(low, plan.currency),
                shown(high, plan.currency),
                tuple(model for model, value in said.items() if value == low),
                tuple(model for model, value in said.items() if value == high),
            )
    return ranges
