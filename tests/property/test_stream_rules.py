"""Rules that change while batches are half done: each range is of one set of rules, and nothing stands twice."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from stream_checks import assert_tallies_equal_rows
from stream_crashes import Crash, Faults
from stream_house import PARTITIONS, Accidents, House, play
from stream_worlds import T0, URLS, assert_equals_oracle, worlds

from attribution.errors import Misconfigured
from attribution.hit import Hit, encode_envelope
from attribution.oracle import World, oracle
from attribution.policy import MINUTE_MS, AttributionPolicy, SessionSwitch
from attribution.timeline import Timeline
from streams import rules as rules_module
from streams.records import Batch
from streams.topics import HITS, partition_of, timeline_key

OLD = AttributionPolicy(session_switch=SessionSwitch.any_external)
NEW = AttributionPolicy(session_switch=SessionSwitch.nothing, session_gap_ms=60 * MINUTE_MS)


def mixed(hits: list[Hit], house: House) -> World:
    """What must stand when each visitor's sessions are cut by the rules under which his last hit came."""
    old, new = oracle(hits, OLD, "USD"), oracle(hits, NEW, "USD")
    is_old: dict[str, bool] = {}
    for _, visitor, _ in old.hits:
        key = timeline_key(partition_of(visitor, PARTITIONS), "s", visitor)
        stood = Timeline.from_bytes(house.timelines[key], "s", visitor)._rules
        assert stood in (OLD.session_rules, NEW.session_rules)
        is_old[visitor] = stood == OLD.session_rules
    visitor_of = {conversion_id: fact.visitor_id for conversion_id, fact in old.conversions.items()}
    return World(
        old.hits,
        {s for s in old.sessions if is_old[s.visitor_id]}
        | {s for s in new.sessions if not is_old[s.visitor_id]},
        {t for t in old.touchpoints if is_old[t.visitor_id]}
        | {t for t in new.touchpoints if not is_old[t.visitor_id]},
        old.conversions,
        {key: amounts for key, amounts in old.credits.items() if is_old[visitor_of[key[0]]]}
        | {key: amounts for key, amounts in new.credits.items() if not is_old[visitor_of[key[0]]]},
        {key: missing for key, missing in old.missing.items() if is_old[visitor_of[key[0]]]}
        | {key: missing for key, missing in new.missing.items() if not is_old[visitor_of[key[0]]]},
        {key: path for key, path in old.paths.items() if is_old[visitor_of[key]]}
        | {key: path for key, path in new.paths.items() if not is_old[visitor_of[key]]},
        booked={key: due for key, due in old.booked.items() if is_old[visitor_of[key[0]]]}
        | {key: due for key, due in new.booked.items() if not is_old[visitor_of[key[0]]]},
    )


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 160), max_size=8),
    sets_back=st.sampled_from([0.0, 0.05]),
)
def test_every_range_is_of_the_rules_it_was_claimed_with(
    empty_valkey: str,
    world: tuple[list[Hit], AttributionPolicy],
    seed: int,
    crashes: list[int],
    sets_back: float,
) -> None:
    """Old and new workers in turns, killed between claim, insert and commit, over a store that may be set back."""
    hits, _ = world
    accidents = Accidents(sets_back=sets_back, sleeps=0.03)
    house = asyncio.run(play(empty_valkey, hits, [OLD, NEW, OLD, NEW], seed, crashes, accidents))
    note(f"{house.faults.raised} crashes, {house.times_set_back} times set back")
    assert_equals_oracle(house.writer, mixed(hits, house))
    assert_tallies_equal_rows(house)


VISITOR = next(visitor for visitor in map(str, range(100)) if partition_of(visitor, PARTITIONS) == 0)


async def half_done(redis: Redis) -> House:
    """A worker with the old rules died after its rows reached ClickHouse, before it could say so."""
    house = House(redis, OLD, Faults([]), "durable", random.Random(0))
    for number, (minutes, referrer) in enumerate([(0, ""), (1, "https://news.example.org/"), (2, "")]):
        at = T0 + minutes * MINUTE_MS
        hit = Hit(
            event_id=f"e{number}",
            site="s",
            visitor_id=VISITOR,
            occurred_at=at,
            received_at=at,
            url=URLS[0],
            referrer=referrer,
        )
        house.append(HITS, VISITOR.encode(), encode_envelope([hit]))
    worker = await house.take_over(HITS, 0)
    # claim: before, after; inserts of three tables: before, after each; commit: before.
    house.faults = house.writer.faults = Faults([])

    async def never(*_: object, **__: object) -> None:
        raise Crash

    worker.stage._fence.commit_stitch = never
    with pytest.raises(Crash):
        await worker.stage.process(Batch(HITS, 0, "durable", house.logs[HITS, 0][:2]))
    house.all_die()
    return house


def sessions_of(house: House) -> list[tuple[int, int]]:
    """(hits, sign) of the rows of sessions."""
    return [(row["hits"], row["sign"]) for row in house.writer.dicts("sessions")]


async def test_a_pending_range_is_finished_under_its_own_rules_and_the_next_under_the_new(
    empty_valkey: str,
) -> None:
    """The old rules make two sessions of the two hits, the new ones a single one of all three."""
    async with Redis.from_url(empty_valkey) as redis:
        house = await half_done(redis)
        assert sessions_of(house) == [(1, 1), (1, 1)]
        house.policy = NEW
        worker = await house.take_over(HITS, 0)
        assert worker.ranges == [(0, 1)]
        assert await house.work(worker, HITS, 0, 3)
        assert sessions_of(house) == [(1, 1), (1, 1)]
        assert await house.work(worker, HITS, 0, 3)
        assert sorted(sessions_of(house)[2:]) == [(1, -1), (1, -1), (3, 1)]
        assert len(house.writer.dicts("hits")) == 3


async def test_what_another_program_began_is_not_guessed(
    empty_valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows cannot be made again: say so, and write nothing."""
    async with Redis.from_url(empty_valkey) as redis:
        house = await half_done(redis)
        monkeypatch.setattr(rules_module, "TRANSFORM_VERSION", "next")
        with pytest.raises(Misconfigured, match="Start the former Headwater once more"):
            await house.take_over(HITS, 0)
        assert sessions_of(house) == [(1, 1), (1, 1)]


async def test_rules_that_nobody_remembers_are_not_guessed(empty_valkey: str) -> None:
    async with Redis.from_url(empty_valkey) as redis:
        house = await half_done(redis)
        await redis.delete("hw:rules")
        house.journals._values.clear()
        house.policy = NEW
        with pytest.raises(Misconfigured, match="settings that it had before"):
            await house.take_over(HITS, 0)
