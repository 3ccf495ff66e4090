"""The self-audit: while the stream runs, one worker at a time compares what must agree (docs/delivery.md, Self-audit).

It may be wrong, slow or dead without the stream noticing: it only reads, under a time limit and on one thread, and
takes at most ``SHARE`` of the time. A pass reads what is recent and what differed before, then as much of the rest as
its budget allows, and leaves its state in Redis; the next pass, of whichever worker, goes on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from attribution.errors import HeadwaterError
from sinks.audit import AuditReader
from streams import metrics
from streams.audit_axes import (
    Axis,
    ConversionsAxis,
    HoursAxis,
    ModelsAxis,
    OffsetsAxis,
    StatementsAxis,
    WaitingAxis,
)
from streams.audit_spend import SpendAxis
from streams.audit_state import LEASE_KEY, STATE_KEY, AuditState, Finding, Round
from streams.topics import partition_of

log = structlog.get_logger(__name__)

SHARE = 0.05
"""Most of the time that the audit may keep ClickHouse's one thread busy: after a long pass follows a long pause."""
LEASE_SECONDS = 300.0
"""How long a worker that died in the middle of a pass keeps the others from beginning one."""
REREAD = 5
"""Slices of an axis with differences that a pass reads again: those that were read longest ago first."""
_NAMELESS = frozenset({"duplicate_hits"})
"""Checks whose subject names a visitor: that is for `headwater doctor`, not for logs."""


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """``seconds`` between passes; ``reader`` has a connection of its own, see ``sinks.audit.LIMITS``."""

    seconds: float
    reader: AuditReader


class LeaseLost(Exception):
    """The pass took so long that another worker may have begun one: its state counts, ours does not."""


def axes_of(reader: AuditReader, redis: Redis, partitions: int) -> list[Axis]:
    """Every way through the data."""
    return [
        OffsetsAxis(reader, redis, partitions),
        WaitingAxis(redis, partitions),
        HoursAxis(reader),
        ConversionsAxis(reader),
        ModelsAxis(reader),
        StatementsAxis(reader, redis, lambda conversion_id: partition_of(conversion_id, partitions)),
        SpendAxis(reader, redis, partitions),
    ]


def start_audit(config: AuditConfig | None, redis: Redis, partitions: int) -> asyncio.Task[None] | None:
    """The audit as a task of a worker; None when it is off."""
    if config is None:
        return None
    audit = Audit(redis, axes_of(config.reader, redis, partitions), config.seconds)
    return asyncio.create_task(audit.run(), name="audit")


