"""I1, I2, I3 with refunds that hits report, through the real stages: crashes, a store set back, restatements."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from refund_worlds import refund_worlds, shop_tellings
from stream_checks import assert_tallies_equal_rows
from stream_house import Accidents, play
from stream_worlds import assert_equals_oracle

from attribution.conversions import ConversionFact
from attribution.hit import Hit
from attribution.oracle import oracle
from attribution.policy import DAY_MS, AttributionPolicy


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=refund_worlds(),
    shop=shop_tellings(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 200), max_size=4),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
    restates=st.booleans(),
)
def test_orders_are_paid_back_once_whatever_happens(
    empty_valkey: str,
    world: tuple[list[Hit], AttributionPolicy],
    shop: list[ConversionFact],
    seed: int,
    crashes: list[int],
    sets_back: float,
    restates: bool,
) -> None:
    """Books balance as of every instant after every insert; what stands in the end is what one pass says."""
    hits, policy = world
    accidents = Accidents(sleeps=0.05, sets_back=sets_back)
    restated = (
        [AttributionPolicy(models=policy.models[1:], time_decay_half_life_ms=DAY_MS)] if restates else []
    )
    house = asyncio.run(play(empty_valkey, hits, [policy], seed, crashes, accidents, restated, told=shop))
    note(f"{house.faults.raised} crashes at {house.faults.count} points")
    expected = oracle(hits, restated[-1] if restated else policy, "USD", told=shop)
    assert_equals_oracle(house.writer, expected)
    assert_tallies_equal_rows(house)
    paid_back = {row["conversion_id"] for row in house.writer.dicts("credits") if row["cause"] == "refund"}
    event(f"orders paid back: {min(len(paid_back), 3)}")
