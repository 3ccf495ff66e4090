"""Whom a deal is about: visitors who are linked with its ids before and after it was told, or no longer are."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from deal_worlds import EMAIL_OF_ANN, T0, hubspot, of_hubspot, postback, standard
from redis.asyncio import Redis
from stream_crashes import Faults
from stream_house import MOST_TURNS, PARTITIONS, House, settled
from stream_worlds import cents

from attribution.conversions import conversion_id_of_order
from attribution.deals.delivery import Delivery, encode_deliveries
from attribution.deals.rules import DealRules
from attribution.deals.settings import DealSettings
from attribution.hit import Hit, encode_envelope
from attribution.policy import DAY_MS, AttributionPolicy
from streams.deal_clicks import ORPHAN_FOR_MS
from streams.topics import CONVERSIONS, DEALS, HITS
from streams.triggers import Trigger, decode_triggers

SHA = hashlib.sha256(EMAIL_OF_ANN.encode()).hexdigest()
WON = conversion_id_of_order("s", "deal_won", "hubspot:deal:7")
DEAL = of_hubspot(
    [
        hubspot(2, "deal", 7, "dealstage", "appointmentscheduled"),
        hubspot(3, "deal", 7, "amount", "12000"),
        {
            **hubspot(2, "deal", 7),
            "subscriptionType": "deal.associationChange",
            "associationType": "DEAL_TO_CONTACT",
            "fromObjectId": 7,
            "toObjectId": 51,
            "associationRemoved": False,
        },
        hubspot(9, "deal", 7, "dealstage", "closedwon"),
    ]
)
CONTACT = of_hubspot([hubspot(0, "contact", 51, "email", EMAIL_OF_ANN)])
ORDER = conversion_id_of_order("s", "purchase", "standard:order:A1")
SOLD = standard(5, "order.paid", id="A1", amount="30.01", currency="USD", visitor_id="v1")


@pytest.fixture
async def house(empty_valkey: str) -> AsyncIterator[House]:
    async with Redis.from_url(empty_valkey) as redis:
        made = House(redis, AttributionPolicy(), Faults([]), "durable", random.Random(1))
        made.deals = DealSettings()
        yield made


def hit(event_id: str, visitor_id: str, days: float, **given: Any) -> Hit:
    at = T0 + int(days * DAY_MS)
    return Hit(event_id=event_id, site="s", visitor_id=visitor_id, occurred_at=at, received_at=at, **given)


def visit(event_id: str, visitor_id: str, days: float) -> Hit:
    return hit(event_id, visitor_id, days, event="page_view", url=f"https://shop.example/?gclid={event_id}")


def identify(event_id: str, visitor_id: str, days: float, event: str = "identify") -> Hit:
    return hit(event_id, visitor_id, days, event=event, email_sha256=SHA)


async def arrive(house: House, *arriving: Hit | Delivery) -> list[Trigger]:
    """All of it, one after the other; the triggers that were sent meanwhile."""
    before = {place: len(log) for place, log in house.logs.items()}
    for one in arriving:
        if isinstance(one, Hit):
            house.append(HITS, one.visitor_id.encode(), encode_envelope([one]))
        else:
            house.append(DEALS, one.site.encode(), encode_deliveries([one]))
        await settle(house)
    return [
        trigger
        for partition in range(PARTITIONS)
        for record in house.logs[CONVERSIONS, partition][before.get((CONVERSIONS, partition), 0) :]
        for trigger in decode_triggers(record.value)
    ]


async def settle(house: House) -> None:
    for _ in range(MOST_TURNS):
        if await settled(house, house.rng):
            return
    raise AssertionError(f"not settled after {MOST_TURNS} turns")


def asked(triggers: Sequence[Trigger], conversion_id: str) -> list[tuple[str, str]]:
    """(who, why) of the wishes to look at a conversion again."""
    return [(one.visitor_id, one.cause) for one in triggers if one.conversion_id == conversion_id]


def credited(house: House, conversion_id: str) -> dict[str, int]:
    """Cents by channel under the last touch, as the ledger adds up."""
    found: Counter[str] = Counter()
    for row in house.writer.dicts("credits"):
        if (row["conversion_id"], row["model"]) == (conversion_id, "last_touch"):
            found[row["channel"]] += cents(row["amount"])
    return {channel: amount for channel, amount in found.items() if amount}


async def test_a_visitor_who_is_linked_later_and_parted_again(house: House) -> None:
    await arrive(house, visit("e1", "v1", 1), DEAL, CONTACT)
    assert credited(house, WON) == {"(unattributed)": 1_200_000}
    assert asked(await arrive(house, identify("e2", "v1", 4)), WON) == [("v1", "merge")]
    assert credited(house, WON) == {"Paid Search": 1_200_000}
    assert asked(await arrive(house, identify("e3", "v1", 5, "unlink")), WON) == [("v1", "split")]
    assert credited(house, WON) == {"(unattributed)": 1_200_000}


async def test_a_visitor_who_is_linked_before_the_deal_is_told(house: House) -> None:
    await arrive(house, visit("e1", "v1", 1), identify("e2", "v1", 4), DEAL)
    assert credited(house, WON) == {"(unattributed)": 1_200_000}  # nobody knows yet whose address it is
    await arrive(house, CONTACT)
    assert credited(house, WON) == {"Paid Search": 1_200_000}


async def test_a_contact_that_is_told_later_tells_of_its_deals(house: House) -> None:
    await arrive(house, visit("e1", "v1", 1), identify("e2", "v1", 1))
    (before,) = [one.fact for one in await arrive(house, DEAL) if one.conversion_id == WON]
    (after,) = [one.fact for one in await arrive(house, CONTACT) if one.conversion_id == WON]
    assert before is not None
    assert after is not None
    assert before.ids == ("crm:51",)
    assert after.ids == ("crm:51", f"email:{SHA}")
    assert after.revision > before.revision


async def test_what_a_linked_visitor_did_before_the_deal_is_news_to_it_and_what_he_did_after_it_is_none(
    house: House,
) -> None:
    await arrive(house, identify("e1", "v1", 1), CONTACT, DEAL)
    assert asked(await arrive(house, visit("e2", "v1", 2)), WON) == [("v1", "")]
    assert asked(await arrive(house, visit("e3", "v1", 20)), WON) == []


async def test_another_device_of_the_person_is_found_through_the_first(house: House) -> None:
    await arrive(house, CONTACT, DEAL, identify("e1", "v1", 1))
    user = {"event": "identify", "user_id": "ann"}
    await arrive(house, hit("e2", "v1", 1, **user))
    assert asked(await arrive(house, hit("e3", "v2", 1, **user)), WON) == [("v2", "merge")]
    assert asked(await arrive(house, visit("e4", "v2", 2)), WON) == [("v2", "")]


async def test_a_visitor_whom_the_shop_names_needs_no_link(house: House) -> None:
    """Late touches of somebody whom no hit has named concern what was told of him."""
    await arrive(house, visit("e1", "v1", 1))
    assert asked(await arrive(house, SOLD), ORDER) == [("v1", "")]
    assert asked(await arrive(house, visit("e2", "v1", 2)), ORDER) == [("v1", "")]
    assert asked(await arrive(house, visit("e3", "v1", 6)), ORDER) == []
    assert asked(await arrive(house, visit("e4", "v2", 2)), ORDER) == []


async def test_a_lead_of_the_visitor_whom_the_shop_names_is_a_moment_of_the_order(house: House) -> None:
    await arrive(house, visit("e1", "v1", 1), SOLD)
    assert asked(await arrive(house, hit("e2", "v1", 1.001, event="lead")), ORDER) == [("v1", "")]


async def test_the_visitor_whom_the_shop_names_may_come_after_the_order(house: House) -> None:
    await arrive(house, SOLD)
    assert asked(await arrive(house, visit("e1", "v1", 1)), ORDER) == [("v1", "")]


async def test_a_page_and_a_shop_that_tell_one_order_are_one_conversion(house: House) -> None:
    bought = hit("e1", "v1", 5, event="purchase", value="29", currency="USD", order_id="standard:order:A1")
    await arrive(house, bought, SOLD)
    stands = [row for row in house.writer.dicts("conversions") if row["sign"] == 1]
    assert {row["conversion_id"] for row in stands} == {ORDER}


TOLD = postback(2, click_id="e1", transaction_id="t1", payout="12.50", currency="EUR")
POSTED = conversion_id_of_order("s", "purchase", "t1")


async def test_a_postback_is_about_the_visitor_who_landed_with_its_click(house: House) -> None:
    await arrive(house, visit("e1", "v1", 1))
    assert asked(await arrive(house, TOLD), POSTED) == [("v1", "")]
    assert not await house.redis.keys("*orphans")
    assert asked(await arrive(house, visit("e2", "v1", 1.5)), POSTED) == [("v1", "")]


async def test_a_tracker_s_click_is_named_by_our_own_parameter(house: House) -> None:
    """Its own is one of dozens that nobody lists; before the postback and after it."""
    landed = "https://shop.example/?utm_source=mgid&utm_medium=cpc&hw_click_id=w4bD"
    told = postback(2, click_id="w4bD", transaction_id="t1", payout="12.50", currency="EUR")
    assert asked(await arrive(house, told), POSTED) == [("", "")]
    assert ("v1", "") in asked(await arrive(house, hit("e1", "v1", 1, url=landed)), POSTED)
    assert credited(house, POSTED) == {"Paid Other": 1250}


async def test_a_click_that_comes_after_its_postback_is_joined(house: House) -> None:
    assert asked(await arrive(house, TOLD), POSTED) == [("", "")]
    (orphans,) = await house.redis.keys("*orphans")
    assert await house.redis.hkeys(orphans) == [POSTED.encode()]
    assert credited(house, POSTED) == {"(unattributed)": 1250}
    assert ("v1", "") in asked(await arrive(house, visit("e1", "v1", 1)), POSTED)
    assert credited(house, POSTED) == {"Paid Search": 1250}
    assert not await house.redis.keys("*orphans")
    # What is told again of it keeps its visitor.
    more = postback(3, click_id="e1", transaction_id="t1", payout="13", currency="EUR")
    (fact,) = [one.fact for one in await arrive(house, more) if one.conversion_id == POSTED]
    assert fact is not None
    assert (fact.visitor_id, [one.value_minor for one in fact.bookings]) == ("v1", [1250, 1300])


async def test_under_other_rules_the_visitor_of_a_click_stays(house: House) -> None:
    await arrive(house, visit("e1", "v1", 1), TOLD)
    house.all_die()
    house.deals = DealSettings(rules=DealRules(default_currency="GBP"))
    assert asked(await arrive(house), POSTED) == []


async def test_an_orphan_of_long_ago_is_given_up(house: House) -> None:
    """Its conversion stays, about nobody."""
    await arrive(house, TOLD)
    (orphans,) = await house.redis.keys("*orphans")
    long_ago = int(time.time() * 1000) - ORPHAN_FOR_MS - 1
    await house.redis.hset(orphans, POSTED, str(long_ago))
    assert asked(await arrive(house, visit("e1", "v1", 1)), POSTED) == []
    assert not await house.redis.keys("*orphans")
