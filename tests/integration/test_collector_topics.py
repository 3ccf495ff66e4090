"""Each topic has a way out of its own: what one holds, loses or waits for is no other's business."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from aiokafka import AIOKafkaConsumer, TopicPartition
from collector_kit import (
    PARTITIONS,
    SITE,
    Broker,
    Client,
    CollectorProcess,
    config_of,
    eventually,
    ids_in_kafka,
    is_open,
    running,
    spooled,
)

from attribution.deals.delivery import decode_deliveries
from attribution.errors import Misconfigured, Transient
from attribution.spend.report import decode_reports
from collector import outlets as outlets_module
from collector import producer as producer_module
from collector import spool as spool_module
from collector.metrics import Counted
from collector.spool import Spool
from streams import kafka_admin
from streams.topics import DEALS, HITS, SPEND, fence_key


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker that the test starts."""
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release checks come without the waits that protect against power cuts."""
    monkeypatch.setattr(producer_module, "RELEASE_SECONDS", 0.05)
    monkeypatch.setattr(producer_module, "HOLD_SECONDS", 0.2)
    monkeypatch.setattr(spool_module, "SEGMENT_SECONDS", 0.0)


async def values_in(address: str, topic: str) -> list[bytes]:
    """Every record of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[bytes] = []
        for partition in partitions:
            while await consumer.position(partition) < ends[partition]:
                for records in (await consumer.getmany(partition, timeout_ms=500)).values():
                    found += [record.value for record in records]
        return found
    finally:
        await consumer.stop()


def stored(directory: Path) -> int:
    """Bytes in the spool files of a folder."""
    return sum(path.stat().st_size for path in directory.glob("*.spool"))


async def hit(client: Client, number: int) -> None:
    answer = await client.get(f"/p.gif?site={SITE}&event_id={number}&visitor_id={number}")
    assert answer.header("x-headwater-dropped") == ""


