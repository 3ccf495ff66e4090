"""I1, I2, I3 with deals: what senders tell of conversions among hits and links, through the real stages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st
from identity_worlds import EMAILS, people_worlds
from stream_checks import assert_tallies_equal_rows
from stream_house import Accidents, play
from stream_worlds import OVER, T0, assert_equals_oracle

from attribution.conversions import BookedValue, ConversionFact, conversion_id_of_order
from attribution.hit import Hit
from attribution.oracle import oracle
from attribution.policy import DAY_MS, AttributionPolicy

IDS = (
    f"email:{EMAILS[0]}",
    f"email:{EMAILS[-1]}",
    "crm:c1",
    "crm:c2",
    "user:ann",
    "user:bob",
    "account:acme",
)


@st.composite
def bookings(draw: st.DrawFn, begins_at: int) -> tuple[BookedValue, ...]:
    """Won, refunded in parts, corrected, lost, won again; sometimes nothing (any more)."""
    at, found = begins_at, []
    for _ in range(draw(st.integers(0, 4))):
        number = draw(st.sampled_from([1, 1, 1, 0]))
        value = draw(st.sampled_from([3001, 1, 100_000, 0])) if number else 0
        cause = (
            draw(st.sampled_from(["conversion", "refund", "amount"]))
            if number
            else draw(st.sampled_from(OVER))
        )
        found.append(BookedValue(at, cause, value, number))
        at += draw(st.sampled_from([0, 1, DAY_MS, 40 * DAY_MS]))
    return tuple(found)


@st.composite
def tellings(draw: st.DrawFn) -> list[ConversionFact]:
    """What is told of an order that a page may report, and of a deal that no page knows: revision after revision."""
    facts = []
    for order_id in draw(st.sampled_from([("o1",), ("d1",), ("o1", "d1")])):
        at = T0 + draw(st.sampled_from([0, DAY_MS, 3 * DAY_MS, 41 * DAY_MS]))
        for revision in range(1, draw(st.integers(1, 3)) + 1):
            moment = st.none() | st.sampled_from([T0, T0 + DAY_MS])
            facts.append(
                ConversionFact(
                    conversion_id=conversion_id_of_order("s", "purchase", order_id),
                    site="s",
                    type="purchase",
                    order_id=order_id,
                    visitor_id=draw(st.sampled_from(["", "", "v0", "v1"])),
                    event_id=f"crm:deal:{order_id}:{revision}",
                    occurred_at=at,
                    received_at=at + revision,
                    value_minor=None,
                    currency="USD",
                    bookings=draw(bookings(at)),
                    revision=revision,
                    ids=tuple(sorted(draw(st.sets(st.sampled_from(IDS), max_size=2)))),
                    lead_at=draw(moment),
                    opportunity_at=draw(moment),
                )
            )
    return facts


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    world=people_worlds(),
    told=tellings(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 200), max_size=4),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
    restates=st.booleans(),
)
def test_deals_are_credited_alike_whatever_happens(
    empty_valkey: str,
    world: tuple[list[Hit], AttributionPolicy],
    told: list[ConversionFact],
    seed: int,
    crashes: list[int],
    sets_back: float,
    restates: bool,
) -> None:
    """Facts of senders and late touches in any order, with crashes, sleeping owners and a store that is set back.

    Books balance as of every instant after every insert (``assert_books_balance``); what stands in the end, and what
    stood at each booking, is what one pass over everything says.
    """
    hits, policy = world
    accidents = Accidents(sleeps=0.05, sets_back=sets_back)
    restated: Sequence[AttributionPolicy] = [_other(policy)] if restates else []
    house = asyncio.run(play(empty_valkey, hits, [policy], seed, crashes, accidents, restated, told=told))
    note(f"{house.faults.raised} crashes at {house.faults.count} points")
    expected = oracle(hits, restated[-1] if restated else policy, "USD", told=told)
    assert_equals_oracle(house.writer, expected)
    assert_tallies_equal_rows(house)
    touched = sum(1 for row in house.writer.dicts("credits") if row["booked_at"] != row["converted_at"])
    event(f"dated entries: {min(touched, 3)}")
    event(f"deals credited to somebody: {_is_credited(house.writer.dicts('credits'))}")


def _other(policy: AttributionPolicy) -> AttributionPolicy:
    """The same rules under fewer models, and a shorter half-life."""
    return AttributionPolicy(
        models=policy.models[1:], identity=policy.identity, time_decay_half_life_ms=DAY_MS
    )


def _is_credited(rows: list[dict[str, object]]) -> bool:
    deal = conversion_id_of_order("s", "purchase", "d1")
    return any(row["conversion_id"] == deal and row["touchpoint_id"] for row in rows)
