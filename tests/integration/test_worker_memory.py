"""What all partitions of a worker hold together: batches in work and recent timelines, with real stages and pumps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from redis.asyncio import Redis

from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from sinks.memory import MemoryWriter
from streams.fence import FenceStore
from streams.journal_log import MemoryJournals
from streams.pump import Pump
from streams.recent import RecentTimelines, held_bytes
from streams.records import Record
from streams.room import Room
from streams.rules import StitchRules
from streams.takeover import Tools, take_over
from streams.topics import HITS, partition_of

PARTITIONS = 4
BATCH = 20
RECORDS = 5 * BATCH
T0 = 1_790_000_000_000


class GatedWriter(MemoryWriter):
    """Keeps rows of ``hits`` waiting until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.inside: set[str] = set()
        self._lock = threading.Lock()

    def insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Any], token: str) -> None:
        if table == "hits":
            with self._lock:
                self.inside.add(token)
            assert self.open.wait(60)
        with self._lock:
            super().insert(table, columns, rows, token)


def records_of(partition: int) -> list[Record]:
    """One hit each, and each visitor comes again after half of them."""
    visitors = [
        visitor
        for visitor, _ in zip(
            (v for v in map(str, count()) if partition_of(v, PARTITIONS) == partition),
            range(RECORDS // 2),
            strict=False,
        )
    ]
    return [
        Record(
            offset,
            0,
            visitor.encode(),
            encode_envelope(
                [
                    Hit(
                        event_id=f"{partition}-{offset}",
                        site="s",
                        visitor_id=visitor,
                        occurred_at=at,
                        received_at=at,
                    )
                ]
            ),
        )
        for offset, visitor in enumerate(visitors * 2)
        for at in [T0 + 60_000 * offset]
    ]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_partitions_that_are_behind_share_room_and_timelines(empty_valkey: str) -> None:
    """Four backlogs, stuck before ClickHouse: two batches are in work, two wait; in the end all rows are there once."""
    writer, budget = GatedWriter(), 30 * held_bytes(100)
    recent, room = RecentTimelines(budget), Room(2 * BATCH)
    ended: list[asyncio.Task[None]] = []

    async def send(topic: str, key: bytes, value: bytes) -> None:
        """Nobody listens."""

    async with Redis.from_url(empty_valkey) as redis:
        fences, journals = FenceStore(redis), MemoryJournals()
        rules = StitchRules(AttributionPolicy(), "USD", PARTITIONS)
        tools = Tools("durable", fences, journals, writer, send, rules, recent, room)
        pumps = []
        for partition in range(PARTITIONS):
            taken = await take_over(tools, HITS, partition)
            pump = Pump(
                HITS, partition, "durable", taken.stage, next_offset=0, max_events=BATCH, wait_seconds=0.01
            )
            for record in records_of(partition):
                await pump.put(record)
            pumps.append(pump)
        ended = [pump.start() for pump in pumps]
        try:
            await until(lambda: len(writer.inside) + room.waiting == PARTITIONS)
            assert (len(writer.inside), room.waiting, room.taken) == (2, 2, 2 * BATCH)
            writer.open.set()
            await until(lambda: len(writer.tables.get("hits", [])) == PARTITIONS * RECORDS)
            await until(lambda: room.taken == 0)
        finally:
            writer.open.set()
            for pump in pumps:
                await pump.close(10)
        assert [task.exception() for task in ended] == [None] * PARTITIONS
    assert 0 < recent.held <= budget
    found = [row["event_id"] for row in writer.dicts("hits")]
    assert len(set(found)) == len(found) == PARTITIONS * RECORDS
