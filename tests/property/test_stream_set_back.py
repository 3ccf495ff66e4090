"""Valkey set back to what it was some turns ago, in the middle of everything: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from stream_checks import assert_tallies_equal_rows
from stream_crashes import Faults
from stream_house import Accidents, House, play
from stream_worlds import T0, TABLES, assert_equals_oracle, worlds

from attribution.conversions import ConversionFact
from attribution.hit import Hit, encode_envelope
from attribution.oracle import oracle
from attribution.policy import DAY_MS, AttributionPolicy
from streams.fence import Fenced
from streams.journal import JournalTaken
from streams.policies import policy_bytes
from streams.records import Batch
from streams.recredit import state_of
from streams.stitch import RangeLost
from streams.topics import CONVERSIONS, HITS, POLICIES_KEY, conversion_key, partition_of
from streams.triggers import Trigger, encode_trigger


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds(), seed=st.integers(0, 2**32), crashes=st.lists(st.integers(1, 160), max_size=6))
def test_a_store_that_is_set_back_is_brought_forward_again(
    empty_valkey: str, world: tuple[list[Hit], AttributionPolicy], seed: int, crashes: list[int]
) -> None:
    """While workers live, while they are dead, several times, with owners that sleep through it."""
    hits, policy = world
    accidents = Accidents(sets_back=0.06, sleeps=0.05)
    house = asyncio.run(play(empty_valkey, hits, [policy], seed, crashes, accidents))
    note(
        f"{house.times_set_back} times set back, {house.faults.raised} crashes at {house.faults.count} points"
    )
    assert_equals_oracle(house.writer, oracle(hits, policy, "USD", TABLES))
    assert_tallies_equal_rows(house)


VISITOR = next(visitor for visitor in map(str, range(100)) if partition_of(visitor, 2) == 0)


def house_with_three_hits(redis: Redis) -> House:
    house = House(redis, AttributionPolicy(), Faults([]), "durable", random.Random(0))
    for number in range(3):
        hit = Hit(
            event_id=f"e{number}",
            site="s",
            visitor_id=VISITOR,
            occurred_at=T0 + number,
            received_at=T0 + number,
            url="https://shop.example/a",
        )
        house.append(HITS, VISITOR.encode(), encode_envelope([hit]))
    return house


async def test_an_owner_that_a_set_back_store_believes_again_writes_nothing(empty_valkey: str) -> None:
    """It slept while its successor worked; then Redis forgot the successor. Only the journal knows better."""
    async with Redis.from_url(empty_valkey) as redis:
        house = house_with_three_hits(redis)
        records = house.logs[HITS, 0]
        sleeper = await house.take_over(HITS, 0)
        await house.copy()
        successor = await house.take_over(HITS, 0)
        await successor.stage.process(Batch(HITS, 0, "durable", records))
        await house.set_back(house.copies[-1])
        with pytest.raises(JournalTaken):
            await sleeper.stage.process(Batch(HITS, 0, "durable", records[:2]))
        assert len(house.writer.dicts("hits")) == 3
        with pytest.raises(Fenced):
            await successor.stage.idle()
        heir = await house.take_over(HITS, 0)
        assert (heir.offset, heir.ranges) == (0, [(0, 2)])
        await heir.stage.process(Batch(HITS, 0, "durable", records))
        assert [row["event_id"] for row in house.writer.dicts("hits")] == ["e0", "e1", "e2"]
        assert [row["hits"] for row in house.writer.dicts("sessions")] == [3]


async def test_a_conversion_that_came_to_another_policy_without_an_entry_stays_under_it(
    empty_valkey: str,
) -> None:
    """Nothing of it is in the ledger; a later decision of the partition takes the fence past its trigger."""
    first, second = [i for i in (f"{n:032x}" for n in range(100)) if partition_of(i, 2) == 0][:2]
    same = AttributionPolicy(conversion_lookbacks_ms={"purchase": 90 * DAY_MS, "never seen": 1})
    other = AttributionPolicy(models=("linear",))
    async with Redis.from_url(empty_valkey) as redis:
        house = House(redis, AttributionPolicy(), Faults([]), "durable", random.Random(0))
        for policy in (same, other):
            await redis.hset(POLICIES_KEY, policy.version, policy_bytes(policy))

        async def ask(conversion_id: str, policy: str, fact: ConversionFact | None) -> None:
            wish = Trigger(
                conversion_id=conversion_id,
                site="s",
                visitor_id="",
                hits_partition=-1,
                recorded_at=T0,
                nonce="n",
                policy=policy,
                fact=fact,
            )
            house.append(CONVERSIONS, conversion_id.encode(), encode_trigger(wish))
            await house.turn(CONVERSIONS, 0, 1)

        async def policy_of(conversion_id: str) -> str:
            packed = await redis.get(conversion_key(0, conversion_id))
            return state_of(packed).policy

        for conversion_id in (first, second):
            fact = ConversionFact(
                conversion_id=conversion_id,
                site="s",
                type="purchase",
                order_id=conversion_id,
                visitor_id=VISITOR,
                event_id="e",
                occurred_at=T0,
                received_at=T0,
                value_minor=5,
                currency="USD",
            )
            await ask(conversion_id, "", fact)
        await house.copy()
        await ask(first, same.version, None)
        assert await policy_of(first) == same.version
        await ask(second, other.version, None)
        await house.set_back(house.copies[-1])
        assert await policy_of(first) == AttributionPolicy().version
        await house.take_over(CONVERSIONS, 0)
        assert await policy_of(second) == other.version
        assert await policy_of(first) == same.version


async def test_a_live_owner_notices_although_nothing_arrives(empty_valkey: str) -> None:
    """Its idle turn looks; otherwise what Redis has forgotten would stay forgotten until the next hit."""
    async with Redis.from_url(empty_valkey) as redis:
        house = house_with_three_hits(redis)
        owner = await house.take_over(HITS, 0)
        await owner.stage.idle()
        await house.copy()
        await owner.stage.process(Batch(HITS, 0, "durable", house.logs[HITS, 0]))
        await owner.stage.idle()
        await house.set_back(house.copies[-1])
        with pytest.raises(Fenced, match="set back"):
            await owner.stage.idle()


async def test_a_range_whose_records_the_log_has_lost_is_not_guessed(empty_valkey: str) -> None:
    """Other records under its token would vanish, and under another token double."""
    async with Redis.from_url(empty_valkey) as redis:
        house = house_with_three_hits(redis)
        owner = await house.take_over(HITS, 0)
        await house.copy()
        await owner.stage.process(Batch(HITS, 0, "durable", house.logs[HITS, 0]))
        await house.set_back(house.copies[-1])
        heir = await house.take_over(HITS, 0)
        with pytest.raises(RangeLost, match="1-2 was read instead of 0-2"):
            await heir.stage.process(Batch(HITS, 0, "durable", house.logs[HITS, 0][1:]))
