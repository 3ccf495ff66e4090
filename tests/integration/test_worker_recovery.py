"""A worker whose broker misbehaves: replaced while it joins, or quarrelling about an offset."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    UnknownError,
)
from conftest import ServerThread

from attribution.policy import AttributionPolicy
from runtime.embedded.servers import BROKER
from sinks.client import connect
from sinks.memory import MemoryWriter
from sinks.migrate import migrate
from streams.patience import patiently
from streams.topics import CREDITS
from streams.worker import EXIT_BROKER_CHANGED, EXIT_FAILED, Worker, WorkerConfig

PARTITIONS = 4


async def test_a_broker_replaced_while_a_worker_joins_ends_the_worker_at_once(
    tmp_path: Path, empty_valkey: str, engine: str, fresh_database: str
) -> None:
    """It would join the new broker under the old one's name, and read offsets that mean something else there."""
    migrate(connect(engine, fresh_database), fresh_database)
    log = tmp_path / "worker.log"
    with ServerThread(tmp_path, BROKER) as servers:
        env = {
            "HEADWATER_KAFKA": servers.kafka,
            "HEADWATER_KAFKA_IDEMPOTENT": "false",
            "HEADWATER_REDIS": empty_valkey,
            "HEADWATER_CLICKHOUSE": engine,
            "HEADWATER_DATABASE": fresh_database,
        }
        with log.open("wb") as output:
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "runtime.cli", "work"),
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
            )
        try:
            async with asyncio.timeout(60):
                while b"worker_joins" not in log.read_bytes():
                    await asyncio.sleep(0.01)
                os.kill(servers.pids[BROKER], signal.SIGKILL)
                # Before its consumer was connected it cannot start, after that it sees another cluster id.
                assert await worker.wait() in (EXIT_FAILED, EXIT_BROKER_CHANGED)
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
    assert b"worker_started" not in log.read_bytes()
    assert b"took_over" not in log.read_bytes()


class QuarrellingProducer(AIOKafkaProducer):  # type: ignore[misc]
    """Says first what the embedded broker says, under load, to one of two producers that meet at one offset."""

    quarrels = [UnknownError(), NotLeaderForPartitionError(), KafkaTimeoutError()]

    async def send_and_wait(self, *args: Any, **options: Any) -> Any:
        if self.quarrels:
            raise self.quarrels.pop()
        return await super().send_and_wait(*args, **options)


async def test_a_record_that_the_broker_did_not_take_is_sent_again(
    fresh_broker: str, empty_valkey: str
) -> None:
    """It is no reason to die; what can never work is."""
    config = WorkerConfig(
        kafka=fresh_broker,
        kafka_idempotent=False,
        redis=empty_valkey,
        partitions=PARTITIONS,
        policy=AttributionPolicy(),
        default_currency="USD",
        batch_max_hits=1_000,
        batch_wait_ms=20,
        metrics_port=0,
        writer_factory=MemoryWriter,  # type: ignore[arg-type]
    )
    worker = Worker(config)
    worker._producer = QuarrellingProducer(bootstrap_servers=fresh_broker, acks="all")
    await worker._producer.start()
    async with asyncio.timeout(30):
        await patiently(partial(worker._send, CREDITS, b"key", b"value"), "send")
    assert QuarrellingProducer.quarrels == []
    with pytest.raises(MessageSizeTooLargeError):
        await worker._send(CREDITS, b"key", b"x" * (9 << 20))
    await worker._producer.stop()
    async with AIOKafkaConsumer(
        CREDITS, bootstrap_servers=fresh_broker, auto_offset_reset="earliest"
    ) as consumer:
        async with asyncio.timeout(30):
            assert (await consumer.getone()).value == b"value"
