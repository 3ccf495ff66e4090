"""Deliveries through workers on real servers: Faust, broker, Valkey, ClickHouse engine; one of them is killed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from deal_worlds import DEAL_STORY, SHOP_STORY, content, expected_facts, of_hubspot
from redis.asyncio import Redis
from rich.console import Console
from test_worker import PARTITIONS, House

from attribution.conversions import ConversionFact
from attribution.deals.delivery import Delivery, encode_deliveries
from attribution.deals.rules import DealRules
from attribution.deals.settings import DealSettings
from attribution.money import format_amount
from runtime.imports.deals import import_deals
from runtime.settings import Settings
from sinks.checks import run_checks
from sinks.writer import RowWriter
from streams.deal_states import told_from
from streams.replay import replay
from streams.topics import DEALS, deal_told_key, dirty_key, outbox_key

SAMPLES = Path(__file__).parents[2] / "../shared/data/webhooks"


@pytest.fixture
def house(
    fresh_broker: str, takes_idempotent: bool, empty_valkey: str, engine: str, fresh_database: str
) -> House:
    return House(fresh_broker, takes_idempotent, empty_valkey, engine, fresh_database)


async def told(house: House) -> dict[str, ConversionFact]:
    """What credit was told and has answered."""
    async with Redis.from_url(house.redis) as redis:
        facts = {}
        for partition in range(PARTITIONS):
            for field, packed in (await redis.hgetall(deal_told_key(partition))).items():
                facts[field.decode()] = told_from(packed).fact
        return {i: content(fact) for i, fact in facts.items() if fact.bookings}


async def until_quiet(house: House, deliveries: int) -> None:
    """All deliveries have their row, and credit has answered every wish."""
    await house.until(lambda: house.count("deliveries") >= deliveries, "rows of deliveries", 60)
    async with Redis.from_url(house.redis) as redis:
        async with asyncio.timeout(60):
            for partition in range(PARTITIONS):
                for key in (dirty_key(partition, DEALS), outbox_key(partition, DEALS)):
                    while await redis.hlen(key):
                        await asyncio.sleep(0.05)


async def send(house: House, deliveries: Sequence[Delivery], rng: random.Random) -> None:
    """In any order, in envelopes of any size."""
    left = rng.sample(deliveries, len(deliveries))
    async with house.producing() as produce:
        while left:
            size = rng.randint(1, 4)
            part, left = left[:size], left[size:]
            await produce(DEALS, part[0].site, encode_deliveries(part))


def changes_of(fact: ConversionFact) -> list[tuple[int, Decimal]]:
    """By instant by how much its value changes."""
    changes: dict[int, Decimal] = {}
    before = 0
    for one in fact.bookings:
        change = Decimal(format_amount(one.value_minor - before, fact.currency))
        changes[one.booked_at] = changes.get(one.booked_at, Decimal(0)) + change
        before = one.value_minor
    return [(at, change) for at, change in changes.items() if change]


def rows(house: House) -> list[Mapping[str, object]]:
    query = f"SELECT * FROM {house.database}.deliveries ORDER BY src_offset, position"
    return list(house.client.query(query).named_results())


async def test_a_story_with_a_killed_worker_and_every_delivery_twice(house: House, tmp_path: Path) -> None:
    rng = random.Random(5)
    story = [*(of_hubspot(part) for part in (DEAL_STORY[:4], DEAL_STORY[4:9], DEAL_STORY[9:])), *SHOP_STORY]
    env = {
        "HEADWATER_KAFKA": house.kafka,
        "HEADWATER_KAFKA_IDEMPOTENT": str(house.idempotent).lower(),
        "HEADWATER_REDIS": house.redis,
        "HEADWATER_CLICKHOUSE": house.clickhouse,
        "HEADWATER_DATABASE": house.database,
        "HEADWATER_DATA_DIR": str(tmp_path),
    }
    command = (sys.executable, "-m", "runtime.cli", "work")
    with (tmp_path / "worker.log").open("wb") as output:
        worker = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env={**os.environ, **env}
        )
    try:
        await send(house, story[::2], rng)
        await house.until(lambda: house.count("deliveries") > 0, "the first row", 60)
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    await send(house, [*story, *story[1::2]], rng)
    async with house.working():
        await until_quiet(house, 2 * len(story))
    assert await told(house) == expected_facts(story, DealRules())
    found = rows(house)
    assert len(found) == 2 * len(story)
    assert sorted(str(row["outcome"]) for row in found) == ["read"] * len(story) + ["repeated"] * len(story)
    bodies = {base64.b64decode(str(row["body_base64"])) for row in found}
    assert bodies == {one.body for one in story}
    standing = house.client.query(
        f"SELECT conversion_id, sum(sign) AS n FROM {house.database}.conversions GROUP BY conversion_id HAVING n != 0"
    ).result_rows
    # What was lost, cancelled or taken back does not stand any more.
    expected = expected_facts(story, DealRules())
    assert {row[0] for row in standing} == {name for name, fact in expected.items() if fact.number}
    failed = [one for one in run_checks(house.client, house.database, at_rest_seconds=0) if not one.passed]
    assert not failed  # the books of every instant, and the roll-up by booked_at, among them
    worth = house.client.query(
        "SELECT conversion_id, toUnixTimestamp64Milli(booked_at) AS at, toString(sum(conversion_value))"
        f" FROM {house.database}.credits WHERE model = 'linear' GROUP BY conversion_id, at "
        "HAVING sum(conversion_value) != 0 ORDER BY at"
    ).result_rows
    booked: dict[str, list[tuple[int, Decimal]]] = {}
    for conversion_id, at, change in worth:
        booked.setdefault(conversion_id, []).append((at, Decimal(change)))
    assert booked == {name: changes for name, fact in expected.items() if (changes := changes_of(fact))}


async def test_a_dead_letter_is_read_when_it_is_replayed(house: House) -> None:
    """A sender that has no adapter yet, and one whose body is broken; the others do not wait for them."""
    broken = Delivery(site="s", source="stripe", scheme="stripe_v1", keys=[["k"]], received_at=1, body=b"{")
    async with house.working():
        await send(house, [broken, *SHOP_STORY[:3]], random.Random(1))
        await until_quiet(house, 4)
        query = f"SELECT reason FROM {house.database}.dead_letters"
        assert house.client.query(query).result_rows == [("not_json",)]
        counts = await replay(
            house.client,
            RowWriter(house.client, house.database),
            house.kafka,
            idempotent=house.idempotent,
            partitions=PARTITIONS,
            database=house.database,
        )
        assert counts == {"not_json": 1}
        await until_quiet(house, 5)
    outcomes = [(row["source"], row["outcome"]) for row in rows(house)]
    assert outcomes.count(("stripe", "unreadable")) == 2


async def test_samples_of_the_senders_are_read(house: House) -> None:
    """HubSpot's own messages and Stripe's own objects, as they were published."""
    if not SAMPLES.exists():
        pytest.skip("the senders' samples (../shared/data/webhooks) are not beside this repository")
    messages = json.loads((SAMPLES / "hubspot_events.json").read_text())["messages"]
    event = json.loads((SAMPLES / "stripe_fixtures.json").read_text())["event"]
    deliveries = [
        Delivery(
            site="s",
            source="hubspot",
            scheme="hubspot_v3",
            keys=[[f"h{number}"]],
            received_at=1_760_000_000_000,
            body=json.dumps(message if isinstance(message, list) else [message]).encode(),
        )
        for number, message in enumerate(messages)
    ]
    deliveries.append(
        Delivery(
            site="s",
            source="stripe",
            scheme="stripe_v1",
            keys=[["s"]],
            received_at=1_760_000_000_000,
            body=json.dumps(event).encode(),
        )
    )
    async with house.working():
        await send(house, deliveries, random.Random(2))
        await until_quiet(house, len(deliveries))
    assert await told(house) == expected_facts(deliveries, DealRules())
    assert {row["outcome"] for row in rows(house)} <= {"read", "ignored"}


HISTORY = """type,timestamp,id,amount,currency,email,order_id,parent.object,parent.id
deal.created,2025-10-01T09:00:00Z,D-7,12000,EUR,ann@shop.example,,,
deal.won,2025-10-20T16:30:00Z,D-7,,,,,,
order.paid,2025-10-03,A-1,49.90,EUR,bob@shop.example,1001,,
refund.succeeded,2025-10-20,R-1,9.90,EUR,,,order,A-1
"""


async def test_deals_of_the_past_are_imported_once_and_wrong_lines_are_named(
    house: House, tmp_path: Path
) -> None:
    history, more = tmp_path / "history.csv", tmp_path / "more.jsonl"
    history.write_text(HISTORY + "deal.won,yesterday,D-8,,,,,,\nparty.won,2025-10-20,D-9,,,,,,\n")
    more.write_text('{"type": "deal.lost", "timestamp": "2025-11-02", "data": {"id": "D-7"}}\nnonsense\n')
    settings = Settings(
        kafka=house.kafka,
        kafka_idempotent=house.idempotent,
        redis=house.redis,
        clickhouse=house.clickhouse,
        database=house.database,
        partitions=PARTITIONS,
    )
    said = Console(record=True, width=200)
    async with house.working():
        first = await import_deals([history, more], settings, DealSettings(), "s", said)
        again = await import_deals([history], settings, DealSettings(), "s", said)
    text = said.export_text()
    assert (first.read, first.sent, first.outcomes["read"]) == (8, 5, 5)
    assert again.outcomes == {"repeated": 4}
    assert not first.is_complete
    assert "history.csv:6: timestamp: Send a time" in text
    assert "history.csv:7: type: Send <object>.<act>" in text
    assert "more.jsonl:2: Write one JSON object in each line." in text
    assert "8 records: 5 new, 0 told before, 3 refused." in text
    facts = (await told(house)).values()
    values = {(fact.type, fact.order_id): [one.value_minor for one in fact.bookings] for fact in facts}
    assert values == {
        ("opportunity", "standard:deal:D-7"): [1_200_000, 0],
        ("deal_won", "standard:deal:D-7"): [1_200_000, 0],
        ("purchase", "1001"): [4990, 4000],
    }
