"""A worker that has not yet noticed that its broker was replaced by one with other records at the same offsets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from attribution.errors import Transient
from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from sinks.memory import MemoryWriter
from streams.fence import FenceStore
from streams.journal_log import MemoryJournals
from streams.pump import Stage
from streams.records import Batch, Record
from streams.rules import StitchRules
from streams.takeover import TakenOver, Tools, take_over
from streams.topics import HITS, VOLATILE_CLUSTER_PREFIX, dirty_key, fence_key

VOLATILE, DURABLE = f"{VOLATILE_CLUSTER_PREFIX}1", "durable"


class Killed(BaseException):
    """The worker is gone: nothing may catch this but the test."""


class DyingWriter(MemoryWriter):
    """Keeps the rows of ``hits`` and then takes the worker down, once."""

    is_dying = True

    def insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Any], token: str) -> None:
        super().insert(table, columns, rows, token)
        if self.is_dying and table == "hits":
            self.is_dying = False
            raise Killed


class World:
    """A Redis and a ClickHouse that outlive workers."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.fences = FenceStore(redis)
        self.journals: dict[str, MemoryJournals] = defaultdict(MemoryJournals)
        """By broker: they die with it."""
        self.writer = DyingWriter()
        self.trouble: Exception | None = None

    async def new_worker(self, broker: str) -> tuple[Stage, TakenOver]:
        rules = StitchRules(AttributionPolicy(), "USD", 1)
        tools = Tools(broker, self.fences, self.journals[broker], self.writer, self._send, rules)
        taken = await take_over(tools, HITS, 0)
        return taken.stage, taken

    async def _send(self, topic: str, key: bytes, value: bytes) -> None:
        """Kafka: nobody listens."""
        if self.trouble is not None:
            raise self.trouble


def record(offset: int, event_id: str) -> Record:
    hit = Hit(
        event_id=event_id,
        site="s",
        visitor_id="v",
        occurred_at=1_790_000_000_000 + offset,
        received_at=1_790_000_000_000 + offset,
        url="https://shop.example/",
    )
    return Record(offset, 0, b"v", encode_envelope([hit]))


async def kill_in_mid_batch(world: World, broker: str) -> TakenOver:
    """A worker dies between ClickHouse and Redis; what its successor finds."""
    stage, _ = await world.new_worker(broker)
    with pytest.raises(Killed):
        await stage.process(Batch(HITS, 0, broker, [record(0, "a"), record(1, "b")]))
    stage, position = await world.new_worker(broker)
    await stage.start()
    return position


async def test_a_claimed_range_is_finished_with_its_own_records(empty_valkey: str) -> None:
    """Under the old range's token the new records would vanish: ClickHouse drops what it takes for a repetition.

    The order of events: the worker dies in mid-batch; its successor asks for the cluster id; the broker dies and is
    back with the spool's hits in another grouping; the successor joins it and reads on.
    """
    async with Redis.from_url(empty_valkey) as redis:
        world = World(redis)
        position = await kill_in_mid_batch(world, VOLATILE)
        assert (position.next_offset, position.ranges) == (2, [])
        assert (await redis.hgetall(fence_key(HITS, 0)))[b"offset"] == b"2"
        stage, position = await world.new_worker(f"{VOLATILE}2")
        await stage.start()
        assert (position.next_offset, position.ranges) == (0, [])
        records = [record(0, "c"), record(1, "a"), record(2, "b"), record(3, "d")]
        await stage.process(Batch(HITS, 0, f"{VOLATILE}2", records))
        assert sorted(row["event_id"] for row in world.writer.dicts("hits")) == ["a", "b", "c", "d"]
        assert not await redis.hgetall(dirty_key(0))


async def test_a_durable_broker_is_read_again(empty_valkey: str) -> None:
    """It still has the records, so the claim does not carry them."""
    async with Redis.from_url(empty_valkey) as redis:
        world = World(redis)
        position = await kill_in_mid_batch(world, DURABLE)
        assert not (await redis.hgetall(fence_key(HITS, 0))).get(b"payload")
        assert (position.next_offset, position.ranges) == (0, [(0, 1)])
        stage, _ = await world.new_worker(DURABLE)
        await stage.start()
        await stage.process(Batch(HITS, 0, DURABLE, [record(0, "a"), record(1, "b")]))
        assert sorted(row["event_id"] for row in world.writer.dicts("hits")) == ["a", "b"]


@pytest.mark.parametrize(("error", "is_fatal"), [(Transient("away"), False), (RuntimeError("broken"), True)])
async def test_a_producer_beyond_help_ends_the_worker(
    empty_valkey: str, error: Exception, is_fatal: bool
) -> None:
    """A trigger that a broker does not take now stays dirty; one that can never be sent must not be shrugged off."""
    async with Redis.from_url(empty_valkey) as redis:
        world = World(redis)
        world.writer.is_dying = False
        world.trouble = error
        stage, _ = await world.new_worker(DURABLE)
        bought = Hit(
            event_id="p",
            site="s",
            visitor_id="v",
            occurred_at=1,
            received_at=1,
            event="purchase",
            value="1.00",
        )
        batch = Batch(HITS, 0, DURABLE, [Record(0, 0, b"v", encode_envelope([bought]))])
        if is_fatal:
            with pytest.raises(RuntimeError):
                await stage.process(batch)
        else:
            await stage.process(batch)
        assert await redis.hlen(dirty_key(0)) == 1
        assert (await redis.hgetall(fence_key(HITS, 0)))[b"offset"] == b"1"
