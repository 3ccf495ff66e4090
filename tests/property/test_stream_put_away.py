"""I1, I2, I3 with timelines that leave Redis: the stream finds in ClickHouse what the oracle never forgets."""

from __future__ import annotations

import asyncio

import msgspec
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from identity_worlds import people_worlds
from stream_checks import assert_tallies_equal_rows
from stream_house import PARTITIONS, Accidents, House, play
from stream_worlds import TABLES, assert_equals_oracle, worlds
from test_stream_restate import policies
from test_stream_told import tellings

from attribution.conversions import ConversionFact
from attribution.hit import Hit
from attribution.oracle import oracle
from attribution.policy import AttributionPolicy
from streams.recalling import recall
from streams.topics import partition_of, timeline_key


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=worlds() | people_worlds(),
    told=st.just([]) | tellings(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 200), max_size=4),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
    restated=st.just([]) | st.lists(policies, min_size=1, max_size=2),
)
def test_what_was_put_away_counts_as_if_it_were_there(
    empty_valkey: str,
    world: tuple[list[Hit], AttributionPolicy],
    told: list[ConversionFact],
    seed: int,
    crashes: list[int],
    sets_back: float,
    restated: list[AttributionPolicy],
) -> None:
    """Timelines leave between any two steps; late hits, doubles, links and deals come before and after."""
    hits, policy = world
    restated = [msgspec.structs.replace(one, identity=policy.identity) for one in restated]
    now = restated[-1] if restated else policy
    if restated:
        # A range that is made again after a set-back, when its visitors were put away meanwhile and the rules have
        # changed, may give other rows than it did (decision 0034).
        sets_back = 0.0
    accidents = Accidents(sleeps=0.05, sets_back=sets_back, puts_away=0.1)
    house = asyncio.run(play(empty_valkey, hits, [policy], seed, crashes, accidents, restated, told=told))
    note(f"{house.faults.raised} crashes at {house.faults.count} points, {house.times_put_away} put away")
    assert_equals_oracle(house.writer, oracle(hits, now, "USD", TABLES, told=told))
    assert_tallies_equal_rows(house)
    if not restated:
        assert_made_again_alike(house, policy)
    event(f"put away: {min(house.times_put_away, 4)}")


def assert_made_again_alike(house: House, policy: AttributionPolicy) -> None:
    """What is made of the hits is, byte for byte, what Redis has of them."""
    visitors = sorted({(row["site"], row["visitor_id"]) for row in house.writer.dicts("hits")})
    recalled = asyncio.run(recall(house.writer, visitors, policy))
    for visitor in visitors:
        stored = house.timelines.get(timeline_key(partition_of(visitor[1], PARTITIONS), *visitor))
        assert stored is None or stored == recalled[visitor].timeline.to_bytes()
