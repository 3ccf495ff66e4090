"""Micro-conversions end to end: a cart, a sign-up and a watched video are credited, and disturb no money."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from clickhouse_connect.driver.client import Client
from redis.asyncio import Redis

from api.funnel import FunnelRequest
from api.requests import parse_query
from api.service import QueryService
from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from runtime.settings import lookbacks_of
from sinks.writer import RowWriter
from streams.fence import FenceStore
from streams.journal_log import MemoryJournals
from streams.records import Batch, Record
from streams.rules import StitchRules
from streams.takeover import Tools, take_over
from streams.topics import CONVERSIONS, HITS

MORNING = 1_790_928_000_000
"""2026-10-02 08:00:00 UTC."""
MINUTE = 60_000
POLICY = AttributionPolicy(
    conversion_lookbacks_ms=lookbacks_of("purchase=90,lead=30,sign_up=30,add_to_cart=30,video_view=7")
)
BROWSER = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)
SEARCH = "https://shop.example/?utm_source=google&utm_medium=cpc&utm_campaign=lamps&gclid=G1"
MAIL = "https://shop.example/?utm_source=newsletter&utm_medium=email&utm_campaign=may"


def hit(event_id: str, visitor_id: str, minute: int, event: str = "page_view", **given: Any) -> Hit:
    at = MORNING + minute * MINUTE
    facts = {"site": "shop", "user_agent": BROWSER, "occurred_at": at, "received_at": at + 9}
    return Hit(event_id=event_id, visitor_id=visitor_id, event=event, **{**facts, **given})


def heard() -> list[Hit]:
    """Ann comes by an ad on her phone, fills a cart there and buys on her laptop, by mail. Bob watches and signs up."""
    ann = {"user_id": "ann-1"}
    cart = hit("a2", "phone", 5, "add_to_cart", url="https://shop.example/lamp", value="80", currency="USD")
    return [
        hit("a1", "phone", 0, url=SEARCH, **ann),
        cart,
        cart,  # sent again by a beacon that was not sure
        hit("a3", "phone", 6, "add_to_cart", url="https://shop.example/shade", value="20", currency="USD"),
        hit("a4", "laptop", 60, url=MAIL, **ann),
        hit(
            "a5",
            "laptop",
            65,
            "purchase",
            url="https://shop.example/ok",
            value="90",
            currency="USD",
            order_id="O1",
        ),
        hit("b1", "bob", 1, url=SEARCH),
        hit("b2", "bob", 3, "video_view", url="https://shop.example/film", value="5"),
        hit("b3", "bob", 10, "sign_up", url="https://shop.example/join", order_id="user-7"),
        # The shop's server tells the same sign-up.
        hit("s1", "user:7", 11, "sign_up", order_id="user-7"),
    ]


async def fill(redis_url: str, writer: RowWriter) -> None:
    """Both stages of a worker with one partition."""
    triggers: list[Record] = []

    async def send(topic: str, key: bytes, value: bytes) -> None:
        if topic == CONVERSIONS:
            triggers.append(Record(len(triggers), 0, key, value))

    async with Redis.from_url(redis_url) as redis:
        rules = StitchRules(POLICY, "USD", 1)
        tools = Tools("b", FenceStore(redis), MemoryJournals(), writer, send, rules)
        stitch = (await take_over(tools, HITS, 0)).stage
        credit = (await take_over(tools, CONVERSIONS, 0)).stage
        records = [Record(n, 0, b"", encode_envelope([one])) for n, one in enumerate(heard())]
        await stitch.process(Batch(HITS, 0, "b", records))
        await credit.process(Batch(CONVERSIONS, 0, "b", triggers))


async def test_micro_conversions_are_credited_and_disturb_no_money(
    clean: tuple[Client, str], empty_valkey: str
) -> None:
    client, database = clean
    await fill(empty_valkey, RowWriter(client, database))
    service = QueryService(client, database, POLICY)

    def rows(metrics: str, by: str = "", **given: Any) -> list[list[Any]]:
        body = {"metrics": metrics.split(), "dimensions": by.split(), "model": "first_touch", **given}
        return service.query(parse_query(json.dumps(body).encode())).rows

    by_stage = rows("conversions revenue aov", "stage", order_by=[["stage", "asc"]])
    assert by_stage == [
        ["(no stage)", 1, "0.00", None],  # the video: in no stage of the default funnel
        ["add_to_cart", 2, "0.00", None],  # two carts, of which one came twice
        ["customer", 1, "90.00", "90.00"],
        ["sign_up", 1, "0.00", None],  # told twice under one order id
    ]
    assert rows("conversions revenue aov") == [[5, "90.00", "90.00"]]
    answer = service.query(parse_query(b'{"metrics": ["revenue"], "model": "first_touch"}'))
    coverage = answer.meta.coverage
    assert (coverage.heard_revenue, coverage.revenue, coverage.attributed_share) == ("90.00", "90.00", 1)
    # The phone's ad is the first touch of both carts and of the order that was bought on the laptop.
    carts = rows("conversions", "channel", filters=[["stage", "is", ["add_to_cart"]]])
    assert carts == [["Paid Search", 2]]
    assert rows("revenue", "channel", filters=[["stage", "is", ["customer"]]]) == [["Paid Search", "90.00"]]
    funnel = service.funnel(FunnelRequest())
    people = {line.stage: line.persons for line in funnel.stages if line.persons}
    assert people == {"visit": 2, "add_to_cart": 1, "sign_up": 1, "customer": 1}
    (customer,) = (line for line in funnel.stages if line.stage == "customer")
    assert (customer.median_seconds_from_first, customer.share_of_first) == (65 * 60, Decimal("0.5"))
