"""What the self-audit compares, cut into slices: one class for each way to walk through the data.

Only ``OffsetsAxis`` sees a snapshot: what the fence has passed is in ClickHouse, and the tally is of the same instant.
The others read two places one after the other, see ``streams.audit_state``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis

from attribution.ledger import WEIGHT_ONE, Statement
from attribution.money import format_amount
from sinks.audit import HOUR, AuditReader, Net
from sinks.checks import ALL_HOURS, ALL_IDS, Check, Hours, Ids
from streams.audit_state import Difference
from streams.recredit import state_of
from streams.tally import Tally, tally_of
from streams.topics import DEALS, HITS, conversion_key, dirty_key, fence_key, tallies_key, tally_key
from streams.triggers import conversion_of, decode_triggers

T = TypeVar("T")
RECENT_HOURS = 2
"""Hours of event time up to now that every pass compares; most of what is written belongs to them."""
STATEMENTS = 2_000
"""Conversions of one slice of the statements axis. They lie all over the ledger, so a quarter would read nearly as
much; a server takes 128 kB of parameters."""
_SCAN_COUNT = 1_000
_MOST_SCANS = 50
_LOADED_AT_ONCE = 500
_SAMPLE = 100
_WAITS_SINCE_MS = 600_000


class Axis(Protocol):
    """One way through the data. Raises ``HeadwaterError`` or what the Redis client raises."""

    @property
    def name(self) -> str:
        """One word."""

    @property
    def checks(self) -> tuple[str, ...]:
        """What each slice is compared for."""

    async def recent(self) -> list[str]:
        """Slices that every pass reads."""

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """The slice at ``cursor`` ("" = the first; an empty slice = nothing there), and where the next one begins
        ("" = that was the last)."""

    async def compare(self, slice_: str) -> list[Difference]:
        """Read it."""


class OffsetsAxis:
    """The ranges of the log: what the commits counted against what ClickHouse holds. Slice = partition:number."""

    name = "offsets"
    checks = ("events", "offsets")

    def __init__(self, reader: AuditReader, redis: Redis, partitions: int) -> None:
        self._reader = reader
        self._redis = redis
        self._partitions = partitions

    async def recent(self) -> list[str]:
        """Of each partition the range that grows, and the one before it."""
        slices = []
        for partition in range(self._partitions):
            closed = int(await self._redis.llen(tallies_key(partition)))
            slices += [f"{partition}:{number}" for number in range(max(0, closed - 1), closed + 1)]
        return slices

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """Partition by partition, oldest range first."""
        partition, number = _numbers(cursor or "0:0")
        if number < int(await self._redis.llen(tallies_key(partition))):
            return cursor or "0:0", f"{partition}:{number + 1}"
        following = f"{partition + 1}:0" if partition + 1 < self._partitions else ""
        return f"{partition}:{number}", following

    async def compare(self, slice_: str) -> list[Difference]:
        """The fence is read in the same instant as the tally that it must agree with."""
        partition, number = _numbers(slice_)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hmget(fence_key(HITS, partition), ["broker", "offset"])
            pipe.llen(tallies_key(partition))
            pipe.lindex(tallies_key(partition), number)
            pipe.get(tally_key(partition))
            (broker, offset), closed, packed, last = await pipe.execute()
        grows = number >= closed
        packed = last if grows else packed
        if packed is None:
            return []
        tally = tally_of(packed)
        rows = await in_thread(
            lambda: self._reader.source_rows(HITS, tally.broker, partition, tally.first, tally.next)
        )
        fence = (broker.decode(), int(offset)) if grows else None
        return compare_tally(slice_, partition, tally, rows, fence)


def compare_tally(
    slice_: str, partition: int, tally: Tally, rows: dict[str, int], fence: tuple[str, int] | None
) -> list[Difference]:
    """A range against the rows of each table, and (of the range that grows) against the fence."""
    subject = f"partition {partition}, offsets from {tally.first} of {tally.broker}"
    differences = []
    ends = {"events": (tally.hits + tally.drops + tally.dead_letters + tally.restated, tally.events)}
    ends |= {table: (count, getattr(tally, table)) for table, count in rows.items()}
    if any(found != counted for found, counted in ends.values()):
        detail = ", ".join(f"{name} {found} for {counted}" for name, (found, counted) in ends.items())
        gap = ", ".join(f"{name} {f - c:+}" for name, (f, c) in ends.items() if f != c)
        differences.append(Difference("events", slice_, subject, f"{detail}, up to {tally.next}", gap))
    said = []
    if tally.skipped:
        said.append(f"{tally.skipped} offsets were never read")
    if tally.repeated:
        said.append(f"{tally.repeated} offsets were read twice")
    if fence is not None and fence != (tally.broker, tally.next):
        said.append(f"the fence stands at {fence[1]} of {fence[0]}, the last batch ended before {tally.next}")
    if said:
        differences.append(Difference("offsets", slice_, subject, "; ".join(said)))
    return differences


class HoursAxis:
    """Event time: roll-up of traffic, signs of sessions and touchpoints, doubled hits. Slice = low-high, epoch s."""

    name = "hours"
    checks = ("roll_up_traffic", "signs_sessions", "signs_touchpoints", "duplicate_hits")

    def __init__(self, reader: AuditReader, now: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._now = now

    async def recent(self) -> list[str]:
        """From ``RECENT_HOURS`` ago on, the future included."""
        return [f"{(int(self._now()) // HOUR - RECENT_HOURS) * HOUR}-{ALL_HOURS.high}"]

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """Oldest hours first."""
        hours = await in_thread(lambda: self._reader.hours_from(int(cursor or 0)))
        return f"{hours.low}-{hours.high}", "" if hours.high == ALL_HOURS.high else str(hours.high)

    async def compare(self, slice_: str) -> list[Difference]:
        """Four queries."""
        low, high = slice_.split("-")
        return told(await in_thread(lambda: self._reader.compare_hours(Hours(int(low), int(high)))), slice_)


class ConversionsAxis:
    """Conversion ids: books, credit of what stands, signs of conversions and paths. Slice = low:high, "" = no bound."""

    name = "conversions"
    checks = ("books", "uncredited", "signs_conversions", "signs_paths")

    def __init__(self, reader: AuditReader) -> None:
        self._reader = reader

    async def recent(self) -> list[str]:
        """None: ids say nothing of time."""
        return []

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """In the order of the ids."""
        ids = await in_thread(lambda: self._reader.ids_from(cursor))
        high = "" if ids.high == ALL_IDS.high else ids.high
        return f"{ids.low}:{high}", high

    async def compare(self, slice_: str) -> list[Difference]:
        """Four queries."""
        low, _, high = slice_.partition(":")
        return told(await in_thread(lambda: self._reader.compare_ids(Ids(low, high or ALL_IDS.high))), slice_)


class ModelsAxis:
    """Models: the roll-up of their credits. Slice = model."""

    name = "models"
    checks = ("roll_up_credits",)

    def __init__(self, reader: AuditReader) -> None:
        self._reader = reader

    async def recent(self) -> list[str]:
        """None."""
        return []

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """In the order of their names."""
        names = [name for name in await in_thread(self._reader.models) if name > cursor]
        return (names[0], names[0] if len(names) > 1 else "") if names else ("", "")

    async def compare(self, slice_: str) -> list[Difference]:
        """One query."""
        return told([await in_thread(lambda: self._reader.compare_model(slice_))], slice_)


class StatementsAxis:
    """What Redis says stands credited against the sum of the ledger. Slice = conversion ids with commas.

    It walks through the conversions of Redis: one whose rows were lost in every table is not in ClickHouse to be found.
    """

    name = "statements"
    checks = ("statements",)

    def __init__(self, reader: AuditReader, redis: Redis, partition_of_id: Callable[[str], int]) -> None:
        self._reader = reader
        self._redis = redis
        self._partition_of = partition_of_id

    async def recent(self) -> list[str]:
        """None."""
        return []

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """``SCAN`` of the whole store: most keys are timelines, so a slice may come out short or empty."""
        ids: list[str] = []
        at = int(cursor or 0)
        keys: Any
        for _ in range(_MOST_SCANS):
            at, keys = await self._redis.scan(at, match="c{c*", count=_SCAN_COUNT)
            ids += [key.partition(b"}")[2].decode() for key in keys]
            if not at or len(ids) >= STATEMENTS:
                break
        return ",".join(ids), str(at) if at else ""

    async def compare(self, slice_: str) -> list[Difference]:
        """Redis first: what it says was decided before the ledger is read, but for what is still in an outbox."""
        ids = slice_.split(",")
        packed: dict[str, bytes] = {}
        for start in range(0, len(ids), _LOADED_AT_ONCE):
            part = ids[start : start + _LOADED_AT_ONCE]
            values: Any = await self._redis.mget([conversion_key(self._partition_of(i), i) for i in part])
            packed.update((i, value) for i, value in zip(part, values, strict=True) if value is not None)

        def work() -> list[Difference]:
            ledger = self._reader.ledger_of(ids)
            stated = {i: net_of(state_of(value).statement) for i, value in packed.items()}
            return [
                Difference("statements", i, i, compare_net(stated.get(i, {}), ledger.get(i, {})))
                for i in dict.fromkeys(ids)
                if stated.get(i, {}) != ledger.get(i, {})
            ]

        return await in_thread(work)


def net_of(packed: bytes) -> Net:
    """A stored statement in the ledger's terms."""
    if not packed:
        return {}
    statement = Statement.from_bytes(packed)
    currency = statement.terms.currency
    return {
        (model, touchpoint_id, currency): (
            Decimal(share.weight_ppb) / WEIGHT_ONE,
            Decimal(format_amount(share.amount_minor, currency)),
        )
        for model, shares in statement.shares.items()
        for touchpoint_id, share in shares.items()
        if share.weight_ppb or share.amount_minor
    }


