"""Random questions about customers against a slow, plain recount."""

from __future__ import annotations

from decimal import Decimal

from api_store import Store
from clickhouse_connect.driver.client import Client
from customers_recount import World

from api.service import QueryService
from attribution.persons import IdentityRules
from attribution.policy import AttributionPolicy


def test_random_questions_equal_a_plain_recount(clean: tuple[Client, str]) -> None:
    """While people say who they are, and guards trip; now and as it stood; groups add up to the total."""
    rules = IdentityRules(max_visitors_per_id=3, max_visitors_per_person=8, blocked_ids=("till",))
    policy = AttributionPolicy(identity=rules)
    store, world = Store(*clean, policy), World(20261123, rules, Decimal("0.4"))
    store._service = QueryService(*clean, policy, margin=Decimal("0.4"))
    world.fill(store)
    paid_back = added_up = 0
    for _ in range(20):
        world.link(store, 4)
        question = world.question()
        expected = world.recount(question)
        width = len(question["dimensions"])
        given = {key: value for key, value in question.items() if key not in ("metrics", "dimensions")}
        rows = store.rows(" ".join(question["metrics"]), " ".join(question["dimensions"]), **given)
        got = {tuple(str(cell) for cell in row[:width]): row[width:] for row in rows}
        assert got == expected, question
        if "payback_days" in question["metrics"]:
            place = question["metrics"].index("payback_days")
            paid_back += sum(bool(row[place]) for row in expected.values())
        if width and "new_customers" in question["metrics"]:
            place = width + question["metrics"].index("new_customers")
            ((total,),) = store.rows("new_customers", **given)
            assert sum(Decimal(row[place]) for row in rows) == total
            added_up += total > 2
    assert paid_back > 2
    assert added_up > 2
