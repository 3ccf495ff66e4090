"""Filling topics before a measurement, and asking how far an output topic has got."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.traffic import RecordOut

_AT_ONCE = 2_000
T = TypeVar("T")


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


@asynccontextmanager
async def newest_values(
    bootstrap: str, topic: str, partitions: int, kind: type[T]
) -> AsyncIterator[Mapping[bytes, T]]:
    """Read a topic of JSON values from its beginning on; inside, the mapping holds each key's newest value so far."""
    newest: dict[bytes, T] = {}
    decode = msgspec.json.Decoder(kind).decode
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)

    async def follow() -> None:
        while True:
            found = await consumer.getmany(timeout_ms=200)
            for records in found.values():
                newest.update((record.key, decode(record.value)) for record in records)

    await consumer.start()
    try:
        numbered = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(numbered)
        await consumer.seek_to_beginning(*numbered)
        following = asyncio.create_task(follow())
        try:
            yield newest
        finally:
            following.cancel()
    finally:
        await consumer.stop()
