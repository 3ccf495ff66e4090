"""A courier sends parcels of records through a topic and sees that each has been acted on, before it forgets it.

Seen, not assumed: a parcel is answered when the fences have passed all of its records and no outbox holds rows of them.
The number of parcels under way is bounded, so that what else arrives need not wait long behind them. A broker that
keeps its log in memory may die with parcels in it: then they are sent again to the next one. So whatever a parcel asks
for must be harmless when it is asked twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

import structlog
from redis.asyncio import Redis

from attribution.errors import Transient
from streams.kafka_admin import cluster_id
from streams.patience import patiently
from streams.producer import Producer
from streams.topics import CONVERSIONS, fence_key, outbox_key

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.05
LOOK_AT_BROKER_SECONDS = 2.0
_PAUSE_SECONDS = 0.5


class Sent(NamedTuple):
    """One record of a parcel."""

    topic: str
    partition: int
    key: bytes
    value: bytes


class Parcel(NamedTuple):
    """Records that belong together, and where their sender stands when all of them are answered."""

    records: Sequence[Sent]
    size: int
    """Conversions or hits in it."""
    cursor: str


class Log(Protocol):
    """Where parcels are sent to."""

    async def send(self, record: Sent) -> tuple[str, int]:
        """Broker epoch and offset of the record. Raises ``Transient``."""

    async def broker(self) -> str:
        """The broker epoch that answers now. Raises ``Transient``."""


class KafkaLog:
    """Kafka at ``bootstrap``, whichever broker answers there: each has its own client."""

    def __init__(self, bootstrap: str, partitions: int, *, idempotent: bool, names: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._idempotent = idempotent
        self._names = names
        self._producer: Producer | None = None

    async def send(self, record: Sent) -> tuple[str, int]:
        """Send and wait. A client that failed is replaced: the next broker may have another name."""
        producer = self._producer
        if producer is None:
            producer = self._producer = Producer(
                self._bootstrap, self._partitions, idempotent=self._idempotent, names=self._names
            )
        try:
            offset = await producer.send(record.topic, record.key, record.value, record.partition)
        except Transient:
            await self.close()
            raise
        return producer.broker, offset

    async def broker(self) -> str:
        """Ask the cluster."""
        return await cluster_id(self._bootstrap)

    async def close(self) -> None:
        """Let go of the client."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.close()


class _UnderWay(NamedTuple):
    parcel: Parcel
    broker: str
    last: dict[tuple[str, int], int]
    """(topic, partition) → offset of the parcel's last record there."""


class Courier:
    """Parcels in order. ``on_answered`` is called for each, in the order in which they were sent."""

    def __init__(
        self, log_: Log, redis: Redis, on_answered: Callable[[Parcel], Awaitable[None]], *, most: int
    ) -> None:
        """``most``: conversions or hits under way at once; a single parcel may be larger."""
        self._log = log_
        self._redis = redis
        self._on_answered = on_answered
        self._most = most
        self._under_way: deque[_UnderWay] = deque()
        self._looked_at = 0.0

    async def send(self, parcel: Parcel) -> None:
        """Send as soon as there is room."""
        while self._under_way and self._count() + parcel.size > self._most:
            await self._wait()
        self._under_way.append(await self._send(parcel))

    async def settle(self) -> None:
        """Returns when everything that was sent is answered."""
        while self._under_way:
            await self._wait()

    def _count(self) -> int:
        return sum(one.parcel.size for one in self._under_way)

    async def _send(self, parcel: Parcel) -> _UnderWay:
        """All records to one and the same broker."""
        while True:
            last: dict[tuple[str, int], int] = {}
            brokers: set[str] = set()
            try:
                for record in parcel.records:
                    broker, offset = await self._log.send(record)
                    brokers.add(broker)
                    last[record.topic, record.partition] = offset
            except Transient as error:
                log.warning("restatement_waits", error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if len(brokers) <= 1:
                return _UnderWay(parcel, min(brokers, default=""), last)

    async def _wait(self) -> None:
        """Look once; sleep if the oldest parcel is not answered yet."""
        if await self._is_answered(self._under_way[0]):
            answered = self._under_way.popleft()
            await self._on_answered(answered.parcel)
            return
        if time.monotonic() - self._looked_at > LOOK_AT_BROKER_SECONDS:
            self._looked_at = time.monotonic()
            await self._send_again_what_died()
        await asyncio.sleep(POLL_SECONDS)

    async def _send_again_what_died(self) -> None:
        try:
            broker = await self._log.broker()
        except Transient as error:
            log.warning("restatement_waits", error=str(error))
            return
        for number, one in enumerate(self._under_way):
            if one.last and one.broker != broker:
                log.info("restatement_sent_again", lost_with=one.broker, count=one.parcel.size)
                self._under_way[number] = await self._send(one.parcel)

    async def _is_answered(self, one: _UnderWay) -> bool:
        places = list(one.last)

        async def look() -> list[Any]:
            async with self._redis.pipeline(transaction=True) as pipe:
                for topic, partition in places:
                    pipe.hmget(fence_key(topic, partition), ["broker", "offset"])
                    if topic == CONVERSIONS:
                        pipe.hkeys(outbox_key(partition))
                answers: list[Any] = await pipe.execute()
                return answers

        answers = iter(await patiently(look, "redis fences"))
        is_answered = True
        for topic, partition in places:
            broker, offset = next(answers)
            left = next(answers) if topic == CONVERSIONS else []
            last = one.last[topic, partition]
            has_passed = (broker or b"").decode() == one.broker and int(offset or 0) > last
            is_answered &= has_passed and not any(_is_of(name.decode(), one.broker, last) for name in left)
        return is_answered


def _is_of(batch_id: str, broker: str, last: int) -> bool:
    """Whether an outbox (``broker:first-last:owner``) may hold rows of records up to ``last``."""
    its_broker, borders, _ = batch_id.rsplit(":", 2)
    return its_broker == broker and int(borders.partition("-")[0]) <= last
