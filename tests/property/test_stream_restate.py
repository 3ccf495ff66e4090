"""Restatement through the real stages: whatever dies, sleeps or arrives meanwhile, all stands under the new policy.

Every hit comes once more, marked, in any batches; every conversion has its trigger. The books are looked at after each
insert into the ledger (``stream_house``).
"""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from stream_checks import assert_tallies_equal_rows
from stream_house import RESTATED_AT, Accidents, House, play
from stream_worlds import T0, assert_equals_oracle, rules, worlds

from attribution.hit import Hit
from attribution.models import MODELS
from attribution.oracle import oracle
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy, SessionSwitch

plain_policies = st.builds(
    AttributionPolicy,
    session_gap_ms=st.sampled_from([10 * MINUTE_MS, 30 * MINUTE_MS, 60 * MINUTE_MS]),
    session_switch=st.sampled_from(SessionSwitch),
    conversion_lookbacks_ms=st.fixed_dictionaries(
        {
            "purchase": st.sampled_from([0, DAY_MS, 90 * DAY_MS]),
            "lead": st.sampled_from([MINUTE_MS, 30 * DAY_MS]),
            "opportunity": st.sampled_from([DAY_MS, 90 * DAY_MS]),
        }
    ),
    time_decay_half_life_ms=st.sampled_from([DAY_MS, 7 * DAY_MS]),
    models=st.lists(st.sampled_from(sorted(MODELS)), min_size=1, unique=True).map(tuple),
)
policies = st.builds(
    lambda policy, rest: msgspec.structs.replace(policy, **rest),
    plain_policies,
    rules(st.sampled_from([0, DAY_MS, 31 * DAY_MS])),
)


def assert_causes_are_told_apart(house: House) -> None:
    """Only a restatement writes its cause, under its policy, never dated before it began; what else is corrected
    afterwards has a cause of its own.
    """
    for row in house.writer.dicts("credits"):
        if row["cause"] == "policy":
            began = [at for at, version in house.restatements.items() if version == row["policy_version"]]
            assert row["recorded_at"] >= min(began)
        else:
            assert row["cause"] in ("conversion", "late_touch", "earlier_fact")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=worlds(),
    restated=st.lists(policies, min_size=1, max_size=2),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 500), max_size=10),
    sets_back=st.sampled_from([0.0, 0.0, 0.03]),
)
def test_restated_under_any_policy_whatever_happens(
    empty_valkey: str,
    world: tuple[list[Hit], AttributionPolicy],
    restated: list[AttributionPolicy],
    seed: int,
    crashes: list[int],
    sets_back: float,
) -> None:
    """It begins while hits arrive; workers die before and after any call, sleep, lose their broker or part of Redis."""
    hits, before = world
    accidents = Accidents(sleeps=0.03, sets_back=sets_back)
    house = asyncio.run(play(empty_valkey, hits, [before], seed, crashes, accidents, restated))
    causes = Counter(row["cause"] for row in house.writer.dicts("credits"))
    note(f"{house.faults.raised} crashes at {house.faults.count} points; {dict(causes)}")
    assert_equals_oracle(house.writer, oracle(hits, restated[-1], "USD"))
    assert_causes_are_told_apart(house)
    assert_tallies_equal_rows(house)


def test_a_repeated_restatement_writes_nothing(empty_valkey: str) -> None:
    """The same policy twice: the second time there is no difference to write."""
    at = T0
    hits = [
        Hit(
            event_id="1",
            site="s",
            visitor_id="v",
            occurred_at=at,
            received_at=at,
            url="https://shop.example/",
        ),
        Hit(
            event_id="2",
            site="s",
            visitor_id="v",
            occurred_at=at + DAY_MS,
            received_at=at + DAY_MS,
            event="purchase",
            value="10.00",
            currency="USD",
        ),
    ]
    other, new = AttributionPolicy(models=("last_touch",)), AttributionPolicy(models=("linear", "j_shaped"))
    again = AttributionPolicy(models=new.models)
    house = asyncio.run(play(empty_valkey, hits, [AttributionPolicy()], 1, [], restated=[other, new, again]))
    assert_equals_oracle(house.writer, oracle(hits, new, "USD"))
    written = Counter(row["recorded_at"] for row in house.writer.dicts("credits"))
    assert written[RESTATED_AT + 1] > 0
    assert written[RESTATED_AT + 2] == 0
