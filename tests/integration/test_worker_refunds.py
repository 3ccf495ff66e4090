"""Orders that pages pay back, through a worker on real servers, and restated afterwards; figures worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from deal_worlds import standard
from test_restate import NEW, OLD, PARTITIONS, T0, WAYS, House, until
from test_restate import house as house  # the fixture, by its own name

from attribution.deals.delivery import Delivery, encode_deliveries
from attribution.hit import Hit, encode_envelope
from attribution.policy import DAY_MS
from sinks.checks import run_checks
from streams.topics import DEALS, HITS, dirty_key, partition_of

ORDERS = ("early", "parts", "too_much", "euros", "whole", "unnamed", "both")
LEFT = {"early": 70, "parts": 40, "too_much": 0, "euros": 100, "whole": 0, "unnamed": 100, "both": 75}
"""Of 100 USD each."""


def hit(event_id: str, visitor: str, day: int, **fields: Any) -> Hit:
    at = T0 + day * DAY_MS
    return Hit(event_id=event_id, site="s", visitor_id=visitor, occurred_at=at, received_at=at, **fields)


def bought(order: str) -> list[Hit]:
    """An e-mail, four days later an ad, and a day after that 100 USD."""
    return [
        hit(f"{order}-mail", order, 0, url=WAYS[0]),
        hit(f"{order}-ad", order, 4, url=WAYS[2]),
        hit(
            f"{order}-buy", order, 5, event="purchase", order_id=order, value="100.00", currency="USD"
        ),
    ]  # fmt: skip


def refund(order: str, day: int, value: str | None, visitor: str = "", **fields: Any) -> Hit:
    named = {"order_id": order, "value": value, "currency": "USD"} | fields
    return hit(f"{order}-back-{day}", visitor or order, day, event="refund", **named)


REFUNDS = [
    *(refund("parts", day, f"{day - 5}0.00", who) for day in (6, 7, 8) for who in ("parts", "till", "till")),
    refund("too_much", 9, "150.00"),
    refund("euros", 9, "30.00", currency="EUR"),
    refund("whole", 9, None),
    refund("unnamed", 9, "30.00", order_id=""),
    refund("both", 9, "25.00"),
]
SHOP = [
    standard(5, "order.paid", id="S-1", order_id="both", amount="100.00", currency="USD"),
    standard(9, "refund.succeeded", id="R-1", order_id="both", amount="25.00", currency="USD"),
]


async def send(house: House, hits: Sequence[Hit], deliveries: Sequence[Delivery] = ()) -> None:
    """In this order."""
    async with AIOKafkaProducer(bootstrap_servers=house.kafka, acks="all") as producer:
        said = [(HITS, one.visitor_id, encode_envelope([one])) for one in hits]
        said += [(DEALS, one.site, encode_deliveries([one])) for one in deliveries]
        for topic, key, value in said:
            place = partition_of(key, PARTITIONS)
            await producer.send_and_wait(topic, value, key=key.encode(), partition=place)


def worth(house: House) -> dict[str, set[Decimal]]:
    """Of each order what its models say it is worth."""
    found: dict[str, set[Decimal]] = {}
    # The shop's webhook may come before anybody who ordered: then its first entries are nobody's.
    query = "SELECT max(visitor_id), sum(amount) FROM credits GROUP BY conversion_id, model"
    for order, net in house.ask(query):
        found.setdefault(order, set()).add(net)
    return found


def is_quiet(house: House, hits: int) -> bool:
    """All hits have their row and credit has answered whatever they asked."""
    waiting = any(
        house.redis.hlen(dirty_key(partition, *topic))
        for partition in range(PARTITIONS)
        for topic in ((), (DEALS,))
    )
    return house.count("hits") == hits and house.count("deliveries") == len(SHOP) and not waiting


@pytest.mark.parametrize("broker_kind", ["embedded"], indirect=True)
async def test_orders_are_lowered_by_what_pages_and_shops_say_was_paid_back(house: House) -> None:
    """Before its order, in parts and twice, too much, in euros, whole, of no order, and told by a webhook, too."""
    hits = [one for order in ORDERS for one in bought(order)]
    expected = {order: {Decimal(left)} for order, left in LEFT.items()}
    kept = len(hits) + len(REFUNDS) - 3 + 1  # what one visitor says twice is one hit
    log = house.folder / "work.log"
    with house.worker(OLD) as worker:
        await send(house, [refund("early", 9, "30.00", "till")])
        await until(
            lambda: "refund_without_order" in log.read_text(), "the refund of what nobody has ordered"
        )
        assert house.count("credits") == 0
        await send(house, [*hits, *REFUNDS], SHOP)
        await until(lambda: is_quiet(house, kept) and worth(house) == expected, "all is heard")
        worker.terminate()
        assert worker.wait(30) == 0
    booked = house.ask(
        "SELECT toString(toDate(booked_at, 'UTC')), cause, sum(amount) FROM credits"
        " WHERE model = 'linear' AND visitor_id = 'parts' GROUP BY ALL ORDER BY 1"
    )
    assert booked == [
        ("2025-10-14", "conversion", 100), ("2025-10-15", "refund", -10), ("2025-10-16", "refund", -20),
        ("2025-10-17", "refund", -30),
    ]  # fmt: skip
    assert house.ask("SELECT sum(sign), sum(sign * value) FROM conversions") == [(7, sum(LEFT.values()))]
    for problem in ("refund_exceeds_value", "refund_currency_differs", "refund_told_by_sender"):
        assert problem in log.read_text()
    with house.worker(NEW):
        house.restate()
        assert worth(house) == expected
    channels = dict(
        house.ask("SELECT channel, sum(amount) FROM credits WHERE model = 'linear' GROUP BY channel")
    )
    assert not channels.pop("(unattributed)", 0)  # of the shop's webhook, if it came first
    assert channels == {"Email": 0, "Paid Social": sum(LEFT.values())}
    assert [check.name for check in run_checks(house.client, house.database) if not check.passed] == []
