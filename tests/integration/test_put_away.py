"""A deal that closes when its visitor's timeline is long gone from Redis, through a worker on real servers."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from decimal import Decimal

import pytest
from api_store import Store
from deal_worlds import EMAIL_OF_ANN, T0, hubspot, of_hubspot
from redis.asyncio import Redis
from test_worker import House

from attribution.conversions import conversion_id_of_order
from attribution.deals.delivery import encode_deliveries
from attribution.hit import Hit, encode_envelope
from attribution.policy import DAY_MS
from sinks.checks import run_checks
from streams.topics import DEALS, HITS
from streams.worker import Worker

WON = conversion_id_of_order("s", "deal_won", "hubspot:deal:7")
LINKEDIN = "https://shop.example/?utm_source=linkedin&utm_medium=paid-social&utm_campaign=spring"
DELIVERY = of_hubspot(
    [
        hubspot(0, "contact", 51, "email", EMAIL_OF_ANN),
        hubspot(2, "deal", 7, "deal_currency_code", "EUR"),
        hubspot(3, "deal", 7, "amount", "12000"),
        {
            **hubspot(2, "deal", 7),
            "subscriptionType": "deal.associationChange",
            "associationType": "DEAL_TO_CONTACT",
            "fromObjectId": 7,
            "toObjectId": 51,
            "associationRemoved": False,
        },
        hubspot(60, "deal", 7, "dealstage", "closedwon"),
    ]
)


class ForgetfulHouse(House):
    """Its workers put a timeline away a second after it was last written."""

    def worker(self) -> Worker:
        worker = super().worker()
        return Worker(replace(worker._config, timeline_seconds=1))


@pytest.fixture
def house(
    fresh_broker: str, takes_idempotent: bool, empty_valkey: str, engine: str, fresh_database: str
) -> ForgetfulHouse:
    return ForgetfulHouse(fresh_broker, takes_idempotent, empty_valkey, engine, fresh_database)


def hit(event_id: str, days: float, **given: str) -> Hit:
    at = T0 + int(days * DAY_MS)
    return Hit(event_id=event_id, site="s", visitor_id="v1", occurred_at=at, received_at=at, **given)


async def until_put_away(house: House) -> None:
    async with Redis.from_url(house.redis) as redis, asyncio.timeout(30):
        while await redis.keys("t{h*"):
            await asyncio.sleep(0.05)


def credited(house: House) -> dict[str, tuple[str, Decimal]]:
    """By model the one channel that has all of the deal, and how much that is."""
    found = house.client.query(
        f"SELECT model, channel, sum(amount) AS total FROM {house.database}.credits"
        f" WHERE conversion_id = '{WON}' GROUP BY model, channel HAVING total != 0"
    ).result_rows
    return {model: (channel, amount) for model, channel, amount in found}


async def test_a_deal_finds_the_touch_of_a_visitor_who_is_no_longer_in_redis(house: ForgetfulHouse) -> None:
    """Click and form; silence; the CRM's deal is won: LinkedIn has it under every model. Then he comes back."""
    click = hit("e1", 1, url=LINKEDIN)
    form = hit("e2", 1.001, event="identify", email_sha256=hashlib.sha256(EMAIL_OF_ANN.encode()).hexdigest())
    async with house.producing() as produce, house.working():
        await produce(HITS, "v1", encode_envelope([click, form]))
        await house.until(lambda: house.count("hits") == 2, "click and form")
        await until_put_away(house)
        await produce(DEALS, "s", encode_deliveries([DELIVERY]))
        await house.until(lambda: house.count("credits") > 0, "credit")
        by_model = credited(house)
        assert len(by_model) == 12
        assert set(by_model.values()) == {("Paid Social", Decimal(12_000))}
        explained = Store(house.client, house.database).explain(WON)
        assert [(one.decision, one.channel) for one in explained.touchpoints] == [("in", "Paid Social")]
        assert explained.balanced == dict.fromkeys(by_model, True)
        # The click once more, another one an hour after it, and a visit long afterwards.
        late, again = hit("e3", 1.04, url="https://shop.example/?gclid=g1"), hit("e4", 50, url=LINKEDIN)
        await produce(HITS, "v1", encode_envelope([click, late, again]))
        await house.until(lambda: house.count("hits") == 4, "late hits")
        await house.until(
            lambda: credited(house)["last_touch"][0] == "Paid Social", "credit of the last touch"
        )
        await house.until(lambda: len(_shares(house)) == 3, "three touches under linear")
    assert house.count("touchpoints") == 3
    dropped = house.client.query(f"SELECT reason, sum(count) FROM {house.database}.drops GROUP BY reason")
    assert dropped.result_rows == [("duplicate", 1)]
    checks = run_checks(house.client, house.database)
    assert [check.name for check in checks if check.findings] == []


def _shares(house: House) -> list[str]:
    found = house.client.query(
        f"SELECT touchpoint_id FROM {house.database}.credits WHERE conversion_id = '{WON}' AND model = 'linear'"
        " GROUP BY touchpoint_id HAVING sum(amount) != 0"
    )
    return [row[0] for row in found.result_rows]
