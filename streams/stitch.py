"""The stitch stage of one partition of hits: claim → compute → insert → commit → trigger.

Only the owner of a partition writes its visitors' timelines, so it keeps the recent ones in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import lru_cache

import structlog

from attribution.errors import HeadwaterError, Rejected, Transient
from attribution.timeline import Timeline
from streams import metrics
from streams.envelopes import envelopes
from streams.journal import Claimed
from streams.ownership import Ownership
from streams.records import Batch, pack_records, unpack_records
from streams.refusals import Refusals
from streams.rules import RuleBook, StitchRules
from streams.stitch_batch import ReadBatch, StitchOutput, Visitor, read_batch, stitch
from streams.stitch_parts import insert_in_parts
from streams.tally import Counts
from streams.topics import (
    CONVERSIONS,
    HITS,
    VOLATILE_CLUSTER_PREFIX,
    dirty_key,
    partition_of,
    timeline_key,
)
from streams.triggers import conversion_of, encode_trigger
from streams.vitals import CALL_SECONDS, Calling

log = structlog.get_logger(__name__)

ISOLATE_FROM_ATTEMPT = 3
"""A range that failed this often is processed hit by hit, and what raises is dead-lettered."""
RESEND_AFTER_SECONDS = 15.0
"""A trigger whose conversion is still dirty after this is sent again (the broker may have forgotten it)."""
RESEND_AT_MOST = 1_000
"""Triggers sent again at once while the owner works: if credit is only slow, repetitions must not swamp it."""

_cached_key = lru_cache(maxsize=65_536)(timeline_key)
"""Who is loaded for a batch is stored after it."""


class RangeLost(HeadwaterError):
    """A range that may be in ClickHouse cannot be made again: stop, do not guess."""


class StitchStage:
    """One partition's stitch stage."""

    def __init__(
        self, own: Ownership, rules: RuleBook, claims: Sequence[Claimed] = (), *, cache_visitors: int = 20_000
    ) -> None:
        """``claims``: ranges of earlier owners that may be in ClickHouse, in order; the first batches must be these."""
        self._own = own
        self._fence = own.fence
        self._partition = own.partition
        self._rules = rules
        self._claims = deque(claims)
        self._cache_visitors = cache_visitors
        self._timelines: OrderedDict[Visitor, Timeline] = OrderedDict()
        self._sent: dict[bytes, tuple[bytes, float]] = {}

    async def start(self) -> None:
        """Finish the range that carries its records, then send every trigger that nobody has answered.

        Such a range is never read again, not even from the broker that it came from: a broker that keeps its log in
        memory may have been replaced a moment ago, and have other records at the same offsets.
        """
        pending = self._fence.found.pending
        if pending is not None and self._fence.found.payload:
            records = unpack_records(self._fence.found.payload)
            batch = Batch(HITS, self._partition, pending.broker, records)
            await self._process(batch, pending.version, b"", is_repeat=True)
        if not self._claims:
            await Refusals.put_away(self._own, HITS)
        await self._resend_dirty(older_than=0.0)

    async def idle(self) -> None:
        """See that the store still is what it was, and send again what credit has not answered for a while."""
        await self._fence.check()
        await self._resend_dirty(older_than=RESEND_AFTER_SECONDS)

    async def process(self, batch: Batch) -> None:
        """One batch, exactly once in effect."""
        began = time.monotonic()
        version, is_repeat = self._rules.version, False
        if self._claims and batch.last >= self._claims[0].first:
            claim = self._claims.popleft()
            if (batch.first, batch.last) != (claim.first, claim.last):
                raise RangeLost(
                    f"{batch.first}-{batch.last} was read instead of {claim.first}-{claim.last}, which was claimed and"
                    " may be in ClickHouse: the log no longer has its records."
                )
            version, is_repeat = claim.version, True
        payload = pack_records(batch.records) if batch.broker.startswith(VOLATILE_CLUSTER_PREFIX) else b""
        await self._process(batch, version, payload, is_repeat=is_repeat)
        metrics.BATCHES.labels(HITS).inc()
        metrics.BATCH_SECONDS.labels(HITS).observe(time.monotonic() - began)

    async def _process(self, batch: Batch, version: str, payload: bytes, *, is_repeat: bool) -> None:
        rules = await self._rules.find(version)
        claimed = Claimed(self._own.journal.owner, batch.broker, batch.first, batch.last, version)
        # In this order: a range is pending in the store only if the journal has it from an owner that still had it.
        await self._own.journal.note(claimed)
        attempt = await self._fence.claim(batch, version, payload)
        await self._finish(batch, rules, version, attempt, is_repeat=is_repeat or attempt > 1)
        if is_repeat:
            log.info(
                "recovered",
                partition=self._partition,
                first=batch.first,
                last=batch.last,
                broker=batch.broker,
                version=version,
            )

    async def _finish(
        self, batch: Batch, rules: StitchRules, version: str, attempt: int, *, is_repeat: bool
    ) -> None:
        isolate = attempt >= ISOLATE_FROM_ATTEMPT
        read = read_batch(batch, rules, attempt=attempt, isolate=isolate)
        await self._load(list(read.by_visitor))
        output = stitch(
            read,
            self._timelines.__getitem__,
            batch,
            rules,
            owner=self._own.journal.owner,
            attempt=attempt,
            isolate=isolate,
        )
        token = f"{batch.topic}:{batch.broker}:{batch.partition}:{batch.first}-{batch.last}:{version}"
        refusals = await Refusals.find(self._own, HITS, token, is_repeat=is_repeat)
        if refusals or not await self._insert(batch, token, output, is_repeat=is_repeat):
            read = await self._read_again(batch, rules, attempt, isolate=isolate)
            parts = {
                visitor: stitch(
                    ReadBatch({visitor: read.by_visitor[visitor]}),
                    self._timelines.__getitem__,
                    batch,
                    rules,
                    owner=self._own.journal.owner,
                    attempt=attempt,
                    isolate=isolate,
                )
                for visitor in output.changed
            }
            output = await insert_in_parts(
                self._own, batch, output, parts, read.by_visitor, refusals, token, attempt
            )
        if is_repeat:
            metrics.RECOVERED.inc()
            await self._check_recovered(batch, len(output.rows["hits"]))
        await self._own.publish_dead_letters(output.dead_letters)
        dirty = {trigger.field: encode_trigger(trigger) for trigger in output.triggers}
        states = {
            _cached_key(self._partition, *visitor): self._timelines[visitor].to_bytes()
            for visitor in output.changed
        }
        await self._fence.commit_stitch(
            batch,
            self._own.journal_done(batch.broker, batch.last + 1),
            states,
            dirty,
            Counts(
                records=len(batch.records),
                events=read.events,
                hits=len(output.rows["hits"]),
                sessions=len(output.rows["sessions"]),
                touchpoints=len(output.rows["touchpoints"]),
                drops=output.dropped.total(),
                dead_letters=len(output.dead_letters),
            ),
        )
        await refusals.forget()
        for visitor in output.poisoned:
            self._timelines.pop(visitor, None)
        self._trim()
        metrics.HITS.inc(output.accepted)
        for reason, count in output.dropped.items():
            metrics.DROPPED.labels(reason.value).inc(count)
        await self._send_triggers(dirty)

    async def _insert(self, batch: Batch, token: str, output: StitchOutput, *, is_repeat: bool) -> bool:
        """Every table's rows under a token that names the immutable range; a repeat is dropped by ClickHouse.

        Rows of ``hits`` last: they cannot be taken back. False when ClickHouse refuses rows, and no hit is there.
        """
        others = {table: rows for table, rows in output.rows.items() if table != "hits"}
        try:
            await self._own.insert(others, token)
            await self._own.insert({"hits": output.rows["hits"]}, token)
        except Rejected as error:
            log.warning("batch_refused", partition=self._partition, first=batch.first, error=error.message)
            # All hits there means that all was there, before ClickHouse began to refuse it.
            hits = len(output.rows["hits"])
            found = await self._own.count_hits(batch.broker, batch.first, batch.last) if is_repeat else 0
            return 0 < hits == found
        return True

    async def _read_again(
        self, batch: Batch, rules: StitchRules, attempt: int, *, isolate: bool
    ) -> ReadBatch:
        """The batch and its visitors' timelines as they were before it."""
        read = read_batch(batch, rules, attempt=attempt, isolate=isolate)
        for visitor in read.by_visitor:
            self._timelines.pop(visitor, None)
        await self._load(list(read.by_visitor))
        return read

    async def _check_recovered(self, batch: Batch, expected: int) -> None:
        """After a repeated range ClickHouse must hold its hits once; anything else is an alarm, not a guess."""
        found = await self._own.count_hits(batch.broker, batch.first, batch.last)
        if found != expected:
            metrics.RECOVERY_MISMATCH.inc()
            log.error(
                "recovery_mismatch",
                partition=self._partition,
                first=batch.first,
                found=found,
                expected=expected,
            )

    async def _load(self, visitors: list[Visitor]) -> None:
        """Bring the timelines of ``visitors`` into memory."""
        missing = []
        for visitor in visitors:
            if visitor in self._timelines:
                self._timelines.move_to_end(visitor)
            else:
                missing.append(visitor)
        keys = [_cached_key(self._partition, *visitor) for visitor in missing]
        values = await self._fence.read_states(keys)
        for visitor, value in zip(missing, values, strict=True):
            self._timelines[visitor] = (
                Timeline.from_bytes(value, *visitor) if value is not None else Timeline.empty(*visitor)
            )

    def _trim(self) -> None:
        while len(self._timelines) > self._cache_visitors:
            self._timelines.popitem(last=False)

    async def _send_triggers(self, dirty: dict[bytes, bytes]) -> None:
        """Triggers by field, as they stand in the dirty hash: one envelope for each partition of conversions."""
        now = time.monotonic()
        by_partition: dict[int, tuple[bytes, list[bytes]]] = {}
        for field, value in dirty.items():
            self._sent[field] = (value, now)
            key = conversion_of(field)
            partition = partition_of(key.decode(), self._rules.own.partitions)
            by_partition.setdefault(partition, (key, []))[1].append(value)
        await asyncio.gather(
            *(
                self._try_send(key, value)
                for key, values in by_partition.values()
                for value in envelopes(values)
            )
        )

    async def _try_send(self, key: bytes, value: bytes) -> None:
        """Best effort: what is lost here is still dirty and will be sent again.

        Other errors end the worker: a producer that is beyond help would lose every trigger from now on.
        """
        try:
            with Calling("triggers", CALL_SECONDS):
                await self._own.send(CONVERSIONS, key, value)
        except Transient as error:
            log.warning("triggers_not_sent", partition=self._partition, error=str(error))

    async def _resend_dirty(self, older_than: float) -> None:
        dirty = await self._fence.store.fields(dirty_key(self._partition))
        now = time.monotonic()
        again: dict[bytes, bytes] = {}
        still: dict[bytes, tuple[bytes, float]] = {}
        for field, value in dirty.items():
            sent_value, sent_at = self._sent.get(field, (b"", 0.0))
            is_overdue = sent_value == value and now - sent_at >= older_than and len(again) < RESEND_AT_MOST
            if older_than == 0.0 or is_overdue:
                again[field] = value
            else:
                still[field] = (value, sent_at if sent_value == value else now)
        self._sent = still
        if again:
            log.info("triggers_sent_again", partition=self._partition, count=len(again))
            await self._send_triggers(again)
