"""Deals through the real stages: whatever order, repetition or accident, credit is told what the books say."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Sequence

from deal_worlds import (
    DEAL_STORY,
    EMAIL_OF_ANN,
    SHOP_STORY,
    T0,
    content,
    deal_worlds,
    expected_facts,
    of_hubspot,
)
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from stream_crashes import Faults
from stream_house import MOST_TURNS, Accidents, House, play, settled
from stream_worlds import cents

from attribution.conversions import ConversionFact
from attribution.deals.delivery import Delivery, encode_deliveries
from attribution.deals.rules import DealRules
from attribution.deals.settings import DealSettings
from attribution.deals.stages import Stage
from attribution.hit import Hit, encode_envelope
from attribution.policy import DAY_MS, AttributionPolicy
from streams.recredit import state_of
from streams.topics import DEALS, HITS

POLICY = AttributionPolicy(
    conversion_lookbacks_ms=dict.fromkeys(
        ("purchase", "renewal", "lead", "opportunity", "deal_won"), 90 * DAY_MS
    )
)


async def credited(url: str) -> dict[str, ConversionFact]:
    """What credit holds for told of each conversion."""
    async with Redis.from_url(url) as redis:
        found = {}
        for key in await redis.keys("c{c*"):
            conversion = state_of(await redis.get(key)).conversion
            for fact in (conversion.winner, conversion.other):
                if fact is not None and fact.is_told:
                    found[conversion.conversion_id] = fact
        return found


def standing(told: dict[str, ConversionFact]) -> dict[str, ConversionFact]:
    return {conversion_id: content(fact) for conversion_id, fact in told.items() if fact.bookings}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    deliveries=deal_worlds(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 150), max_size=6),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
)
def test_credit_is_told_what_the_books_say_whatever_happens(
    empty_valkey: str, deliveries: list[Delivery], seed: int, crashes: list[int], sets_back: float
) -> None:
    accidents = Accidents(sleeps=0.05, sets_back=sets_back)
    house = asyncio.run(
        play(
            empty_valkey, [], [POLICY], seed, crashes, accidents, deliveries=deliveries, deals=DealSettings()
        )
    )
    note(f"{house.faults.raised} crashes at {house.faults.count} points")
    told = asyncio.run(credited(empty_valkey))
    assert standing(told) == expected_facts(deliveries, DealRules())
    assert_every_delivery_has_its_row(house)


def assert_every_delivery_has_its_row(house: House) -> None:
    """Each record of the log once, as often as it was delivered there, and its events counted once in all."""
    rows = house.writer.dicts("deliveries")
    places = [(row["src_broker"], row["src_partition"], row["src_offset"], row["position"]) for row in rows]
    assert len(set(places)) == len(places)
    assert {row["outcome"] for row in rows} <= {"read", "repeated"}
    news = sum(row["events"] for row in rows)
    assert news == len({key for row in rows for key in row["keys"]})


async def deliver(house: House, batches: Sequence[Sequence[Delivery]]) -> None:
    for batch in batches:
        house.append(DEALS, batch[0].site.encode(), encode_deliveries(batch))
        await settle(house)


async def settle(house: House) -> None:
    for _ in range(MOST_TURNS):
        if await settled(house, house.rng):
            return
    raise AssertionError(f"not settled after {MOST_TURNS} turns")


def new_house(redis: Redis, deals: DealSettings) -> House:
    house = House(redis, POLICY, Faults([]), "durable", random.Random(1))
    house.deals = deals
    return house


async def test_a_repeat_changes_nothing_and_is_counted(empty_valkey: str) -> None:
    async with Redis.from_url(empty_valkey) as redis:
        house = new_house(redis, DealSettings())
        story = [of_hubspot(DEAL_STORY), *SHOP_STORY]
        await deliver(house, [story])
        before = await credited(empty_valkey)
        entries = len(house.writer.dicts("credits"))
        await deliver(house, [story, [story[1]]])
    assert await credited(empty_valkey) == before  # revisions included
    assert len(house.writer.dicts("credits")) == entries
    outcomes = [row["outcome"] for row in house.writer.dicts("deliveries")]
    assert outcomes == ["read"] * len(story) + ["repeated"] * (len(story) + 1)


async def test_under_other_rules_everything_is_told_anew_and_no_payload_is_read(empty_valkey: str) -> None:
    story = [of_hubspot(DEAL_STORY), *SHOP_STORY]
    other = DealRules(types={Stage.won: "deal_won"}, purchase_type="renewal")
    async with Redis.from_url(empty_valkey) as redis:
        house = new_house(redis, DealSettings())
        await deliver(house, [story])
        assert standing(await credited(empty_valkey)) == expected_facts(story, DealRules())
        house.all_die()
        house.deals = DealSettings(rules=other)
        await settle(house)
    told = await credited(empty_valkey)
    assert standing(told) == expected_facts(story, other)
    assert any(not fact.bookings for fact in told.values())  # those that never were, under these rules
    assert len(house.writer.dicts("deliveries")) == len(story)


async def test_a_type_without_window_waits_until_the_policy_has_one(empty_valkey: str) -> None:
    story = [of_hubspot(DEAL_STORY)]
    async with Redis.from_url(empty_valkey) as redis:
        house = new_house(redis, DealSettings())
        house.policy = AttributionPolicy(conversion_lookbacks_ms={"opportunity": 90 * DAY_MS})
        await deliver(house, [story])
        assert {fact.type for fact in (await credited(empty_valkey)).values()} == {"opportunity"}
        (row,) = house.writer.dicts("deliveries")
        assert row["reasons"] == ["type_without_window"] * 2  # lead and deal_won
        house.all_die()
        house.policy = POLICY
        await settle(house)
    assert standing(await credited(empty_valkey)) == expected_facts(story, DealRules())


async def test_what_cannot_be_read_is_a_dead_letter_that_can_be_replayed(empty_valkey: str) -> None:
    good = of_hubspot(DEAL_STORY[:1])
    bad = [
        Delivery(site="s", source="stripe", scheme="stripe_v1", keys=[["k1"]], received_at=1, body=b"{"),
        Delivery(
            site="s",
            source="hubspot",
            scheme="hubspot_v3",
            keys=[["k2"]],
            received_at=1,
            body=b"[]",
            is_read=False,
        ),
        Delivery(site="s", source="nobody", scheme="x", keys=[["k3"]], received_at=1, body=b"{}"),
    ]
    async with Redis.from_url(empty_valkey) as redis:
        house = new_house(redis, DealSettings())
        await deliver(house, [[*bad, good]])
        house.append(DEALS, b"s", b"{no json")
        await settle(house)
        letters = house.writer.dicts("dead_letters")
        assert [row["reason"] for row in letters] == [
            "not_json",
            "unreadable_body",
            "unknown_sender",
            "malformed",
        ]
        assert len(await redis.keys("r{d*")) == 1  # only what was read is remembered
    assert [row["outcome"] for row in house.writer.dicts("deliveries")] == [*["unreadable"] * 3, "read"]


EMAIL = hashlib.sha256(EMAIL_OF_ANN.encode()).hexdigest()


@st.composite
def visits_and_names(draw: st.DrawFn) -> list[Hit]:
    """Visits of three visitors, who say at some time that they are Ann, or take it back.

    A click is one visitor's: of several who land with the same one whoever is found first stays (docs/deals.md).
    """
    hits = []
    for number in range(draw(st.integers(0, 10))):
        kind = draw(
            st.sampled_from(["page_view", "page_view", "page_view", "identify", "identify", "unlink"])
        )
        at = T0 + draw(st.sampled_from([-1, 0, 1, 2, 5, 9, 35])) * DAY_MS + number
        visitor = draw(st.sampled_from(["v1", "v1", "v2", "v3"]))
        fields: dict[str, str] = {"url": f"https://shop.example/?gclid=g{visitor[1:]}"}
        if kind != "page_view":
            who = draw(st.sampled_from(["email_sha256", "email_sha256", "user_id"]))
            fields = {who: EMAIL if who == "email_sha256" else "ann"}
        hits.append(
            Hit(
                event_id=f"e{number}",
                site="s",
                visitor_id=visitor,
                occurred_at=at,
                received_at=at + 5,
                event=kind,
                **fields,
            )
        )
    return hits


def balances(house: House) -> dict[tuple[str, ...], tuple[int, int]]:
    """What the ledger adds up to by conversion, model and touchpoint: (weight in billionths, cents)."""
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for row in house.writer.dicts("credits"):
        place = (row["conversion_id"], row["model"], row["touchpoint_id"], row["currency"])
        weight, amount = found.get(place, (0, 0))
        found[place] = (weight + int(row["weight"].replace(".", "")), amount + cents(row["amount"]))
    return {place: both for place, both in found.items() if any(both)}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    deliveries=deal_worlds(),
    hits=visits_and_names(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 250), max_size=6),
    sets_back=st.sampled_from([0.0, 0.0, 0.05]),
)
def test_the_books_are_the_same_in_whatever_order_visits_names_and_deals_arrive(
    empty_valkey: str,
    deliveries: list[Delivery],
    hits: list[Hit],
    seed: int,
    crashes: list[int],
    sets_back: float,
) -> None:
    """As if all hits had come before the first delivery, in peace."""

    async def calmly() -> House:
        async with Redis.from_url(empty_valkey) as redis:
            await redis.flushdb()
            house = new_house(redis, DealSettings())
            for one in hits:
                house.append(HITS, one.visitor_id.encode(), encode_envelope([one]))
            await settle(house)
            await deliver(house, [[one] for one in deliveries])
            return house

    calm = asyncio.run(calmly())
    accidents = Accidents(sleeps=0.05, sets_back=sets_back)
    wild = asyncio.run(
        play(
            empty_valkey,
            hits,
            [POLICY],
            seed,
            crashes,
            accidents,
            deliveries=deliveries,
            deals=DealSettings(),
        )
    )
    note(f"{wild.faults.raised} crashes at {wild.faults.count} points")
    assert balances(wild) == balances(calm)
