"""A mapping that was wrong and is corrected: what stands is what would stand had it been right from the start."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import msgspec
from deal_worlds import DEAL_STORY, SHOP_STORY, deal_worlds, expected_facts, hubspot, of_hubspot
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from stream_house import MOST_TURNS, Crash, Faults, House, settled
from test_stream_deals import POLICY, credited, standing

from attribution.deals.delivery import Delivery, encode_deliveries
from attribution.deals.rules import DealRules
from attribution.deals.settings import DealSettings
from attribution.deals.settings_file import parse_deals
from streams.deal_remap import Remap, encode_remap
from streams.topics import DEALS, deal_objects_key

RIGHT = DealSettings()
WRONG = parse_deals(
    """
    # The stage in which deals are won is called something else, amounts and stages are read as other fields, ...
    [stages."hubspot/deal"]
    closedwon = "sql"
    [own_fields."hubspot/deal"]
    amount = "owner"
    dealstage = "order_id"
    [own_fields."standard/order"]
    amount = "stage"
    [own_objects.salesforce]
    Opportunity = "order"
    [postback_events]
    "" = "lead"
    """,
    "USD",
)
SITE = "s"


def deliver(house: House, deliveries: Sequence[Delivery]) -> None:
    left = house.rng.sample(deliveries, len(deliveries))
    while left:
        size = house.rng.randint(1, 3)
        part, left = left[:size], left[size:]
        house.append(DEALS, SITE.encode(), encode_deliveries(part))


def map_again(house: House, **given: object) -> None:
    remap = msgspec.structs.replace(Remap("r1", SITE, 10**13), **given)
    house.append(DEALS, SITE.encode(), encode_remap(remap))


async def settle(house: House) -> None:
    for _ in range(MOST_TURNS):
        try:
            if await settled(house, house.rng):
                return
        except Crash:
            house.all_die()
    raise AssertionError(f"not settled after {MOST_TURNS} turns")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    deliveries=deal_worlds(),
    seed=st.integers(0, 2**32),
    crashes=st.lists(st.integers(1, 150), max_size=6),
)
def test_a_corrected_mapping_stands_as_if_it_had_been_right(
    empty_valkey: str, deliveries: list[Delivery], seed: int, crashes: list[int]
) -> None:
    """Deliveries before, between and after, in any order; workers die at any call; and once more changes nothing."""

    async def scenario() -> None:
        rng = random.Random(seed)
        async with Redis.from_url(empty_valkey) as redis:
            await redis.flushdb()
            house = House(redis, POLICY, Faults(crashes), "durable", rng)
            house.deals = WRONG
            parts: list[list[Delivery]] = [[], [], []]
            for one in deliveries:
                rng.choice(parts).append(one)
            deliver(house, parts[0])
            await settle(house)
            house.deals = RIGHT
            house.all_die()
            deliver(house, parts[1])
            map_again(house)
            deliver(house, parts[2])
            await settle(house)
            note(f"{house.faults.raised} crashes at {house.faults.count} points")
            assert standing(await credited(empty_valkey)) == expected_facts(deliveries, DealRules())
            entries, told = len(house.writer.dicts("credits")), await credited(empty_valkey)
            map_again(house, remap_id="r2", recorded_at=10**13 + 1)
            await settle(house)
            assert await credited(empty_valkey) == told  # revisions included
            assert len(house.writer.dicts("credits")) == entries

    asyncio.run(scenario())


async def test_what_a_wrong_mapping_made_is_gone_and_other_senders_stay(empty_valkey: str) -> None:
    """One sender alone, then one of which something arrived in a period, then everything."""
    async with Redis.from_url(empty_valkey) as redis:
        house = House(redis, POLICY, Faults([]), "durable", random.Random(1))
        house.deals = WRONG
        other_deal = [hubspot(2, "deal", 8, "amount", "70"), hubspot(3, "deal", 8, "dealstage", "closedwon")]
        late = of_hubspot(other_deal, received_at=1_900_000_000_000)
        deliver(house, [of_hubspot(DEAL_STORY), late, *SHOP_STORY])
        await settle(house)
        wrong = standing(await credited(empty_valkey))
        right = expected_facts([of_hubspot(DEAL_STORY), late, *SHOP_STORY], DealRules())
        assert wrong != right
        house.deals = RIGHT
        house.all_die()
        map_again(house, source="hubspot", since=1_800_000_000_000)
        await settle(house)
        found = standing(await credited(empty_valkey))
        of_late = {i: fact for i, fact in right.items() if fact.order_id == "hubspot:deal:8"}
        assert of_late
        assert {i: fact for i, fact in found.items() if fact.order_id == "hubspot:deal:8"} == of_late
        seven = [i for i, fact in right.items() if fact.order_id == "hubspot:deal:7"]
        assert any(found.get(i) != right[i] for i in seven)
        map_again(house, source="hubspot", remap_id="r2")
        await settle(house)
        found = standing(await credited(empty_valkey))
        of_hubspots = {i for i, fact in right.items() if fact.event_id.startswith("hubspot:")}
        assert {i: found[i] for i in of_hubspots} == {i: right[i] for i in of_hubspots}
        map_again(house, remap_id="r3")
        await settle(house)
        assert standing(await credited(empty_valkey)) == right
        assert sum([await redis.hlen(deal_objects_key(partition)) for partition in range(2)]) > 0
