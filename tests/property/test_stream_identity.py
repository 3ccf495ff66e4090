"""I1, I2, I3 with people of several devices, through the real stages."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from identity_worlds import people_worlds
from stream_house import Accidents, House, assert_tallies_equal_rows, play
from stream_worlds import assert_equals_oracle

from attribution.hit import Hit
from attribution.oracle import World, oracle
from attribution.policy import AttributionPolicy


def assert_links_equal(house: House, world: World) -> None:
    """The signed rows of a link add up to whether it holds."""
    signs: Counter[tuple[str, str, str]] = Counter()
    for row in house.writer.dicts("identity_links"):
        signs[row["site"], row["visitor_id"], row["id"]] += row["sign"]
    assert {link for link, sign in signs.items() if sign} == {
        link for link, held in world.links.items() if held
    }
    assert set(signs.values()) <= {0, 1}


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=people_worlds(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 200), max_size=6),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
)
def test_people_are_credited_as_one_whatever_happens(
    empty_valkey: str,
    world: tuple[list[Hit], AttributionPolicy],
    seed: int,
    crashes: list[int],
    sets_back: float,
) -> None:
    """Links and their withdrawals in any order among visits and purchases, with crashes and sleeping owners."""
    hits, policy = world
    accidents = Accidents(sleeps=0.05, sets_back=sets_back)
    house = asyncio.run(play(empty_valkey, hits, [policy], seed, crashes, accidents))
    note(f"{house.faults.raised} crashes at {house.faults.count} points")
    expected = oracle(hits, policy, "USD")
    assert_equals_oracle(house.writer, expected)
    assert_links_equal(house, expected)
    assert_tallies_equal_rows(house)
    event(f"links: {min(len(expected.links), 5)}")
