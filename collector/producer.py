"""From the spool to Kafka: in order, at least once, and again from the start when the broker has forgotten.

The producer reads files, never a queue in memory, so a broker that is away costs disk and nothing else. It sends one
round of envelopes at a time and waits for its acknowledgement; while it waits, the next round grows. A segment is
released when every hit in it is safe elsewhere: on a durable broker once it is acknowledged, on a volatile one
(``VOLATILE_CLUSTER_PREFIX``) once the worker's fence has passed it, because that broker's log dies with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from attribution.errors import Transient
from collector.config import CollectorConfig
from collector.fences import Fence, Fences
from collector.kafka import Acknowledged, Connection, Envelope
from collector.metrics import Counted, Gauged, TopicMetrics
from collector.segments import MAGIC, MAX_FRAME_BYTES, MAX_FRAME_HITS, Damaged, Frame, Segment, read_frames
from collector.spool import Spool
from streams.topics import VOLATILE_CLUSTER_PREFIX

ROUND_BYTES = 1 << 20
LINGER_SECONDS = 0.1
"""Shortest time from one round to the next under load, so that envelopes fill: a round costs a millisecond of work
whatever is in it. Who is behind does not wait."""
BUSY_HITS = 32
"""A round of fewer hits is followed at once by the next."""
RELEASE_SECONDS = 1.0
HOLD_SECONDS = 3.0
"""How long a fence must have passed a segment before it is released: an append-only file that Redis fsyncs each
second may lose its last two seconds in a power cut, the fence with them."""
BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
CANCEL_AGAIN_SECONDS = 3.0

log = structlog.get_logger("collector.producer")


def build_envelopes(frames: Sequence[Frame]) -> list[Envelope]:
    """Envelopes of ``frames``, hits of one partition in the order of the frames."""
    envelopes: list[Envelope] = []
    opened: dict[int, _Opened] = {}
    for partition, hits, payload in frames:
        parts = opened.get(partition)
        if parts is not None and (
            parts.hits + hits > MAX_FRAME_HITS or parts.size + len(payload) > MAX_FRAME_BYTES
        ):
            envelopes.append(parts.close())
            parts = None
        if parts is None:
            parts = opened[partition] = _Opened(partition)
        parts.hits += hits
        parts.size += len(payload)
        parts.payloads.append(payload)
    envelopes.extend(parts.close() for parts in opened.values())
    return envelopes


class _Opened:
    """An envelope that may still grow."""

    __slots__ = ("hits", "partition", "payloads", "size")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.hits = self.size = 0
        self.payloads: list[bytes] = []

    def close(self) -> Envelope:
        return Envelope(self.partition, self.hits, b"[" + b",".join(self.payloads) + b"]")


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel ``tasks`` until they have ended.

    Once is not enough: ``asyncio.wait_for`` of Python 3.11, which redis-py sends with, forgets a cancellation that
    comes at the moment when what it waits for is done.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


class _Passed(NamedTuple):
    """What was acknowledged and what the workers had done at one moment, in one log."""

    at: float
    logs: int
    broker: str
    noted: dict[int, dict[int, int]]
    """Last acknowledged offset by segment number and partition."""
    fences: Sequence[Fence | None]

    def covers(self, segment: Segment) -> bool:
        """True if the workers were done with every hit that the segment holds."""
        if segment.durable <= len(MAGIC):
            return True
        noted = self.noted.get(segment.number)
        if not noted or noted != segment.offsets:
            return False
        return all(self._is_past(partition, offset) for partition, offset in noted.items())

    def _is_past(self, partition: int, offset: int) -> bool:
        fence = self.fences[partition]
        return fence is not None and fence.broker == self.broker and fence.offset > offset


_NOTHING_PASSED = _Passed(0.0, 0, "", {}, ())


class Producer:
    """Sends what the spool holds to ``topic`` and releases what is safe, from ``start`` to ``stop``."""

    def __init__(self, config: CollectorConfig, topic: str, spool: Spool, metrics: TopicMetrics) -> None:
        self._config = config
        self._topic = topic
        self._spool = spool
        self._metrics = metrics
        self._fences = Fences(config.redis, config.partitions, topic)
        self._connection: Connection | None = None
        self._broker = ""
        self._logs = 0
        """Counts brokers met; a round that began with another log than it ended with is not trusted."""
        self._number = 0
        """Where to read on: segment number and byte."""
        self._byte = 0
        self._checks = 0
        self._history: deque[_Passed] = deque()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def unsent_bytes(self) -> int:
        """Durable bytes that Kafka has not acknowledged."""
        return sum(
            segment.durable - (self._byte if segment.number == self._number else 0)
            for segment in self._spool.segments
            if segment.number >= self._number and segment.durable > len(MAGIC)
        )

    def start(self) -> None:
        """Begin to send and to release."""
        self._metrics.gauge(Gauged.connected, lambda: float(self._connection is not None))
        self._metrics.gauge(Gauged.unsent_bytes, lambda: float(self.unsent_bytes))
        self._tasks = [
            asyncio.create_task(self._send_forever()),
            asyncio.create_task(self._release_forever()),
        ]

    async def crashed(self) -> None:
        """Wait for an error that nobody foresaw, and raise it: a collector that cannot send may not go on quietly."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()

    async def drain(self, seconds: float) -> bool:
        """Wait at most ``seconds`` until Kafka has everything; True if it has."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.unsent_bytes > 0:
            if any(task.done() for task in self._tasks):
                return False
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def stop(self) -> None:
        """Release what is safe by now, end both tasks, and let go of Kafka and Redis."""
        # What cannot be released now is found by the next start, sent again and recognised by its event_id.
        with contextlib.suppress(Transient, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._release()
        await _end(self._tasks)
        await self._fences.close()

    async def _send_forever(self) -> None:
        attempts = 0
        while True:
            connection = Connection(
                self._config.kafka,
                self._topic,
                self._config.partitions,
                self._config.kafka_idempotent,
                on_lost=self._spool.wake,
            )
            try:
                self._meet(await connection.open())
                self._connection = connection
                attempts = 0
                log.info("kafka_connected", cluster=self._broker, topic=self._topic)
                while True:
                    await self._send_round(connection)
            except Transient as error:
                if attempts == 0:
                    log.warning(
                        "kafka_away", topic=self._topic, error=str(error), unsent_bytes=self.unsent_bytes
                    )
                self._metrics.count(Counted.failures)
            except OSError as error:
                log.error("spool_unreadable", error=str(error))
            finally:
                self._connection = None
                await connection.close()
            await asyncio.sleep(BACKOFF_SECONDS[min(attempts, len(BACKOFF_SECONDS) - 1)])
            attempts += 1

    async def _send_round(self, connection: Connection) -> None:
        """Send what is there, at most ``ROUND_BYTES``; wait if there is nothing."""
        loop = asyncio.get_running_loop()
        connection.check()
        segment = self._segment_to_read()
        if segment is None:
            await self._spool.grown()
            return
        began, logs, start, durable = loop.time(), self._logs, self._byte, segment.durable
        try:
            frames, end = await loop.run_in_executor(
                None, read_frames, segment.path, start, durable, ROUND_BYTES
            )
        except Damaged as error:
            self._skip_damage(segment, error)
            return
        envelopes = build_envelopes(frames)
        hits = sum(envelope.hits for envelope in envelopes)
        self._metrics.count(Counted.produced, by=hits)
        self._metrics.count(Counted.envelopes, by=len(envelopes))
        if start < segment.sent_once:
            self._metrics.count(Counted.resent, by=hits)
        segment.sent_once = max(segment.sent_once, end)
        done = await connection.send(envelopes)
        if logs != self._logs:
            return  # the broker was replaced meanwhile: the reader stands at the beginning again
        self._metrics.count(Counted.acked, by=hits)
        self._note_offsets(segment, done)
        self._byte = end
        if hits >= BUSY_HITS and end == durable:
            await asyncio.sleep(max(0.0, began + LINGER_SECONDS - loop.time()))

    def _skip_damage(self, segment: Segment, error: Damaged) -> None:
        """Go on with the next segment: one lost block of a disk may not hold up everything that comes after it."""
        self._spool.close_active()
        if self._spool.is_active(segment):
            return  # a commit is running: the next round finds the same damage
        log.error("spool_damaged", error=str(error), bytes_lost=segment.durable - self._byte)
        self._metrics.count(Counted.damaged, by=segment.durable - self._byte)
        self._spool.cut(segment, max(self._byte, len(MAGIC)))

    def _segment_to_read(self) -> Segment | None:
        """The segment with the next unsent byte; moves on from finished ones."""
        for segment in self._spool.segments:
            if segment.number < self._number:
                continue
            if segment.number > self._number:
                self._number, self._byte = segment.number, 0
            if segment.durable > max(self._byte, len(MAGIC)):
                return segment
        return None

    def _note_offsets(self, segment: Segment, done: Sequence[Acknowledged]) -> None:
        for acknowledged in done:
            before = segment.offsets.get(acknowledged.partition, -1)
            segment.offsets[acknowledged.partition] = max(before, acknowledged.offset)

    def _meet(self, broker: str) -> None:
        """A connection found the cluster ``broker``: if it is another one than before, send everything again."""
        if broker == self._broker:
            return
        if self._broker:
            self._metrics.count(Counted.broker_changes)
            log.warning(
                "kafka_changed", before=self._broker, now=broker, bytes_to_resend=self._spool.stored_bytes
            )
        self._broker = broker
        self._logs += 1
        self._number = self._byte = 0
        for segment in self._spool.segments:
            segment.offsets.clear()
        self._spool.wake()

    async def _release_forever(self) -> None:
        is_postponed = False
        while True:
            await asyncio.sleep(RELEASE_SECONDS)
            try:
                await self._release()
                self._checks += 1
                is_postponed = False
            except Transient as error:
                self._metrics.count(Counted.fence_failures)
                if not is_postponed:
                    log.warning("release_postponed", error=str(error))
                is_postponed = True
            except OSError as error:
                log.error("spool_release_failed", error=str(error))

    async def _release(self) -> None:
        """Release segments from the front as long as they are safe elsewhere. Raises ``Transient``, ``OSError``."""
        connection = self._connection
        if connection is None or not self._spool.segments:
            return
        passed = await self._passed(connection) if self._broker.startswith(VOLATILE_CLUSTER_PREFIX) else None
        for segment in list(self._spool.segments):
            if not self._is_sent(segment) or (passed is not None and not passed.covers(segment)):
                return
            self._spool.close_active()
            if self._spool.is_active(segment):
                return  # a commit is running
            self._spool.release(segment)
            self._metrics.count(Counted.released)

    async def _passed(self, connection: Connection) -> _Passed:
        """What the workers had passed ``HOLD_SECONDS`` ago, in the log of the broker that is there now."""
        now = asyncio.get_running_loop().time()
        noted = {segment.number: dict(segment.offsets) for segment in self._spool.segments}
        # The order matters: offsets were noted, then the cluster id is read. If it is still the same, no restart
        # lies between the two (ids never come back), so noted offsets and fences count in the same log.
        if await connection.cluster_id() != self._broker:
            connection.abandon()
            raise Transient("another Kafka answers")
        fences = await self._fences.read()
        self._history.append(_Passed(now, self._logs, self._broker, noted, fences))
        while len(self._history) > 1 and self._history[1].at <= now - HOLD_SECONDS:
            self._history.popleft()
        first = self._history[0]
        if first.logs != self._logs:
            self._history.clear()
        return first if first.logs == self._logs and first.at <= now - HOLD_SECONDS else _NOTHING_PASSED

    def _is_sent(self, segment: Segment) -> bool:
        """Everything that is in the segment now has been acknowledged by the current broker."""
        if segment.durable <= len(MAGIC):
            return True
        if segment.number == self._number:
            return self._byte >= segment.durable
        return segment.number < self._number
