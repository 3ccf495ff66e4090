"""I1, I2, I3 and I6 through the real stages: any order, doubles, borders, crashes at every step, a broker that forgets.

The stages, the Lua scripts and a real Valkey are what runs in production; Kafka is a list per partition and
ClickHouse the writer's twin (held against the real one in tests/contract).
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from stream_checks import assert_robots_claims_are_kept, assert_tallies_equal_rows
from stream_house import Accidents, play
from stream_worlds import T0, TABLES, URLS, assert_equals_oracle, worlds

from attribution.hit import Hit
from attribution.oracle import oracle
from attribution.policy import DAY_MS, AttributionPolicy
from streams.fence import Fenced, FenceStore
from streams.records import Batch, Record
from streams.tally import Counts
from streams.topics import HITS, dirty_key


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds(), seed=st.integers(0, 2**32), crashes=st.lists(st.integers(1, 160), max_size=6))
def test_the_stream_equals_the_oracle_whatever_happens(
    empty_valkey: str, world: tuple[list[Hit], AttributionPolicy], seed: int, crashes: list[int]
) -> None:
    """Any order, doubles, batch borders, crashes before and after each effect, a broker that loses its log."""
    hits, policy = world
    house = asyncio.run(play(empty_valkey, hits, [policy], seed, crashes, Accidents(sleeps=0.05)))
    note(f"{house.faults.raised} crashes at {house.faults.count} points")
    assert_equals_oracle(house.writer, oracle(hits, policy, "USD", TABLES))
    assert_tallies_equal_rows(house)
    assert_robots_claims_are_kept(house)


@pytest.mark.parametrize("crash_at", range(1, 61))
def test_a_crash_at_every_single_point_changes_nothing(empty_valkey: str, crash_at: int) -> None:
    """One fixed journey with a late touch after its purchase; the process dies once, at each point in turn."""
    hits = [
        Hit(event_id="1", site="s", visitor_id="v", occurred_at=T0, received_at=T0, url=URLS[1]),
        Hit(
            event_id="2",
            site="s",
            visitor_id="v",
            occurred_at=T0 + DAY_MS,
            received_at=T0 + DAY_MS,
            event="purchase",
            value="30.01",
            currency="USD",
            order_id="o",
        ),
        Hit(
            event_id="3",
            site="s",
            visitor_id="v",
            occurred_at=T0 + 3_600_000,
            received_at=T0 + 2 * DAY_MS,
            url=URLS[3],
        ),
    ]
    house = asyncio.run(play(empty_valkey, hits, [AttributionPolicy()], crash_at, [crash_at, crash_at + 7]))
    assert_equals_oracle(house.writer, oracle(hits, AttributionPolicy(), "USD"))
    assert_tallies_equal_rows(house)


def batch_of(first: int, last: int) -> Batch:
    return Batch(HITS, 0, "b", [Record(offset, T0, b"", b"") for offset in range(first, last + 1)])


def test_an_old_owner_is_refused(empty_valkey: str) -> None:
    """A zombie that wakes up after a take-over can neither claim nor commit."""

    async def scenario() -> None:
        redis = Redis.from_url(empty_valkey)
        await redis.flushdb()
        fences = FenceStore(redis)
        range_ = batch_of(0, 4)
        old = await fences.acquire(HITS, 0)
        assert await old.claim(range_, "1", b"") == 1
        new = await fences.acquire(HITS, 0)
        assert new.found.pending is not None
        assert (new.found.pending.first, new.found.pending.last) == (0, 4)
        with pytest.raises(Fenced):
            await old.commit_stitch(range_, 0, {b"t": b"old"}, {}, Counts())
        assert await new.claim(range_, "1", b"") == 2
        with pytest.raises(Fenced):
            await new.claim(batch_of(0, 3), "1", b"")
        await new.commit_stitch(range_, 0, {b"t": b"new"}, {}, Counts())
        await new.commit_stitch(range_, 0, {b"t": b"again"}, {}, Counts())
        assert await redis.get(b"t") == b"new"
        with pytest.raises(Fenced):
            await new.claim(batch_of(2, 7), "1", b"")
        await redis.aclose()

    asyncio.run(scenario())


def test_an_answered_trigger_is_forgotten_but_a_newer_one_is_kept(empty_valkey: str) -> None:
    """Credit deletes the wish it has fulfilled, never one that stitch has written since."""

    async def scenario() -> None:
        redis = Redis.from_url(empty_valkey)
        await redis.flushdb()
        fences = FenceStore(redis)
        await redis.hset(dirty_key(0), mapping={"answered": "1", "newer": "2"})
        await fences.forget(dirty_key(0), {b"answered": b"1", b"newer": b"1", b"unknown": b"1"})
        assert await redis.hgetall(dirty_key(0)) == {b"newer": b"2"}
        await redis.aclose()

    asyncio.run(scenario())
