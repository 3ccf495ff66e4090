"""Random questions against a slow, plain recount."""

from __future__ import annotations

from decimal import Decimal

import pytest
from api_recount import World
from api_store import Store
from clickhouse_connect.driver.client import Client


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


def test_random_questions_equal_a_plain_recount(store: Store) -> None:
    """Every combination of metrics, dimensions, filters, dates, model, basis and currency, before and after a merge."""
    world = World(20261122)
    world.fill(store)
    for number in range(36):
        if number == 18:
            store.merge()
        question = world.question()
        expected = world.recount(question)
        width = len(question["dimensions"])
        got = {
            tuple(str(cell) for cell in cells[:width]): [Decimal(str(cell)) for cell in cells[width:]]
            for cells in store.ask(
                " ".join(question["metrics"]),
                " ".join(question["dimensions"]),
                **{key: value for key, value in question.items() if key not in ("metrics", "dimensions")},
            ).rows
        }
        assert got == expected, question
