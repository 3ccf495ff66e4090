"""The roll-up that queries are measured on holds what it says it stands for."""

from __future__ import annotations

from decimal import Decimal
from itertools import product

from clickhouse_connect.driver.client import Client

from attribution.policy import AttributionPolicy
from bench.roll_up import HITS_PER_SESSION, Scale, cells, fill


def test_the_drawn_roll_up_has_all_sessions_and_balanced_credit(clean: tuple[Client, str]) -> None:
    """20,000 sessions, 600 conversions of 30 USD under each model and basis, one in twenty of them unattributed."""
    client, database = clean
    fill(client, database, Scale(50_000, 600))
    sessions, hits = client.query(
        "SELECT sum(sessions), sum(hits) FROM channel_metrics WHERE model = ''"
    ).result_rows[0]
    assert sessions == 20_000 + 9 * 40
    assert 0.9 < hits / sessions / HITS_PER_SESSION < 1.1
    books = client.query(
        "SELECT model, basis, sum(conversions), sum(revenue) FROM channel_metrics WHERE model != '' GROUP BY ALL"
    ).result_rows
    assert {row[:2] for row in books} == set(product(AttributionPolicy().models, ("conversion", "touch")))
    assert {row[2:] for row in books} == {(Decimal(600), Decimal(18_000))}
    seen = client.query(
        "SELECT uniqExact(channel, source, medium, campaign), uniqExact(hour) FROM channel_metrics"
    ).result_rows[0]
    assert seen == (len(cells()), 720)
    unattributed, whole = client.query(
        "SELECT sumIf(revenue, channel = '(unattributed)'), sum(revenue) FROM channel_metrics WHERE model != ''"
    ).result_rows[0]
    assert 0.01 < unattributed / whole < 0.1