class Audit:
    """The audit of one worker. ``run`` never ends and never raises; ``tick`` is one look, ``run_pass`` one pass."""

    def __init__(
        self,
        redis: Redis,
        axes: Sequence[Axis],
        seconds: float,
        *,
        share: float = SHARE,
        least_seconds: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """A pass takes up new slices for ``share`` of ``seconds``, at least for ``least_seconds``."""
        self._redis = redis
        self._share = share
        self._least_seconds = least_seconds
        self._axes = axes
        self._seconds = seconds
        self._clock = clock
        self._lease: Lock | None = None

    async def run(self) -> None:
        """Look again and again whether a pass is due; between passes show what the last one found."""
        while True:
            wait = self._seconds
            try:
                wait = await self.tick()
            except (HeadwaterError, LeaseLost, RedisError, OSError) as error:
                log.warning("audit_waits", error=str(error))
            except Exception as error:  # an audit with a fault in it must not take the stream down
                metrics.AUDIT_FAILURES.inc()
                log.error("audit_failed", error=repr(error), exc_info=error)
            await asyncio.sleep(min(max(wait, 1.0), self._seconds))

    async def tick(self) -> float:
        """A pass if one is due and no other worker makes it; seconds until the next one is due."""
        state = await self._state()
        if state.next_at <= self._clock():
            lease = self._redis.lock(LEASE_KEY, timeout=LEASE_SECONDS, blocking=False)
            if await lease.acquire():
                self._lease = lease
                try:
                    state = await self._state()  # as the last holder of the lease left it
                    if state.next_at <= self._clock():
                        await self.run_pass(state)
                        await self._keep_lease()
                        await self._redis.set(STATE_KEY, msgspec.json.encode(state))
                finally:
                    self._lease = None
                    with contextlib.suppress(LockError):  # lost to somebody else meanwhile
                        await lease.release()
        publish(state)
        return state.next_at - self._clock()

    async def run_pass(self, state: AuditState) -> None:
        """Compare, and note in ``state`` what was found. An axis that fails is left for the next pass."""
        state.attempts += 1
        state.failure = ""
        began = time.monotonic()
        budget = max(self._least_seconds, self._share * self._seconds)
        unfinished = [axis for axis in self._axes if await self._try(state, axis, self._begin)]
        is_first = True
        while unfinished and (is_first or time.monotonic() - began < budget):
            # The axis whose last round is the oldest: so all rounds get equally old, however long each takes.
            axis = min(unfinished, key=lambda axis: state.rounds[axis.name].covered_from)
            if not await self._try(state, axis, self._go_on):
                unfinished.remove(axis)
            is_first = False
        state.seconds = time.monotonic() - began
        now = self._clock()
        state.next_at = now + max(self._seconds, state.seconds / self._share)
        if not state.failure:
            state.succeeded_at = now

    async def _try(self, state: AuditState, axis: Axis, step: Step) -> bool:
        try:
            return await step(state, axis)
        except (HeadwaterError, RedisError, OSError) as error:
            state.failure = f"{axis.name}: {error}"
            metrics.AUDIT_FAILURES.inc()
            log.warning("audit_pass_incomplete", axis=axis.name, error=str(error))
            return False

    async def _begin(self, state: AuditState, axis: Axis) -> bool:
        """What differed before, and what is recent."""
        differing = [finding for finding in state.findings if finding.difference.check in axis.checks]
        differing.sort(key=lambda finding: finding.read_in)
        again = list(dict.fromkeys(finding.difference.slice for finding in differing))[:REREAD]
        for slice_ in dict.fromkeys((*again, *await axis.recent())):
            await self._read(state, axis, slice_)
        state.rounds.setdefault(axis.name, Round())
        return True

    async def _go_on(self, state: AuditState, axis: Axis) -> bool:
        """The next slice of the round; False when that was the last."""
        round_ = state.rounds[axis.name]
        if not round_.cursor:
            round_.began_at = self._clock()
        slice_, cursor = await axis.next_slice(round_.cursor)
        if slice_:
            await self._read(state, axis, slice_)
        round_.cursor = cursor
        if not cursor:
            round_.covered_from = round_.began_at
        return bool(cursor)

    async def _read(self, state: AuditState, axis: Axis, slice_: str) -> None:
        await self._keep_lease()
        seen = await axis.compare(slice_)
        state.compared[axis.name] = state.compared.get(axis.name, 0) + 1
        alarmed, gone = state.record(state.attempts, self._clock(), axis.checks, slice_, seen)
        for finding in alarmed:
            log.error("audit_difference", **_said(finding))
        for finding in gone:
            log.info("audit_difference_gone", **_said(finding))

    async def _keep_lease(self) -> None:
        if self._lease is not None:
            try:
                await self._lease.extend(LEASE_SECONDS, replace_ttl=True)
            except LockError as error:
                raise LeaseLost(str(error)) from error

    async def _state(self) -> AuditState:
        state = await load_state(self._redis)
        if state is None:
            now = self._clock()
            state = AuditState(since=now, next_at=now + self._seconds)
            await self._redis.set(STATE_KEY, msgspec.json.encode(state))
        return state


Step = Callable[[AuditState, Axis], Awaitable[bool]]


async def load_state(redis: Redis) -> AuditState | None:
    """What the last pass left; None when there was none, or an older version wrote it."""
    packed = await redis.get(STATE_KEY)
    try:
        return msgspec.json.decode(packed, type=AuditState) if packed is not None else None
    except msgspec.DecodeError:
        return None


def publish(state: AuditState) -> None:
    """Show ``state`` in this worker's metrics: every worker shows the same, whichever made the pass."""
    for check, count in state.differences().items():
        metrics.AUDIT_DIFFERENCE.labels(check).set(count)
    metrics.AUDIT_LAST_SUCCESS.set(state.succeeded_at)
    metrics.AUDIT_PASS_SECONDS.set(state.seconds)
    for name, round_ in state.rounds.items():
        metrics.AUDIT_COVERED_FROM.labels(name).set(round_.covered_from)
    for name, count in state.compared.items():
        metrics.AUDIT_COMPARED.labels(name).set(count)


def _said(finding: Finding) -> dict[str, str]:
    difference = finding.difference
    said = {"check": difference.check, "detail": difference.detail, "gap": difference.gap}
    return said if difference.check in _NAMELESS else {**said, "subject": difference.subject}
