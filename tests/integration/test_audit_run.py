"""Passes of the self-audit: one worker at a time, what they leave behind, and what happens when a store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from audit_house import SECONDS, House, sound_house
from prometheus_client import REGISTRY

from streams.audit import LEASE_SECONDS, Audit, LeaseLost, load_state
from streams.audit_axes import ModelsAxis
from streams.audit_state import LEASE_KEY, Difference


@pytest.fixture
async def house(engine: str, empty_valkey: str, fresh_database: str) -> AsyncIterator[House]:
    """Something of everything, processed and credited."""
    async with sound_house(engine, empty_valkey, fresh_database) as house:
        yield house


async def test_one_worker_at_a_time_makes_a_pass_and_all_show_it(house: House) -> None:
    """The lease, the due time, the state that is handed on, and a worker that died with the lease."""
    began = house.now
    await house.audit.tick()
    state = await load_state(house.redis)
    assert state is not None
    assert (state.attempts, state.since) == (0, began)
    house.now += SECONDS
    await house.redis.set(LEASE_KEY, "another worker", px=int(LEASE_SECONDS * 1000))
    await house.audit.tick()
    assert (await load_state(house.redis) or state).attempts == 0
    await house.redis.delete(LEASE_KEY)
    second = Audit(house.redis, house.axes, SECONDS, share=1.0, clock=lambda: house.now)
    await asyncio.gather(house.audit.tick(), second.tick())
    state = await load_state(house.redis)
    assert state is not None
    assert (state.attempts, state.succeeded_at) == (1, house.now)
    assert await house.redis.get(LEASE_KEY) is None
    await second.tick()
    assert (await load_state(house.redis) or state).attempts == 1, "not due yet"
    shown = REGISTRY.get_sample_value
    assert shown("headwater_audit_last_success_timestamp_seconds") == house.now
    assert shown("headwater_audit_difference", {"check": "books"}) == 0
    assert shown("headwater_audit_covered_from_timestamp_seconds", {"axis": "models"}) == house.now


async def test_a_pass_whose_lease_is_lost_leaves_nothing(house: House) -> None:
    """Another worker may have begun one: two states must not be mixed."""
    await house.audit.tick()
    house.now += SECONDS

    class Slow(ModelsAxis):
        async def compare(self, slice_: str) -> list[Difference]:
            await house.redis.set(LEASE_KEY, "another worker")
            return await super().compare(slice_)

    audit = Audit(house.redis, [Slow(house.reader)], SECONDS, clock=lambda: house.now)
    with pytest.raises(LeaseLost):
        await audit.tick()
    state = await load_state(house.redis)
    assert state is not None
    assert state.attempts == 0
    assert await house.redis.get(LEASE_KEY) == b"another worker"


async def test_a_pass_without_time_goes_on_with_the_oldest_round(house: House) -> None:
    """What is recent, and one slice of the rest: pass after pass, all rounds are completed in turn."""
    house.cut(150)
    hurried = Audit(house.redis, house.axes, SECONDS, share=1e-9, clock=lambda: house.now, least_seconds=0.0)
    names = {axis.name for axis in house.axes}
    done: list[str] = []
    for _ in range(60):
        before = {name: round_.covered_from for name, round_ in house.state.rounds.items()}
        await hurried.run_pass(house.state)
        house.now += SECONDS
        after = {name: round_.covered_from for name, round_ in house.state.rounds.items()}
        done += [name for name in after if after[name] != before.get(name, 0.0)]
        if set(done) == names:
            break
    assert sorted(done) == sorted(names), "each once before any twice"
    assert house.state.alarms == 0


async def test_a_store_that_is_away_makes_no_alarm_and_no_success(house: House) -> None:
    """The other axes are compared; the next pass goes on where this one failed."""
    real, house.reader._database = house.reader._database, "no_such_database"
    await house.audit.run_pass(house.state)
    assert "migrate" in house.state.failure
    assert (house.state.succeeded_at, house.state.differences()["waiting"]) == (0.0, 0)
    assert house.state.rounds["waiting"].covered_from == house.now
    assert "hours" not in house.state.rounds or house.state.rounds["hours"].covered_from == 0.0
    house.reader._database = real
    assert await house.passes(1) == {}
    assert house.state.succeeded_at > 0
