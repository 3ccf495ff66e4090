"""The worker process on real servers: Faust, broker, Valkey, ClickHouse engine."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from clickhouse_connect.driver.client import Client

from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from sinks.checks import run_checks
from sinks.client import connect
from sinks.migrate import migrate
from sinks.writer import RowWriter
from streams.app import check_hooks
from streams.replay import replay
from streams.topics import CONVERSIONS, CREDITS, DEAD_LETTERS, HITS, partition_of
from streams.worker import Worker, WorkerConfig

PARTITIONS = 4
T0 = 1_760_000_000_000


class House:
    """Addresses of the servers of one test."""

    def __init__(self, kafka: str, idempotent: bool, redis: str, clickhouse: str, database: str) -> None:
        self.kafka, self.redis, self.clickhouse, self.database = kafka, redis, clickhouse, database
        self.idempotent = idempotent
        self.client: Client = connect(clickhouse, database)
        migrate(self.client, database)

    def worker(self) -> Worker:
        return Worker(
            WorkerConfig(
                kafka=self.kafka,
                kafka_idempotent=self.idempotent,
                redis=self.redis,
                partitions=PARTITIONS,
                policy=AttributionPolicy(),
                default_currency="USD",
                batch_max_hits=1_000,
                batch_wait_ms=20,
                metrics_port=0,
                writer_factory=lambda: RowWriter(self.client, self.database),
            )
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """A worker that runs meanwhile and stops cleanly."""
        worker = self.worker()
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            assert await asyncio.wait_for(running, 30) == 0

    @asynccontextmanager
    async def producing(self) -> AsyncIterator[Callable[[str, str, bytes], Awaitable[Any]]]:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        await producer.start()

        async def send(topic: str, key: str, value: bytes) -> Any:
            partition = partition_of(key, PARTITIONS)
            return await producer.send_and_wait(topic, value=value, key=key.encode(), partition=partition)

        try:
            yield send
        finally:
            await producer.stop()

    async def read(self, topic: str, count: int) -> list[Any]:
        """At least the first ``count`` objects of ``topic``, of envelopes too (the embedded broker does not tell true
        end offsets)."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        try:
            async with asyncio.timeout(20):
                found: list[Any] = []
                while len(found) < count:
                    said = msgspec.json.decode((await consumer.getone()).value)
                    found += said if isinstance(said, list) else [said]
                return found
        finally:
            await consumer.stop()

    def count(self, table: str) -> int:
        return int(self.client.query(f"SELECT count() FROM {self.database}.{table}").result_rows[0][0])

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < deadline, f"not reached within {seconds} s: {what}"
            await asyncio.sleep(0.05)


