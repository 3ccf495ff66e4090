"""Apache Kafka's own broker: what it keeps, what it refuses, and that our clients live through its faults."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from clickhouse_connect.driver.client import Client as ClickHouse
from collector_kit import Client, config_of, eventually, ids_in_kafka, running, spooled
from conftest import PARTITIONS, empty_topics

from attribution.errors import Transient
from collector.kafka import Connection, Envelope
from collector.metrics import Counted
from runtime.embedded.apache_kafka_install import Installed
from runtime.embedded.apache_kafka_nodes import ApacheKafkaNodes
from sinks.client import connect
from sinks.migrate import migrate
from streams.kafka_admin import cluster_id, ensure_topics
from streams.producer import Producer
from streams.topics import CREDITS, HITS, VOLATILE_CLUSTER_PREFIX

pytestmark = pytest.mark.kafka
REFUSED_SECONDS = 8.0
"""Longer than it takes a cluster that can to take records; also after a death (the session timeout is six)."""


@pytest.fixture
def own_node(apache_kafka_installed: Installed, tmp_path: Path) -> Iterator[ApacheKafkaNodes]:
    """One node that the test starts and kills; not started yet."""
    with ApacheKafkaNodes(apache_kafka_installed, tmp_path / "kafka") as nodes:
        yield nodes


@contextlib.asynccontextmanager
async def connected(nodes: ApacheKafkaNodes) -> AsyncIterator[Connection]:
    """The collector's connection to the hits topic."""
    connection = Connection(nodes.bootstrap, HITS, PARTITIONS, True, on_lost=lambda: None)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()


async def values_in_kafka(bootstrap: str, partition: int = 0) -> list[bytes]:
    """Every value of one partition of the hits topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        place = TopicPartition(HITS, partition)
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        found: list[bytes] = []
        async with asyncio.timeout(30):
            while await consumer.position(place) < end:
                found.append((await consumer.getone()).value)
        return found
    finally:
        await consumer.stop()


async def test_a_node_that_ends_in_any_way_returns_with_cluster_id_and_log(
    own_node: ApacheKafkaNodes,
) -> None:
    """What `up` and the worker need to treat it as durable."""
    await own_node.start()
    await ensure_topics(own_node.bootstrap, PARTITIONS)
    cluster = await cluster_id(own_node.bootstrap)
    assert not cluster.startswith(VOLATILE_CLUSTER_PREFIX)
    for number, end in enumerate((own_node.kill, own_node.stop)):
        async with AIOKafkaProducer(
            bootstrap_servers=own_node.bootstrap, acks="all", enable_idempotence=True
        ) as producer:
            assert (await producer.send_and_wait(HITS, b"%d" % number, partition=0)).offset == number
        end()
        with pytest.raises(Transient):
            await cluster_id(own_node.bootstrap)
        await own_node.start()
        assert await cluster_id(own_node.bootstrap) == cluster
    assert await values_in_kafka(own_node.bootstrap) == [b"0", b"1"]


async def test_a_cluster_acknowledges_what_two_of_three_have(apache_cluster: ApacheKafkaNodes) -> None:
    """Any one node may die, whoever leads; with two away nothing is acknowledged; what was is never lost."""
    nodes = apache_cluster
    numbers = itertools.count()
    acknowledged: set[bytes] = set()

    async def send_some() -> None:
        """Until one record of each partition is acknowledged, over as many connections as it takes."""
        deadline = time.monotonic() + 60
        for partition in range(PARTITIONS):
            while True:
                value = b"%d" % next(numbers)
                try:
                    async with connected(nodes) as connection:
                        await connection.send([Envelope(partition, 1, value)])
                    acknowledged.add(value)
                    break
                except Transient:
                    assert time.monotonic() < deadline

    await send_some()
    nodes.kill(1)
    await send_some()
    nodes.kill(2)
    with pytest.raises((Transient, TimeoutError)):
        async with asyncio.timeout(REFUSED_SECONDS), connected(nodes) as connection:
            await connection.send([Envelope(p, 1, b"only one has it") for p in range(PARTITIONS)])
    await nodes.start(1, 2)
    await send_some()
    found: set[bytes] = set()
    for partition in range(PARTITIONS):
        found |= set(await values_in_kafka(nodes.bootstrap, partition))
    assert acknowledged <= found


async def test_the_collector_replaces_a_producer_beyond_help(fresh_apache: str, tmp_path: Path) -> None:
    """A real gap in the sequence numbers: the broker refuses everything that this producer sends from then on."""
    config = config_of(tmp_path / "spool", kafka=fresh_apache, kafka_idempotent=True)
    async with running(config) as (app, client):
        sent = await send_hits(client, 0, 20)
        await eventually(lambda: app.producer.unsent_bytes == 0)
        connection = app.producer._connection
        assert connection is not None
        manager = connection._producer._txn_manager
        for partition in range(PARTITIONS):
            manager.increment_sequence_number(TopicPartition(HITS, partition), 7)
        sent |= await send_hits(client, 100, 20)
        await eventually(lambda: app.metrics.value(Counted.failures) >= 1)
        await eventually(lambda: app.producer.unsent_bytes == 0)
        assert app.producer._connection is not connection
        assert await ids_in_kafka(fresh_apache) == sent


async def test_the_worker_replaces_a_producer_beyond_help(fresh_apache: str) -> None:
    """As the collector's, in the worker."""
    producer = Producer(fresh_apache, PARTITIONS, idempotent=True, names=[CREDITS])
    assert await producer.send(CREDITS, b"k", b"first", 0) == 0
    assert producer._line is not None
    producer._line.client._txn_manager.increment_sequence_number(TopicPartition(CREDITS, 0), 7)
    with pytest.raises(Transient, match="OutOfOrderSequenceNumber"):
        await producer.send(CREDITS, b"k", b"refused", 0)
    async with asyncio.timeout(30):
        assert await producer.send(CREDITS, b"k", b"second", 0) == 1
    await producer.close()


