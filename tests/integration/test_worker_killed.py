"""A real worker killed (-9) between deciding what ads cost and the rows that say so, deals in hand; another goes on."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
import pytest
from deal_worlds import DEAL_STORY, SHOP_STORY, expected_facts, of_hubspot
from redis import Redis
from test_spend_stage import EMBEDDED, SpendHouse, deliver, expected, fact
from test_spend_stage import house as house  # the fixture, by its own name
from test_worker import PARTITIONS
from test_worker_deals import send as send_deals
from test_worker_deals import told, until_quiet

from attribution.deals.rules import DealRules
from bench.chaos.proxy import Link, Weather
from runtime.embedded.probes import free_port
from streams.topics import SPEND, outbox_key

FIRST = [fact(1_000_003 * (1 + number), campaign_id=f"{number}") for number in range(8)]
CORRECTED = [
    msgspec.structs.replace(one, cost=one.cost * 2 + 1, as_of=one.as_of + timedelta(days=1))
    for one in FIRST[::2]
]
BEFORE, AFTER = (
    SHOP_STORY[:2],
    [*(of_hubspot(part) for part in (DEAL_STORY[:5], DEAL_STORY[5:])), *SHOP_STORY[2:]],
)


@asynccontextmanager
async def worker_over(
    house: SpendHouse, link: Link, folder: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker's process whose way to ClickHouse is ``link``; killed at the end."""
    url = urlsplit(house.clickhouse)
    env = {
        "HEADWATER_KAFKA": house.kafka,
        "HEADWATER_KAFKA_IDEMPOTENT": str(house.idempotent).lower(),
        "HEADWATER_REDIS": house.redis,
        "HEADWATER_CLICKHOUSE": urlunsplit(
            url._replace(netloc=url.netloc.replace(str(url.port), str(link.port)))
        ),
        "HEADWATER_DATABASE": house.database,
        "HEADWATER_DATA_DIR": str(folder),
        "HEADWATER_AUDIT_SECONDS": "0",
    }
    with (folder / "worker.log").open("wb") as log:
        command = (sys.executable, "-m", "runtime.cli", "work")
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env={**os.environ, **env}
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def is_decided(house: SpendHouse) -> bool:
    """What is to be told of cost stands in an outbox: decided, and not known to be told."""
    with Redis.from_url(house.redis) as redis:
        return any(redis.hlen(outbox_key(number, SPEND)) for number in range(PARTITIONS))


@EMBEDDED
@pytest.mark.parametrize("weather", [Weather.hole, Weather.deaf])
async def test_what_a_killed_worker_had_decided_counts_once(
    house: SpendHouse, weather: Weather, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Before its rows are there, and after they are but nobody has told it so; then everything comes again."""
    rng = random.Random(8)
    port = urlsplit(house.clickhouse).port
    assert port is not None
    async with house.producing() as send, Link("worker>clickhouse", free_port({port}), port) as link:
        async with worker_over(house, link, tmp_path_factory.mktemp("worker")) as worker:
            await deliver(send, FIRST, rng)
            await send_deals(house, BEFORE, rng)
            await house.until(lambda: house.count("spend") == len(FIRST), "the first figures", 60)
            await until_quiet(house, len(BEFORE))
            async with link.weather(weather):
                await deliver(send, CORRECTED, rng)
                await send_deals(house, AFTER, rng)
                await house.until(lambda: is_decided(house), "the decision")
                if weather is Weather.deaf:
                    await house.until(lambda: house.count("spend") > len(FIRST), "corrected figures")
                worker.kill()
                await worker.wait()
                link.reset()  # what is still on its way is lost, too
            if weather is Weather.hole:
                assert (house.count("spend"), house.count("deliveries")) == (len(FIRST), len(BEFORE))
        await deliver(send, [*FIRST, *CORRECTED], rng)
        await send_deals(house, [*BEFORE, *AFTER], rng)
        async with house.working():
            await until_quiet(house, 2 * len([*BEFORE, *AFTER]))
            await house.until(
                lambda: house.balance("spend") == expected([*FIRST, *CORRECTED]), "newest figures"
            )
    assert house.balance("spend_metrics") == expected([*FIRST, *CORRECTED])
    assert house.count("spend") == len(FIRST) + 2 * len(CORRECTED)
    assert await told(house) == expected_facts([*BEFORE, *AFTER], DealRules())
    assert house.count("deliveries") == 2 * len([*BEFORE, *AFTER])
    assert house.failed() == []
    assert house.count("dead_letters") == 0