@pytest.fixture
def house(
    fresh_broker: str,
    takes_idempotent: bool,
    empty_valkey: str,
    engine: str,
    fresh_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[House]:
    """A house whose workers run in an empty folder and must leave it empty (Faust likes to keep tables there)."""
    monkeypatch.chdir(tmp_path)
    yield House(fresh_broker, takes_idempotent, empty_valkey, engine, fresh_database)
    assert list(tmp_path.iterdir()) == []


def hits_of(visitor: str, count: int, **fields: Any) -> list[Hit]:
    return [
        Hit(
            event_id=f"{visitor}-{number}",
            site="s",
            visitor_id=visitor,
            occurred_at=T0 + number * 1_000,
            received_at=T0 + number * 1_000,
            url="https://shop.example/?utm_source=linkedin&utm_medium=paid-social",
            **fields,
        )
        for number in range(count)
    ]


def test_the_hooks_of_the_pinned_faust_are_there() -> None:
    """Refuse to run with another shape of Faust."""
    check_hooks()


async def test_hits_become_sessions_credit_and_roll_ups(house: House) -> None:
    """The whole way of an event inside the worker, and the seek hook is really called."""
    async with house.working() as worker, house.producing() as send:
        for number in range(20):
            visitor = f"v{number}"
            bought = Hit(
                event_id="buy", site="s", visitor_id=visitor, occurred_at=T0 + 60_000, received_at=T0 + 60_000,
                event="purchase", value="10.01", currency="USD", order_id=f"o{number}",
            )  # fmt: skip
            await send(HITS, visitor, encode_envelope([*hits_of(visitor, 3), bought]))
        await house.until(lambda: house.count("conversions") == 20, "20 conversions")
        await house.until(lambda: house.count("hits") == 80, "80 hits")
        assert worker.app.seeks_performed >= 1
    assert [check.name for check in run_checks(house.client, house.database) if not check.passed] == []
    revenue = house.client.query(
        f"SELECT model, sum(amount) FROM {house.database}.credits WHERE channel = 'Paid Social' GROUP BY model"
    ).result_rows
    assert {model: str(amount) for model, amount in revenue} == dict.fromkeys(
        AttributionPolicy().models, "200.2000"
    )
    said = await house.read(CREDITS, house.count("credits"))
    assert len({entry["conversion_id"] for entry in said}) == 20
    assert len(said) == house.count("credits")


async def test_two_workers_share_the_partitions_and_a_leaver_hands_over(house: House) -> None:
    """Join and leave while hits arrive: everything once."""
    async with house.producing() as send, house.working():
        for number in range(40):
            await send(HITS, f"v{number}", encode_envelope(hits_of(f"v{number}", 2)))
        async with house.working() as second:
            await house.until(lambda: second.owned_partitions > 0, "the second worker owns partitions")
            for number in range(40, 80):
                await send(HITS, f"v{number}", encode_envelope(hits_of(f"v{number}", 2)))
            await house.until(lambda: house.count("hits") >= 160, "160 hits")
        for number in range(80, 100):
            await send(HITS, f"v{number}", encode_envelope(hits_of(f"v{number}", 2)))
        await house.until(lambda: house.count("hits") >= 200, "200 hits after the leave")
    assert house.count("hits") == 200
    assert [check.name for check in run_checks(house.client, house.database) if not check.passed] == []


async def test_dead_letters_keep_their_bytes_and_can_be_replayed(house: House) -> None:
    """Reason and bytes in ClickHouse and Kafka; `replay` sends them once."""
    misplaced = hits_of("v1", 1)
    wrong = (partition_of("v1", PARTITIONS) + 1) % PARTITIONS
    async with house.working(), house.producing() as send:
        await send(HITS, "x", b"{not json")
        producer = AIOKafkaProducer(bootstrap_servers=house.kafka)
        await producer.start()
        await producer.send_and_wait(HITS, value=encode_envelope(misplaced), key=b"v1", partition=wrong)
        await producer.stop()
        await house.until(lambda: house.count("dead_letters") == 2, "two dead letters")
        rows = house.client.query(
            f"SELECT reason, payload_base64 FROM {house.database}.dead_letters ORDER BY reason"
        ).result_rows
        assert (rows[0][0], base64.b64decode(rows[0][1])) == ("malformed", b"{not json")
        assert rows[1][0] == "wrong_partition"
        writer = RowWriter(house.client, house.database)
        options: dict[str, Any] = {
            "idempotent": house.idempotent,
            "partitions": PARTITIONS,
            "database": house.database,
        }
        counted = await replay(house.client, writer, house.kafka, dry_run=True, **options)
        assert counted == {"malformed": 1, "wrong_partition": 1}
        await replay(house.client, writer, house.kafka, reason="wrong_partition", **options)
        await house.until(lambda: house.count("hits") == 1, "the misplaced hit, now in its place")
        assert not await replay(house.client, writer, house.kafka, reason="wrong_partition", **options)
    reasons = [letter["reason"] for letter in await house.read(DEAD_LETTERS, 2)]
    assert sorted(reasons) == ["malformed", "wrong_partition"]


async def test_a_strange_trigger_is_a_dead_letter(house: House) -> None:
    """The credit stage trusts nobody either."""
    async with house.working(), house.producing() as send:
        await send(CONVERSIONS, "c", b"[[[")
        await house.until(lambda: house.count("dead_letters") == 1, "one dead letter")
