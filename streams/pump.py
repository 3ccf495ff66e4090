"""A pump turns the records of one partition into contiguous batches and has a stage process them in order.

One task per partition: while one waits for ClickHouse, another computes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

import structlog

from streams.records import Batch, Record
from streams.vitals import Vitals, watched_as

log = structlog.get_logger(__name__)

MAX_BUFFERED_BYTES = 16 << 20
"""Beyond this the pump makes the Faust agent wait, and Kafka keeps the rest."""
IDLE_AT_LEAST_EVERY_S = 15.0
"""Under steady load nothing is ever idle, and what ``Stage.idle`` looks after must not wait for ever."""


class Stage(Protocol):
    """What processes the batches of one partition: first ``start``, then ``process`` one at a time."""

    async def start(self) -> None:
        """Finish what an earlier owner left half done."""

    async def process(self, batch: Batch) -> None:
        """Make every effect of the batch, then move the fence. Raises to stop the worker."""

    async def idle(self) -> None:
        """Called about once a second while nothing arrives, and now and then while much does."""


class Pump:
    """Buffer and batch the records of one partition.

    ``next_offset`` is the next record wanted; ``ranges`` are (first, last) of batches whose borders are given (ranges
    of earlier owners), in order; ``max_events`` is by the estimate of ``estimate_events``.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        broker: str,
        stage: Stage,
        *,
        next_offset: int,
        ranges: Iterable[tuple[int, int]] = (),
        max_events: int,
        wait_seconds: float,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.next_offset = next_offset
        self.vitals = Vitals(f"{topic} {partition}")
        self._broker = broker
        self._stage = stage
        self._ranges = deque(ranges)
        self._max_events = max_events
        self._wait_seconds = wait_seconds
        self._buffer: deque[Record] = deque()
        self._bytes = 0
        self._events = 0
        self._oldest_at = 0.0
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def wants_records(self) -> bool:
        """It has nothing to do until the log gives the record at ``next_offset``."""
        return self._task is not None and not self._task.done() and self.vitals.is_idle

    @property
    def has_room(self) -> bool:
        """False while ``put`` waits: then other partitions of the same agent wait, too."""
        return self._room.is_set()

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest record that waits, by the log's own time; 0 when none waits."""
        return max(0.0, time.time() - self._buffer[0].timestamp / 1000) if self._buffer else 0.0

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the records that wait."""
        return self._bytes

    def start(self) -> asyncio.Task[None]:
        """Run until ``close``; the task ends with the stage's exception if one is raised."""
        self._task = asyncio.create_task(self._run(), name=f"pump-{self.topic}-{self.partition}")
        return self._task

    async def put(self, record: Record) -> None:
        """Buffer a record; waits while the buffer is full. Records before ``next_offset`` are passed over."""
        if self._closing or record.offset < self.next_offset:
            return
        if not self._buffer:
            self._oldest_at = time.monotonic()
            if self.vitals.is_idle:
                self.vitals.does("records that wait")
        self._buffer.append(record)
        self.next_offset = record.offset + 1
        self._bytes += len(record.value)
        self._events += estimate_events(record)
        self._arrived.set()
        if self._is_enough():
            self._enough.set()
        if self._bytes > MAX_BUFFERED_BYTES:
            self._room.clear()
            await self._room.wait()

    async def close(self, deadline_seconds: float) -> None:
        """Let the running batch end, but no longer than the deadline. Safe at any moment: see the fence."""
        self._closing = True
        self._arrived.set()
        self._enough.set()
        self._room.set()
        if self._task is None or self._task.done():
            return
        _, pending = await asyncio.wait({self._task}, timeout=deadline_seconds)
        if pending:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1)

    async def _run(self) -> None:
        watched_as(self.vitals)
        self.vitals.does("start")
        await self._stage.start()
        idled_at = time.monotonic()
        while not self._closing:
            if time.monotonic() - idled_at >= IDLE_AT_LEAST_EVERY_S:
                self.vitals.does("idle")
                await self._stage.idle()
                idled_at = time.monotonic()
            if not self._buffer:
                self._arrived.clear()
                self.vitals.does("")
                try:
                    await asyncio.wait_for(self._arrived.wait(), timeout=1.0)
                except TimeoutError:
                    self.vitals.does("idle")
                    await self._stage.idle()
                    idled_at = time.monotonic()
                continue
            records = await self._collect()
            if not records:
                return
            self.vitals.does(f"batch {records[0].offset}-{records[-1].offset}")
            await self._stage.process(Batch(self.topic, self.partition, self._broker, records))
            del records  # The next batch may be long in coming.

    @property
    def _given_range(self) -> tuple[int, int] | None:
        """The given range that the next batch must be, if it begins there."""
        if self._ranges and self._buffer and self._buffer[0].offset >= self._ranges[0][0]:
            return self._ranges[0]
        return None

    def _is_enough(self) -> bool:
        given = self._given_range
        if given is not None:
            return self.next_offset > given[1]
        return self._events >= self._max_events

    async def _collect(self) -> list[Record]:
        """The records of the next batch: what arrives within the wait, or all of a given range."""
        self._enough.clear()
        if not self._is_enough() and not self._closing:
            wait = None if self._given_range else self._oldest_at + self._wait_seconds - time.monotonic()
            # The rest of a given range is the log's to give; else this is to end after the wait.
            self.vitals.does("" if wait is None else "collect")
            if wait is None or wait > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), timeout=wait)
        if self._closing:
            return []
        given = self._given_range
        last = given[1] if given else self._ranges[0][0] - 1 if self._ranges else None
        records: list[Record] = []
        taken = 0
        while self._buffer:
            record = self._buffer[0]
            size = estimate_events(record)
            if records and last is not None and record.offset > last:
                break
            if records and given is None and taken + size > self._max_events:
                break
            records.append(self._buffer.popleft())
            self._bytes -= len(record.value)
            taken += size
        if given:
            self._ranges.popleft()
        self._events -= taken
        self._oldest_at = time.monotonic()
        if self._bytes <= MAX_BUFFERED_BYTES // 2:
            self._room.set()
        return records


def estimate_events(record: Record) -> int:
    """About how many events an envelope holds: exact enough to bound a batch, and free to compute."""
    return 1 + len(record.value) // 400
