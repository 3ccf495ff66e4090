"""The fence: where each partition stands, kept in Redis together with the state it belongs to.

``claim`` → compute → insert into ClickHouse → ``commit``. See docs/delivery.md for why this loses nothing
and counts nothing twice. Every write names the owner's epoch and is refused when a newer owner exists.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from attribution.errors import HeadwaterError
from streams.patience import patiently
from streams.records import Batch
from streams.tally import RANGE_EVENTS, Counts
from streams.topics import dirty_key, fence_key, outbox_key, tallies_key, tally_key

TIMELINE_TTL_SECONDS = 400 * 86_400
"""Garbage collection only: longer than any lookback window, renewed by every write."""


class Fenced(HeadwaterError):
    """This worker no longer owns the partition, or the store was set back: stop without writing."""


class Pending(msgspec.Struct, frozen=True):
    """A range that was claimed and not committed: it may or may not be in ClickHouse."""

    broker: str
    first: int
    last: int
    version: str
    attempt: int


class Position(msgspec.Struct, frozen=True):
    """What an owner finds when it takes a partition over."""

    epoch: int
    broker: str
    offset: int
    pending: Pending | None
    payload: bytes

    def start_on(self, broker: str) -> tuple[int, int | None]:
        """Where to read on ``broker`` (its cluster id), and where the first batch must end (None = anywhere).

        On another broker than the last owner's everything begins at 0: what it has is told by ``event_id``.
        A claimed range that carries its records is finished from them, so reading begins after it.
        """
        if self.pending is not None and self.pending.broker == broker:
            if self.payload:
                return self.pending.last + 1, None
            return self.pending.first, self.pending.last
        return (self.offset if self.broker == broker else 0), None


def _lua(name: str) -> str:
    return resources.files("streams").joinpath("lua", name).read_text()


class FenceStore:
    """Fences of one Redis. All calls wait while Redis is away; ``Fenced`` means: die."""

    def __init__(self, redis: Redis, *, range_events: int = RANGE_EVENTS) -> None:
        """``range_events``: how many events of a partition one range of the tally holds at least."""
        self.redis = redis
        self.range_events = range_events
        self._acquire = redis.register_script(_lua("acquire.lua"))
        self._forget = redis.register_script(_lua("forget.lua"))
        self.claim = redis.register_script(_lua("claim.lua"))
        self.commit_stitch = redis.register_script(_lua("commit_stitch.lua"))
        self.commit_credit = redis.register_script(_lua("commit_credit.lua"))

    async def acquire(self, topic: str, partition: int) -> Fence:
        """Become the owner of a partition: a new epoch, and where the last owner stopped."""
        key = fence_key(topic, partition)
        epoch, broker, offset, pending, payload = await self.run(self._acquire, [key], [], "acquire")
        found = Position(
            epoch=int(epoch),
            broker=broker.decode(),
            offset=int(offset or 0),
            pending=msgspec.convert(json.loads(pending), Pending) if pending else None,
            payload=payload,
        )
        return Fence(self, topic, partition, found)

    async def forget(self, key: str, fields: dict[bytes, bytes]) -> None:
        """Delete fields of the hash ``key`` that still hold the given values."""
        if fields:
            args = [part for pair in fields.items() for part in pair]
            await self.run(self._forget, [key], args, "forget")

    async def load(self, keys: list[str] | list[bytes]) -> list[bytes | None]:
        """The values of ``keys``, None where there is none."""
        values: list[Any] = await patiently(lambda: self.redis.mget(keys), "redis mget") if keys else []
        return values

    async def fields(self, key: str) -> dict[bytes, bytes]:
        """All fields of the hash ``key``."""
        found: Any = await patiently(lambda: self.redis.hgetall(key), "redis hgetall")
        return dict(found)

    async def delete_field(self, key: str, field: bytes) -> None:
        """Delete one field of the hash ``key``."""
        await patiently(lambda: self.redis.hdel(key, field), "redis hdel")

    async def run(self, script: Any, keys: list[Any], args: list[Any], what: str) -> Any:
        """Call a script, patiently. Raises ``Fenced`` when it refuses."""
        try:
            return await patiently(lambda: script(keys=keys, args=args), f"redis {what}")
        except ResponseError as error:
            if str(error).split(" ", 1)[0] in ("FENCED", "BEHIND", "CONFLICT", "DIVERGED"):
                raise Fenced(str(error)) from error
            raise


class Fence:
    """The fence of one partition in the hands of its owner. ``found`` is what stood there at the take-over."""

    def __init__(self, store: FenceStore, topic: str, partition: int, found: Position) -> None:
        self.store = store
        self.topic = topic
        self.partition = partition
        self.found = found
        self._key = fence_key(topic, partition)

    async def claim(self, batch: Batch, version: str, payload: bytes) -> int:
        """Persist the borders of a batch before its first effect. Returns the attempt's number, from 1."""
        args = [self.found.epoch, batch.broker, batch.first, batch.last, version, payload]
        return int(await self.store.run(self.store.claim, [self._key], args, "claim"))

    async def commit_stitch(
        self, batch: Batch, timelines: dict[bytes, bytes], dirty: dict[bytes, bytes], counts: Counts
    ) -> None:
        """Write timelines, dirty conversions, what the batch became and the fence in one atomic step."""
        partition = self.partition
        keys: list[Any] = [self._key, dirty_key(partition), tally_key(partition), tallies_key(partition)]
        keys += timelines
        args: list[Any] = [self.found.epoch, batch.broker, batch.first, batch.last + 1, TIMELINE_TTL_SECONDS]
        args += [self.store.range_events, msgspec.json.encode(counts), len(timelines), *timelines.values()]
        for field, value in dirty.items():
            args += (field, value)
        await self.store.run(self.store.commit_stitch, keys, args, "commit stitch")

    async def commit_credit(
        self, batch: Batch, batch_id: str, rows: bytes, conversions: dict[str, bytes]
    ) -> None:
        """Write what stands credited, the outbox that will say so in the ledger, and the fence."""
        keys = [self._key, outbox_key(self.partition), *conversions]
        args: list[Any] = [self.found.epoch, batch.broker, batch.last + 1, batch_id, rows, len(conversions)]
        args += conversions.values()
        await self.store.run(self.store.commit_credit, keys, args, "commit credit")