def compare_net(stated: Net, ledger: Net) -> str:
    """Where the two differ, in words."""
    keys = [key for key in sorted({*stated, *ledger}) if stated.get(key) != ledger.get(key)]
    model, touchpoint_id, currency = keys[0]
    nothing = (Decimal(0), Decimal(0))
    weight, amount = stated.get(keys[0], nothing)
    found_weight, found_amount = ledger.get(keys[0], nothing)
    return (
        f"{len(keys)} of {len({*stated, *ledger})} entries; first {model} {touchpoint_id or '(unattributed)'}:"
        f" weight {found_weight:f} for {weight:f}, {found_amount:f} for {amount:f} {currency}"
    )


class WaitingAxis:
    """Conversions that stitch or deals has told and credit has not answered. Slice = partition, or partition:field.

    A sample is enough: when the worker has caught up, only those remain that wait for another reason.
    """

    name = "waiting"
    checks = ("waiting",)

    def __init__(self, redis: Redis, partitions: int, now: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._partitions = partitions
        self._now = now

    async def recent(self) -> list[str]:
        """Every partition: a sample costs nothing."""
        return [str(partition) for partition in range(self._partitions)]

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """Partition by partition."""
        partition = int(cursor or 0)
        return str(partition), str(partition + 1) if partition + 1 < self._partitions else ""

    async def compare(self, slice_: str) -> list[Difference]:
        """Those told of a hit or delivery that is ten minutes old."""
        partition, _, field = slice_.partition(":")
        found: dict[bytes, bytes] = {}
        for topic in (HITS, DEALS):
            key = dirty_key(int(partition), topic)
            if field:
                value: Any = await self._redis.hget(key, field)
                found |= {} if value is None else {field.encode(): value}
            else:
                sample: Any = await self._redis.hscan(key, 0, count=_SAMPLE)
                found |= dict(list(sample[1].items())[:_SAMPLE])
        return [
            Difference("waiting", f"{partition}:{name.decode()}", conversion_of(name).decode(), trigger.nonce)
            for name, value in found.items()
            for trigger in decode_triggers(value)
            if trigger.recorded_at < self._now() * 1000 - _WAITS_SINCE_MS
        ]


async def in_thread(call: Callable[[], T]) -> T:
    """``call`` on a thread that nobody waits for when the worker stops: a query may take most of a minute."""
    answer: Future[T] = Future()

    def work() -> None:
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)

    threading.Thread(target=work, name="audit", daemon=True).start()
    return await asyncio.wrap_future(answer)


def _numbers(slice_: str) -> tuple[int, int]:
    partition, _, number = slice_.partition(":")
    return int(partition), int(number)


def told(checks: Iterable[Check], slice_: str) -> list[Difference]:
    """What checks of the stored data found, as differences of a slice."""
    return [
        Difference(check.name, slice_, finding.subject, finding.detail, finding.gap)
        for check in checks
        for finding in check.findings
    ]
