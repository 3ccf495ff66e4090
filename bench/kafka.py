"""Filling topics before a measurement, and asking how far an output topic has got."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.traffic import RecordOut

_AT_ONCE = 2_000


async def create_topics(bootstrap: str, partitions: int, names: Sequence[str]) -> None:
    """Create ``names`` before anybody asks about them: the broker would choose its own number of partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
    finally:
        await admin.close()


async def preload(bootstrap: str, topic: str, records: Sequence[RecordOut]) -> None:
    """Produce all ``records``; returns when the broker has them."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=False, max_batch_size=1 << 20, linger_ms=5
    )
    await producer.start()
    try:
        for begin in range(0, len(records), _AT_ONCE):
            sent = [
                await producer.send(topic, r.value, key=r.key or None, partition=r.partition)
                for r in records[begin : begin + _AT_ONCE]
            ]
            await asyncio.gather(*sent)
    finally:
        await producer.stop()


class OutputCounter:
    """Reads a topic and counts its records: what a pipeline has brought out so far.

    The topic is really read: the embedded broker's "latest offset" is that of its last batch's first record.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        self._partitions = [TopicPartition(topic, number) for number in range(partitions)]
        self._counting: asyncio.Task[None] | None = None
        self.count = 0
        """Records seen."""

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(self._partitions)
        await self._consumer.seek_to_beginning(*self._partitions)
        self._counting = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._counting is not None:
            self._counting.cancel()
        await self._consumer.stop()

    async def _run(self) -> None:
        while True:
            found = await self._consumer.getmany(timeout_ms=200)
            self.count += sum(len(records) for records in found.values())
