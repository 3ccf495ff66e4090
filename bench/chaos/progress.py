"""Is anything still under way? What spools, broker and state store hold, asked from outside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from streams.kafka_admin import cluster_id
from streams.topics import CONVERSIONS, HITS, dirty_key, fence_key, outbox_key

_SEGMENT_HEAD_BYTES = 8
"""Length of a spool segment that holds nothing."""


@dataclass(frozen=True)
class Places:
    """Where to look."""

    kafka: str
    redis: str
    partitions: int
    spools: Sequence[Path]


async def unfinished(places: Places) -> list[str]:
    """What is still on its way, in words; nothing when all effects of all events are there."""
    try:
        return [*_held(places.spools), *await _in_stores(places)]
    except Exception as error:  # a part that is away is a reason to wait, whichever way it shows
        return [f"cannot ask: {error!r}"]


def _held(spools: Sequence[Path]) -> list[str]:
    said = []
    for spool in spools:
        sizes = []
        for path in spool.rglob("*.spool"):
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        if held := [size for size in sizes if size > _SEGMENT_HEAD_BYTES]:
            said.append(f"{spool.parent.name}: spool holds {len(held)} segments, {sum(held)} bytes")
    return said


async def _in_stores(places: Places) -> list[str]:
    said: list[str] = []
    broker = await cluster_id(places.kafka)
    ends = await log_ends(places.kafka, (HITS, CONVERSIONS), places.partitions)
    redis = Redis.from_url(places.redis, socket_timeout=5, decode_responses=True, encoding_errors="replace")
    try:
        for partition in range(places.partitions):
            for key, what in ((dirty_key(partition), "dirty"), (outbox_key(partition), "outbox")):
                if count := await redis.hlen(key):
                    said.append(f"{what} {partition}: {count}")
            for topic in (HITS, CONVERSIONS):
                fence = await redis.hgetall(fence_key(topic, partition))
                end = ends[topic, partition]
                offset = int(fence.get("offset", "0")) if fence.get("broker") == broker else 0
                if fence.get("pending"):
                    said.append(f"{topic} {partition}: pending {fence['pending']!r}")
                if offset < end:
                    said.append(f"{topic} {partition}: at {offset} of {end}")
    finally:
        await redis.aclose()
    return said


async def log_ends(kafka: str, topics: Sequence[str], partitions: int) -> dict[tuple[str, int], int]:
    """The next offset of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    asked = [TopicPartition(topic, partition) for topic in topics for partition in range(partitions)]
    try:
        await consumer.start()
        ends = await consumer.end_offsets(asked)
    finally:
        await consumer.stop()
    return {(tp.topic, tp.partition): offset for tp, offset in ends.items()}
