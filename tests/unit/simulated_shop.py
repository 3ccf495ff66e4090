"""The shop that the tests of the simulator's costs, deals and refunds look at."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from runtime.simulator.costs import Costs, build_costs
from runtime.simulator.instants import DAY_MS
from runtime.simulator.world import World, build_world

ENDS_AT = 1_793_000_000_000
"""Epoch milliseconds, UTC."""
DAYS = 45
RATES = {date(2026, 1, 2): Decimal("1.1172"), date(2026, 10, 1): Decimal("1.17005")}
"""Dollars for one euro, by the first day."""


def shop_world(seed: int = 7, people: int = 1_500, run_id: str = "r") -> World:
    """Its people and what they do."""
    return build_world(seed=seed, people=people, ends_at=ENDS_AT, days=DAYS, run_id=run_id, has_crm=True)


def shop_costs(world: World, run_id: str = "r", ends_at: int = ENDS_AT) -> Costs:
    """What its programmes cost."""
    first_day = ENDS_AT // DAY_MS - DAYS
    return build_costs(world.truth.clicks, seed=7, first_day=first_day, ends_at=ends_at, run_id=run_id)