async def test_only_hits_have_a_way_out_until_something_else_comes(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (app, client):
        await hit(client, 1)
        assert not [path for path in tmp_path.iterdir() if path.is_dir()]
        text = (await client.get("/metrics")).body.decode()
        assert 'headwater_spool_bytes{topic="headwater.hits.v1"}' in text
        assert 'headwater_spool_bytes{topic="headwater.spend.v1"}' not in text
        spool = await app.outlets.spool_of(SPEND)
        assert spool is await app.outlets.spool_of(SPEND)
        await spool.append(1, b'{"a":1}')
        assert stored(tmp_path / "spend") > 0
        assert [hit.event_id for hit in spooled(tmp_path)] == ["1"], (
            "the others' records are not among the hits"
        )
        text = (await client.get("/metrics")).body.decode()
        assert 'headwater_spool_bytes{topic="headwater.spend.v1"}' in text
        assert 'headwater_spool_committed_hits_total{topic="headwater.spend.v1"} 1.0' in text
        assert 'headwater_spool_committed_hits_total{topic="headwater.hits.v1"} 1.0' in text
    async with running(config_of(tmp_path)) as (app, client):
        text = (await client.get("/metrics")).body.decode()
        assert 'headwater_spool_bytes{topic="headwater.spend.v1"}' in text, "what is on disk is sent"
        assert 'headwater_spool_bytes{topic="headwater.deals.v1"}' not in text


async def test_each_topics_records_go_to_its_topic_and_wait_for_its_own_fence(
    broker: Broker, empty_valkey: str, tmp_path: Path, quick: None
) -> None:
    cluster = await broker.start()
    await kafka_admin.ensure_topics(broker.address, PARTITIONS, names=[HITS, DEALS, SPEND])
    config = config_of(tmp_path / "spool", kafka=broker.address, redis=empty_valkey)
    with redis.Redis.from_url(empty_valkey) as store:
        async with running(config) as (app, client):
            await hit(client, 1)
            for topic in (DEALS, SPEND):
                spool = await app.outlets.spool_of(topic)
                await spool.append_all([(0, b'{"topic":"%s"}' % topic.encode()), (3, b'{"n":3}')])
            for topic in (HITS, DEALS, SPEND):
                await eventually(lambda topic=topic: app.metrics.value(Counted.acked, topic) > 0)
            assert await ids_in_kafka(broker.address) == {"1"}
            for topic in (DEALS, SPEND):
                told = [
                    record for value in await values_in(broker.address, topic) for record in json.loads(value)
                ]
                assert sorted(map(str, told)) == sorted(map(str, [{"topic": topic}, {"n": 3}]))
            for partition in range(PARTITIONS):
                fence = {"broker": cluster, "offset": 99}
                store.hset(fence_key(HITS, partition), mapping=fence)
                store.hset(fence_key(SPEND, partition), mapping=fence)
            await eventually(lambda: not stored(config.spool_dir) and not stored(config.spool_dir / "spend"))
            assert stored(config.spool_dir / "deals") > 0, "the deals stage has not been there"
            store.hset(fence_key(DEALS, 0), mapping=fence)
            store.hset(fence_key(DEALS, 3), mapping=fence)
            await eventually(lambda: not stored(config.spool_dir / "deals"))


async def test_what_was_answered_survives_a_kill_and_is_sent_by_the_next(
    broker: Broker, empty_valkey: str, tmp_path: Path
) -> None:
    config = config_of(tmp_path / "spool", redis=empty_valkey, kafka=broker.address)
    fact = {"site": SITE, "day": "2026-10-01", "ad_network": "acme", "cost": 1, "currency": "EUR"}
    process = CollectorProcess(config)
    await process.ready()
    client = Client(config.port)
    assert (await client.post("/v1/spend", [fact])).status == 200
    assert (await client.get(f"/postback?site={SITE}&click_id=c1")).status == 200
    process.kill()
    await client.close()
    await broker.start()
    await kafka_admin.ensure_topics(broker.address, PARTITIONS, names=[HITS, DEALS, SPEND])
    async with running(config) as (app, _):
        for topic in (DEALS, SPEND):
            await eventually(lambda topic=topic: app.metrics.value(Counted.acked, topic) == 1)
        (spend,) = await values_in(broker.address, SPEND)
        assert [report.fact.ad_network for report in decode_reports(spend)] == ["acme"]
        (deals,) = await values_in(broker.address, DEALS)
        assert [delivery.body for delivery in decode_deliveries(deals)] == [b'{"click_id":"c1"}']


async def test_a_full_spool_of_one_topic_refuses_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlets_module, "LEAST_BYTES", 200)
    async with running(config_of(tmp_path, spool_max_bytes=1 << 10)) as (app, client):
        spool: Spool = await app.outlets.spool_of(DEALS)
        assert spool.max_bytes == 200
        with pytest.raises(Transient):
            spool.append(0, b"x" * 300)
        await hit(client, 1)
        assert (await client.get("/readyz")).status == 200


async def test_a_folder_that_cannot_be_had_stops_the_start_and_leaves_nothing_taken(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with running(config) as (app, _):
        await app.outlets.spool_of(SPEND)
        rival = outlets_module.Outlets(config_of(tmp_path / "other"), app.metrics)
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "spend").symlink_to(tmp_path / "spend")
        with pytest.raises(Misconfigured, match="Another collector"):
            await rival.start()
    async with running(config_of(tmp_path / "other")) as (_, client):
        await hit(client, 1)


async def test_a_sender_that_crashes_ends_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: object) -> None:
        raise RuntimeError("nobody foresaw this")

    async def serve_until_it_ends() -> None:
        async with running(config_of(tmp_path)) as (app, client):
            monkeypatch.setattr(producer_module.Producer, "_send_forever", broken)
            await app.outlets.spool_of(DEALS)
            await eventually(lambda: not is_open(client.port))

    with pytest.raises(RuntimeError, match="nobody foresaw"):
        await serve_until_it_ends()
