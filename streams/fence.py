"""The fence: where each partition stands, kept in Redis together with the state it belongs to.

``claim`` → compute → insert into ClickHouse → ``commit``. See docs/delivery.md for why this loses nothing
and counts nothing twice. Every write names the owner, and where he believes the fence: it is refused when there is a
newer owner, and when the store was set back under its owner.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from attribution.errors import HeadwaterError
from streams.patience import patiently
from streams.records import Batch
from streams.tally import RANGE_EVENTS, Counts
from streams.topics import (
    HITS,
    SPEND,
    awaits_visitors_key,
    dirty_key,
    fence_key,
    outbox_key,
    spend_days_key,
    spreads_key,
    tallies_key,
    tally_key,
)

TIMELINE_SECONDS = 400 * 86_400
"""So long after it was last written is a timeline put away (``streams.putting_away``), unless told otherwise."""
SPARE_SECONDS = 200 * 86_400
"""So long after that it would go without a mark, if nobody had put it away."""

DAYS_AT_ONCE = 50
"""Of spend; a day may have thousands of facts."""
READ_AT_ONCE = 2_000
"""Keys of one call: what the Lua stack takes, and what Redis is busy with for about a millisecond."""


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
    owner: str
    broker: str
    offset: int
    journal: int
    """The last entry of the journal of ``broker`` that is done for good; -1 = none."""
    pending: Pending | None
    payload: bytes

    def offset_on(self, broker: str) -> int:
        """Where the fence stands in the log of ``broker`` (its cluster id).

        On another broker than the last owner's everything begins at 0: what it has is told by ``event_id``.
        """
        return self.offset if self.broker == broker else 0


def _lua(*names: str) -> str:
    return "".join(resources.files("streams").joinpath("lua", name).read_text() for name in names)


class FenceStore:
    """Fences of one Redis. All calls wait while Redis is away; ``Fenced`` means: die."""

    def __init__(
        self, redis: Redis, *, range_events: int = RANGE_EVENTS, timeline_seconds: int = TIMELINE_SECONDS
    ) -> None:
        """``range_events``: how many events of a partition one range of the tally holds at least. ``timeline_seconds``:
        how long a timeline stays without a hit."""
        self.redis = redis
        self.range_events = range_events
        self.timeline_seconds = timeline_seconds
        self._acquire = redis.register_script(_lua("acquire.lua"))
        self._forget = redis.register_script(_lua("forget.lua"))
        self.claim = redis.register_script(_lua("claim.lua"))
        self.read_states = redis.register_script(_lua("read_states.lua"))
        self.read_timelines = redis.register_script(_lua("mark.lua", "read_timelines.lua"))
        self._put_away = redis.register_script(_lua("mark.lua", "put_away.lua"))
        self._were_put_away = redis.register_script(_lua("mark.lua", "were_put_away.lua"))
        self.note_journal = redis.register_script(_lua("note_journal.lua"))
        self.commit_stitch = redis.register_script(_lua("commit_stitch.lua"))
        self.end_spread = redis.register_script(_lua("end_spread.lua"))
        self.write_links = redis.register_script(_lua("write_links.lua"))
        self.read_members = redis.register_script(_lua("read_members.lua"))
        self.put_back = redis.register_script(_lua("put_back.lua"))
        self.commit_credit = redis.register_script(_lua("commit_credit.lua"))
        self.commit_spend = redis.register_script(_lua("commit_spend.lua"))
        self.read_days = redis.register_script(_lua("read_days.lua"))
        self.read_state_fields = redis.register_script(_lua("read_fields.lua"))
        self.commit_deals = redis.register_script(_lua("commit_deals.lua"))
        self.write_abouts = redis.register_script(_lua("write_abouts.lua"))

    async def acquire(self, topic: str, partition: int) -> Fence:
        """Become the owner of a partition, and learn where the last one stopped."""
        owner = secrets.token_hex(8)
        answer = await self.run(self._acquire, [fence_key(topic, partition)], [owner], "acquire")
        epoch, broker, offset, journal, pending, payload = answer
        found = Position(
            epoch=int(epoch),
            owner=owner,
            broker=broker.decode(),
            offset=int(offset or 0),
            journal=int(journal or -1),
            pending=msgspec.convert(json.loads(pending), Pending) if pending else None,
            payload=payload,
        )
        return Fence(self, topic, partition, found)

    async def put_new_field(self, key: str, field: str, value: bytes) -> None:
        """Set one field of the hash ``key`` unless it is there."""
        await patiently(lambda: self.redis.hsetnx(key, field, value), "redis hsetnx")

    async def field(self, key: str, field: str) -> bytes | None:
        """One field of the hash ``key``."""
        found: Any = await patiently(lambda: self.redis.hget(key, field), "redis hget")
        return bytes(found) if found is not None else None

    async def forget(self, key: str, fields: dict[bytes, bytes]) -> None:
        """Delete fields of the hash ``key`` that still hold the given values."""
        if fields:
            args = [part for pair in fields.items() for part in pair]
            await self.run(self._forget, [key], args, "forget")

    async def load(self, keys: list[str] | list[bytes]) -> list[bytes | None]:
        """The values of ``keys``, None where there is none."""
        values: list[Any] = await patiently(lambda: self.redis.mget(keys), "redis mget") if keys else []
        return values

    async def put_away(self, partition: int, keys: Sequence[bytes], spare_ms: int) -> int:
        """Put those of ``keys``, all of ``partition``, away that have less than ``spare_ms`` to live; how many."""
        places = [fence_key(HITS, partition), *keys]
        return int(await self.run(self._put_away, places, [spare_ms], "put away"))

    async def were_put_away(self, keys: Sequence[bytes]) -> list[bool]:
        """Of ``keys`` of timelines that are not there: whether each was put away."""
        found: list[bool] = []
        for start in range(0, len(keys), READ_AT_ONCE):
            part = list(keys[start : start + READ_AT_ONCE])
            found += map(bool, await self.run(self._were_put_away, part, [], "were put away"))
        return found

    async def fields(self, key: str) -> dict[bytes, bytes]:
        """All fields of the hash ``key``."""
        found: Any = await patiently(lambda: self.redis.hgetall(key), "redis hgetall")
        return dict(found)

    async def put_field(self, key: str, field: str, value: str) -> None:
        """Set one field of the hash ``key``."""
        await patiently(lambda: self.redis.hset(key, field, value), "redis hset")

    async def delete(self, key: str) -> None:
        """Delete ``key``."""
        await patiently(lambda: self.redis.delete(key), "redis del")

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
        self._stands = (found.broker, found.offset)

    @property
    def stands_at(self) -> tuple[str, int]:
        """(cluster id, next offset): where this owner left the fence."""
        return self._stands

    async def claim(self, batch: Batch, version: str, payload: bytes) -> int:
        """Persist the borders of a batch before its first effect. Returns the attempt's number, from 1."""
        args = [self.found.owner, *self._stands, batch.broker, batch.first, batch.last, version, payload]
        return int(await self.store.run(self.store.claim, [self._key], args, "claim"))

    async def commit_stitch(
        self,
        batch: Batch,
        journal: int,
        timelines: dict[bytes, bytes],
        dirty: dict[bytes, bytes],
        counts: Counts,
        spread: tuple[str, bytes] = ("", b""),
        *,
        tells_of_others: bool = True,
    ) -> bool:
        """Write timelines, dirty conversions, what the batch became and the fence in one atomic step.

        ``spread``: field and value of what the batch means for other visitors. False, and nothing is written: it must
        tell of those without links, too (``tells_of_others``), because a conversion may be about one of them.
        """
        partition, next_offset = self.partition, batch.last + 1
        keys: list[Any] = [self._key, dirty_key(partition), tally_key(partition), tallies_key(partition)]
        keys += (spreads_key(partition), awaits_visitors_key(partition), *timelines)
        args: list[Any] = [self.found.owner, batch.broker, batch.first, next_offset, journal]
        seconds = self.store.timeline_seconds + SPARE_SECONDS
        args += [seconds, self.store.range_events, msgspec.json.encode(counts), *spread]
        args += [int(tells_of_others), len(timelines), *timelines.values()]
        for field, value in dirty.items():
            args += (field, value)
        if await self.store.run(self.store.commit_stitch, keys, args, "commit stitch") == b"OTHERS":
            return False
        self._stands = (batch.broker, next_offset)
        return True

    async def end_spread(self, field: str, dirty: dict[bytes, bytes]) -> None:
        """The conversions that a spread is about are dirty, and so the spread is done."""
        keys = [self._key, dirty_key(self.partition), spreads_key(self.partition)]
        args = [self.found.owner, field, *(part for pair in dirty.items() for part in pair)]
        await self.store.run(self.store.end_spread, keys, args, "end spread")

    async def commit_credit(
        self,
        broker: str,
        next_offset: int,
        journal: int,
        batch_id: str,
        outbox: bytes,
        conversions: dict[str, bytes],
    ) -> None:
        """Write what stands credited, the outbox that will say so in the ledger, and the fence."""
        keys = [self._key, outbox_key(self.partition), *conversions]
        args: list[Any] = [self.found.owner, *self._stands, broker, next_offset, journal, batch_id, outbox]
        args += [len(conversions), *conversions.values()]
        await self.store.run(self.store.commit_credit, keys, args, "commit credit")
        self._stands = (broker, next_offset)

    async def commit_spend(
        self,
        broker: str,
        next_offset: int,
        steps: tuple[int, int],
        journal: int,
        batch_id: str,
        outbox: bytes,
        days: Mapping[bytes, tuple[bytes, Mapping[str, bytes]]],
    ) -> None:
        """Write what is kept of days, the outbox that will say so in ClickHouse (b"" = nothing to say), and the fence.

        ``steps``: decisions before and with this one. ``days``: by key the day's name, and values by field (b"": none).
        """
        keys: list[Any] = [
            self._key,
            outbox_key(self.partition, SPEND),
            spend_days_key(self.partition),
            *days,
        ]
        args: list[Any] = [self.found.owner, *self._stands, *steps, broker, next_offset, journal, batch_id]
        args.append(outbox)
        for name, fields in days.values():
            args += (name, len(fields), *(part for pair in fields.items() for part in pair))
        await self.store.run(self.store.commit_spend, keys, args, "commit spend")
        self._stands = (broker, next_offset)

    async def read_days(self, keys: Sequence[bytes], step: int) -> list[dict[bytes, bytes]]:
        """What is kept of days, by field; ``Fenced`` when the store was set back. ``step``: the last decision."""
        args = [self.found.owner, *self._stands, step]
        days: list[dict[bytes, bytes]] = []
        for start in range(0, len(keys), DAYS_AT_ONCE):
            part = [self._key, *keys[start : start + DAYS_AT_ONCE]]
            found = await self.store.run(self.store.read_days, part, args, "read days")
            days += [dict(zip(flat[::2], flat[1::2], strict=True)) for flat in found]
        return days

    async def step(self) -> int:
        """How many decisions the store knows."""
        return int(await self.store.field(self._key, "step") or 0)

    async def commit_deals(
        self,
        place: tuple[str, int],
        journal: int,
        batch_id: str,
        outbox: bytes,
        hashes: Mapping[str, Mapping[bytes, bytes]],
        remembered: Mapping[bytes, tuple[bytes, int]],
    ) -> None:
        """Write what was told, what follows from it, the outbox (b"" = none) and the fence.

        ``place``: broker and next offset; where the fence stands already if no batch is the cause. ``hashes``: by key
        the fields that change, b"" = it goes. ``remembered``: by key value and seconds.
        """
        keys: list[Any] = [self._key, outbox_key(self.partition, self.topic), *hashes, *remembered]
        args: list[Any] = [self.found.owner, *self._stands, *place, journal, batch_id, outbox, len(hashes)]
        for fields in hashes.values():
            args.append(len(fields))
            for field, value in fields.items():
                args += (field, value)
        for value, seconds in remembered.values():
            args += (value, seconds)
        await self.store.run(self.store.commit_deals, keys, args, "commit deals")
        self._stands = place

    async def put_back(self, states: dict[str, bytes]) -> None:
        """Values by key as they were before this owner's last commit; b"" = there was none."""
        if states:
            keys, args = [self._key, *states], [self.found.owner, *states.values()]
            await self.store.run(self.store.put_back, keys, args, "put back")

    async def read_states(self, keys: Sequence[str] | Sequence[bytes]) -> list[bytes | None]:
        """The values of ``keys``, None where there is none; ``Fenced`` when the store was set back."""
        return await self._read(self.store.read_states, keys, "read states")

    async def read_timelines(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As ``read_states``; b"" where a timeline was put away."""
        return await self._read(self.store.read_timelines, keys, "read timelines")

    async def _read(
        self, script: Any, keys: Sequence[str] | Sequence[bytes], what: str
    ) -> list[bytes | None]:
        args = [self.found.owner, *self._stands]
        values: list[bytes | None] = []
        for start in range(0, len(keys), READ_AT_ONCE):
            part = [self._key, *keys[start : start + READ_AT_ONCE]]
            values += await self.store.run(script, part, args, what)
        return values

    async def read_fields(self, key: str, fields: Sequence[str] | Sequence[bytes]) -> list[bytes | None]:
        """Fields of the hash ``key``, as ``read_states``."""
        values: list[bytes | None] = []
        for start in range(0, len(fields), READ_AT_ONCE):
            args = [self.found.owner, *self._stands, *fields[start : start + READ_AT_ONCE]]
            keys = [self._key, key]
            values += await self.store.run(self.store.read_state_fields, keys, args, "read fields")
        return values

    async def note_journal(self, journal: int) -> None:
        """Everything in the journal up to ``journal`` is done: the next take-over need not read it again."""
        await self.store.run(
            self.store.note_journal, [self._key], [self.found.owner, journal], "note journal"
        )

    async def check(self) -> None:
        """Raise ``Fenced`` if the store no longer stands where this owner left it.

        Each write finds out by itself; but where nothing arrives nothing is written, and what a store that was set
        back has forgotten must be made again all the same.
        """
        names = ["owner", "broker", "offset"]
        found: Any = await patiently(lambda: self.store.redis.hmget(self._key, names), "redis hmget")
        owner, broker, offset = (value.decode() if value is not None else "" for value in found)
        if owner != self.found.owner:
            raise Fenced("FENCED another worker owns this partition")
        if (broker, int(offset or 0)) != self._stands:
            raise Fenced("DIVERGED the fence is not where its owner left it: the store was set back")
