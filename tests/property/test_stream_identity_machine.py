"""All that can happen to people of several devices, as a machine: whenever it settles the stream is the oracle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from identity_worlds import identity_rules, people_hit
from redis.asyncio import Redis
from stream_crashes import Crash, Faults
from stream_house import MOST_TURNS, PARTITIONS, RESTATED_AT, House, settled
from stream_worlds import assert_books_balance, assert_equals_oracle
from test_stream_identity import assert_links_equal

from attribution.hit import Hit, encode_envelope
from attribution.models import MODELS
from attribution.oracle import oracle
from attribution.persons import IdentityRules
from attribution.policy import DAY_MS, AttributionPolicy, SessionSwitch
from streams.recent import RecentTimelines
from streams.topics import CONVERSIONS, HITS


@st.composite
def policies(draw: st.DrawFn) -> AttributionPolicy:
    """Other guards, windows, sessions and models."""
    return AttributionPolicy(
        identity=draw(identity_rules()),
        conversion_lookbacks_ms=draw(
            st.sampled_from(
                [{"purchase": 90 * DAY_MS, "lead": DAY_MS}, {"purchase": DAY_MS, "lead": 30 * DAY_MS}]
            )
        ),
        session_switch=draw(st.sampled_from(SessionSwitch)),
        models=draw(st.sampled_from([("linear", "first_touch"), ("last_touch",), tuple(MODELS)])),
    )


places = st.tuples(st.sampled_from([HITS, CONVERSIONS]), st.integers(0, PARTITIONS - 1))


class PeopleMachine(RuleBasedStateMachine):
    """Hits arrive in any order and doubled; workers work, crash and sleep; now and then all of it settles."""

    url = ""

    @initialize(rules=identity_rules(), seed=st.integers(0, 2**32), is_remembered=st.booleans())
    def open(self, rules: IdentityRules, seed: int, is_remembered: bool) -> None:
        """An empty house."""
        self.loop = asyncio.new_event_loop()
        self.redis = Redis.from_url(self.url)
        self.run(self.redis.flushdb())
        self.rng = random.Random(seed)
        self.policy = AttributionPolicy(identity=rules, models=tuple(MODELS))
        recent = RecentTimelines() if is_remembered else RecentTimelines(0)
        self.house = House(self.redis, self.policy, Faults([]), "durable", self.rng, recent)
        self.hits: list[Hit] = []

    def run(self, work: Awaitable[Any]) -> Any:
        """Do ``work``; a crash in it is the end of all workers."""

        async def doing() -> Any:
            return await work

        try:
            return self.loop.run_until_complete(doing())
        except Crash:
            self.house.all_die()
            return None

    def append(self, hits: list[Hit]) -> None:
        for hit in hits:
            self.house.append(HITS, hit.visitor_id.encode(), encode_envelope([hit]))

    @rule(hits=st.lists(people_hit(), min_size=1, max_size=5), is_settled=st.booleans())
    def hits_arrive(self, hits: list[Hit], is_settled: bool) -> None:
        """Whenever they occurred; it may be that all before them is credited already."""
        if is_settled:
            self.all_settles()
        for hit in hits:
            hit.event_id = f"e{len(self.hits)}"
            self.hits.append(hit)
        self.append(hits)

    @rule(number=st.integers(0, 99))
    def a_hit_is_doubled(self, number: int) -> None:
        if self.hits:
            self.append([self.hits[number % len(self.hits)]])

    @rule(place=places, size=st.integers(1, 5))
    def somebody_works(self, place: tuple[str, int], size: int) -> None:
        self.run(self.house.turn(*place, size))

    @rule(calls=st.integers(1, 40))
    def a_crash_is_near(self, calls: int) -> None:
        """At one of the next calls to the outside."""
        faults = self.house.faults
        faults._at.add(faults.count + calls)

    @rule(place=places)
    def a_worker_falls_asleep(self, place: tuple[str, int]) -> None:
        """Somebody else takes over, and it works on when it wakes."""
        self.house.fall_asleep(*place)

    @rule()
    def a_sleeper_wakes(self) -> None:
        self.run(self.house.wake())

    @rule(policy=policies())
    def everything_is_restated(self, policy: AttributionPolicy) -> None:
        """Under another policy, with which all workers are started; what it changes has the cause ``policy``."""
        self.all_settles()
        self.policy = policy
        self.house.start_with(policy)
        self.house.restate(policy, RESTATED_AT + len(self.house.restatements))

    @rule()
    def all_settles(self) -> None:
        """Everything has arrived and is credited: what stands is what one pass over all hits says."""
        for _ in range(MOST_TURNS):
            if self.run(settled(self.house, self.rng)):
                break
        else:
            raise AssertionError(f"not settled after {MOST_TURNS} turns")
        assert_books_balance(self.house.writer)
        expected = oracle(self.hits, self.policy, "USD")
        assert_equals_oracle(self.house.writer, expected)
        assert_links_equal(self.house, expected)

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.all_settles()
            self.loop.run_until_complete(self.redis.aclose())
            self.loop.close()


def test_the_stream_is_the_oracle_whenever_it_settles(empty_valkey: str) -> None:
    """See ``PeopleMachine``."""
    machine = type("Machine", (PeopleMachine,), {"url": empty_valkey})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