@pytest.fixture
def fresh_apache(apache_kafka: ApacheKafkaNodes) -> str:
    """Bootstrap address of the shared node, with empty topics."""
    asyncio.run(empty_topics(apache_kafka.bootstrap))
    return apache_kafka.bootstrap


async def send_hits(client: Client, first: int, count: int) -> set[str]:
    """Acknowledged event ids."""
    ids = {f"e{number}" for number in range(first, first + count)}
    for event_id in ids:
        answer = await client.post(
            "/v1/track", {"site": "shop", "event_id": event_id, "visitor_id": event_id}
        )
        assert answer.status == 200
    return ids


@pytest.fixture
def migrated_database(engine: str, fresh_database: str) -> ClickHouse:
    client = connect(engine, fresh_database)
    migrate(client, fresh_database)
    return client


@pytest.mark.slow
async def test_collector_and_worker_live_through_the_death_of_their_only_node(
    own_node: ApacheKafkaNodes,
    empty_valkey: str,
    engine: str,
    fresh_database: str,
    migrated_database: ClickHouse,
    tmp_path: Path,
) -> None:
    """kill -9 with hits on their way: the same worker process goes on, and each hit is there once."""
    await own_node.start()
    await ensure_topics(own_node.bootstrap, PARTITIONS)
    env = {
        "HEADWATER_KAFKA": own_node.bootstrap,
        "HEADWATER_REDIS": empty_valkey,
        "HEADWATER_CLICKHOUSE": engine,
        "HEADWATER_DATABASE": fresh_database,
    }
    with (tmp_path / "worker.log").open("wb") as output:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runtime.cli", "work"),
            stdout=output,
            stderr=output,
            env={**os.environ, **env},
        )

    async def kept() -> list[str]:
        sql = f"SELECT event_id FROM {fresh_database}.hits ORDER BY event_id"
        rows = await asyncio.to_thread(migrated_database.query, sql)
        return [row[0] for row in rows.result_rows]

    async def all_kept() -> bool:
        return await kept() == sorted(sent)

    try:
        config = config_of(tmp_path / "spool", kafka=own_node.bootstrap, kafka_idempotent=True)
        async with running(config) as (_, client):
            sent = await send_hits(client, 0, 30)
            await eventually(all_kept, seconds=60)
            for round_number in range(1, 3):
                sent |= await send_hits(client, round_number * 1_000, 30)
                own_node.kill()
                sent |= await send_hits(client, round_number * 1_000 + 100, 30)
                await client.close()
                await own_node.start()
                sent |= await send_hits(client, round_number * 1_000 + 200, 30)
                await eventually(all_kept, seconds=60)
            await eventually(lambda: not spooled(config.spool_dir))
        assert worker.returncode is None, (tmp_path / "worker.log").read_text()
        worker.terminate()
        assert await asyncio.wait_for(worker.wait(), 30) == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    assert await kept() == sorted(sent)
