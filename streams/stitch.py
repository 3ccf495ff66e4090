"""The stitch stage of one partition of hits: claim → compute → insert → commit → trigger.

What it shares with the worker's other partitions is memory: recent timelines, and room for batches in work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import structlog

from attribution.errors import HeadwaterError, Rejected
from attribution.timeline import Timeline
from sinks.tables import CLICK_COSTS_COLUMNS
from sinks.visitors import Place
from streams import metrics
from streams.journal import Claimed
from streams.news import news_from, pack_news
from streams.ownership import Ownership
from streams.people import People
from streams.pump import estimate_events
from streams.recalling import Recalled, recall
from streams.recent import Loan, RecentTimelines
from streams.records import Batch, pack_records, unpack_records
from streams.refusals import Refusals
from streams.room import Room
from streams.rules import RuleBook, StitchRules
from streams.spreads import spread
from streams.standing import Standing, standing_of
from streams.stitch_batch import StitchOutput, stitch
from streams.stitch_parts import insert_click_costs, insert_in_parts
from streams.stitch_read import ReadBatch, Visitor, read_batch
from streams.tally import Counts
from streams.topics import HITS, VOLATILE_CLUSTER_PREFIX, awaits_visitors_key, spreads_key, timeline_key
from streams.triggers import encode_trigger
from streams.wishes import RESEND_AFTER_SECONDS, Wishes

log = structlog.get_logger(__name__)

_COST_REASON = CLICK_COSTS_COLUMNS.index("reason")
_LAST = frozenset(("hits", "click_costs"))
ISOLATE_FROM_ATTEMPT = 3
"""A range that failed this often is processed hit by hit, and what raises is dead-lettered."""


class RangeLost(HeadwaterError):
    """A range that may be in ClickHouse cannot be made again: stop, do not guess."""


class StitchStage:
    """One partition's stitch stage."""

    def __init__(
        self,
        own: Ownership,
        rules: RuleBook,
        recent: RecentTimelines,
        room: Room,
        claims: Sequence[Claimed] = (),
    ) -> None:
        """``claims``: ranges of earlier owners that may be in ClickHouse, in order; the first batches must be these."""
        self._own = own
        self._fence = own.fence
        self._partition = own.partition
        self._rules = rules
        self._claims = deque(claims)
        self._recent = recent
        self._room = room
        self._people = People(own.fence.store, rules.own.partitions, own.writer, rules.own.policy)
        self._wishes = Wishes(own, rules.own.partitions)
        self._tells_of_others = False
        """Some conversion is about a visitor of this partition whom its sender named, so all their news are told."""

    async def start(self) -> None:
        """Finish the range that carries its records, then send every trigger that nobody has answered.

        Such a range is never read again, not even from the broker that it came from: a broker that keeps its log in
        memory may have been replaced a moment ago, and have other records at the same offsets.
        """
        (awaited,) = await self._fence.store.load([awaits_visitors_key(self._partition)])
        self._tells_of_others = awaited is not None
        pending = self._fence.found.pending
        if pending is not None and self._fence.found.payload:
            records = unpack_records(self._fence.found.payload)
            batch = Batch(HITS, self._partition, pending.broker, records)
            async with self._room.of(hits_in(batch)):
                await self._process(batch, pending.version, must_carry=False, is_repeat=True)
        if not self._claims:
            await Refusals.put_away(self._own, HITS)
        for field, packed in sorted((await self._fence.store.fields(spreads_key(self._partition))).items()):
            await self._spread(field.decode(), packed, {})
        await self._wishes.resend(older_than=0.0)

    async def idle(self) -> None:
        """See that the store still is what it was, and send again what credit has not answered for a while."""
        await self._fence.check()
        await self._wishes.resend(older_than=RESEND_AFTER_SECONDS)

    async def process(self, batch: Batch) -> None:
        """One batch, exactly once in effect, as soon as there is room for it."""
        async with self._room.of(hits_in(batch)):
            await self._process_next(batch)

    async def _process_next(self, batch: Batch) -> None:
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
        must_carry = batch.broker.startswith(VOLATILE_CLUSTER_PREFIX)
        await self._process(batch, version, must_carry=must_carry, is_repeat=is_repeat)
        metrics.BATCHES.labels(HITS).inc()
        metrics.BATCH_SECONDS.labels(HITS).observe(time.monotonic() - began)

    async def _process(self, batch: Batch, version: str, *, must_carry: bool, is_repeat: bool) -> None:
        """``must_carry``: the claim keeps the records themselves, which the broker may forget."""
        rules = await self._rules.find(version)
        claimed = Claimed(self._own.journal.owner, batch.broker, batch.first, batch.last, version)
        # In this order: a range is pending in the store only if the journal has it from an owner that still had it.
        await self._own.journal.note(claimed)
        attempt = await self._fence.claim(batch, version, pack_records(batch.records) if must_carry else b"")
        with self._recent.loan(self._own.journal.owner) as loan:
            await self._finish(batch, rules, version, attempt, loan, is_repeat=is_repeat or attempt > 1)
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
        self, batch: Batch, rules: StitchRules, version: str, attempt: int, loan: Loan, *, is_repeat: bool
    ) -> None:
        isolate = attempt >= ISOLATE_FROM_ATTEMPT
        read = read_batch(batch, rules, attempt=attempt, isolate=isolate)
        standing = await self._load(loan, read.by_visitor, batch, rules)
        output = self._stitch(read, batch, rules, attempt, loan, standing)
        events = read.events
        del read  # The decoded hits: rows and timelines have what they say, and inserts take their time.
        token = f"{batch.topic}:{batch.broker}:{batch.partition}:{batch.first}-{batch.last}:{version}"
        refusals = await Refusals.find(self._own, HITS, token, is_repeat=is_repeat)
        if refusals or not await self._insert(batch, token, output, refusals, is_repeat=is_repeat):
            # The batch and its visitors' timelines as they were before it.
            loan.forget()
            again = read_batch(batch, rules, attempt=attempt, isolate=isolate)
            of_visitor = again.by_visitor
            standing = await self._load(loan, of_visitor, batch, rules)
            parts = {
                visitor: self._stitch(
                    ReadBatch({visitor: of_visitor[visitor]}, restates=again.restates),
                    batch,
                    rules,
                    attempt,
                    loan,
                    standing,
                )
                for visitor in output.changed
            }
            output = await insert_in_parts(
                self._own, batch, output, parts, of_visitor, refusals, token, attempt
            )
        if is_repeat:
            metrics.RECOVERED.inc()
            await self._check_recovered(batch, len(output.rows["hits"]))
        await self._own.publish_dead_letters(output.dead_letters)
        dirty = {trigger.field: encode_trigger(trigger) for trigger in output.triggers}
        stored = {visitor: loan.timeline(visitor).to_bytes() for visitor in output.changed}
        counts = Counts(
            records=len(batch.records),
            events=events,
            hits=len(output.rows["hits"]),
            sessions=len(output.rows["sessions"]),
            touchpoints=len(output.rows["touchpoints"]),
            drops=output.dropped.total(),
            dead_letters=len(output.dead_letters),
            restated=output.restated,
        )
        journal = self._own.journal_done(batch.broker, batch.last + 1)
        timelines = {loan.key(visitor): value for visitor, value in stored.items()}
        news = pack_news(output.news)
        place = f"{batch.broker}:{batch.first}:{self._own.journal.owner}" if news else ""
        if not await self._fence.commit_stitch(
            batch, journal, timelines, dirty, counts, (place, news), tells_of_others=self._tells_of_others
        ):
            # Once in an owner's life, as after a crash before the commit: the same rows under the same tokens.
            self._tells_of_others = True
            loan.forget()
            await self._finish(batch, rules, version, attempt, loan, is_repeat=True)
            return
        # Nobody changes them before the next batch of this partition, which waits for the spread.
        linked = {
            (one.site, one.visitor_id): loan.timeline((one.site, one.visitor_id)) for one in output.news
        }
        loan.give_back({visitor: len(value) for visitor, value in stored.items()}, output.poisoned)
        await refusals.forget()
        metrics.HITS.inc(output.accepted)
        for reason, count in output.dropped.items():
            metrics.DROPPED.labels(reason.value).inc(count)
        for row in output.rows["click_costs"]:
            metrics.CLICK_COSTS.labels(row[_COST_REASON] or "counted").inc()
        for why, count in output.refused_ids.items():
            metrics.IDS_REFUSED.labels(why).inc(count)
        for problem, count in output.refund_problems.items():
            metrics.DEAL_PROBLEMS.labels(problem.value).inc(count)
        if news:
            dirty |= await self._spread(place, news, linked)
        # All at once: a conversion that the batch concerns twice is credited once.
        await self._wishes.send(dirty)

    async def _spread(
        self, place: str, packed: bytes, known: Mapping[Visitor, Timeline]
    ) -> dict[bytes, bytes]:
        """Other visitors' conversions that a committed batch concerns are dirty. The triggers, which are to be sent."""
        rules, news = self._rules.own.policy.identity, news_from(packed)
        triggers = await spread(self._people, news, rules, self._partition, place, known)
        dirty = {trigger.field: encode_trigger(trigger) for trigger in triggers}
        await self._fence.end_spread(place, dirty)
        metrics.SPREADS.inc()
        return dirty

    def _stitch(
        self,
        read: ReadBatch,
        batch: Batch,
        rules: StitchRules,
        attempt: int,
        loan: Loan,
        standing: Mapping[Visitor, Standing],
    ) -> StitchOutput:
        isolate, owner = attempt >= ISOLATE_FROM_ATTEMPT, self._own.journal.owner
        return stitch(
            read,
            loan.timeline,
            batch,
            rules,
            owner=owner,
            attempt=attempt,
            isolate=isolate,
            tells_of_others=self._tells_of_others,
            standing=standing,
        )

    async def _insert(
        self, batch: Batch, token: str, output: StitchOutput, refusals: Refusals, *, is_repeat: bool
    ) -> bool:
        """Every table's rows under a token that names the immutable range; a repeat is dropped by ClickHouse.

        Rows of ``hits`` and ``click_costs`` last: they cannot be taken back. False when ClickHouse refuses rows, and
        no hit is there.
        """
        others = {table: rows for table, rows in output.rows.items() if table not in _LAST}
        try:
            await self._own.insert(others, token)
            await self._own.insert({"hits": output.rows["hits"]}, token)
        except Rejected as error:
            log.warning("batch_refused", partition=self._partition, first=batch.first, error=error.message)
            # All hits there means that all was there, before ClickHouse began to refuse it.
            hits = len(output.rows["hits"])
            found = await self._own.count_hits(batch.broker, batch.first, batch.last) if is_repeat else 0
            if not 0 < hits == found:
                return False
        await insert_click_costs(output.rows["click_costs"], refusals, token)
        return True

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

    async def _load(
        self, loan: Loan, visitors: Iterable[Visitor], batch: Batch, rules: StitchRules
    ) -> Mapping[Visitor, Standing]:
        """Bring the timelines of ``visitors`` into memory, as they stood before ``batch``.

        Returns what stands in the tables of those that were put away and are made again.
        """
        missing = loan.take(visitors)
        keys = [timeline_key(self._partition, *visitor) for visitor in missing]
        values = await self._fence.read_timelines(keys)
        recalled: Mapping[Visitor, Recalled] = {}
        standing: Mapping[Visitor, Standing] = {}
        if b"" in values:
            wanted = [visitor for visitor, value in zip(missing, values, strict=True) if value == b""]
            place = Place(batch.broker, batch.partition, batch.first)
            recalled = await recall(self._own.writer, wanted, rules.policy, place)
            standing = await standing_of(self._own.writer, recalled, place)
        for visitor, key, value in zip(missing, keys, values, strict=True):
            if value is None:
                loan.add(visitor, Timeline.empty(*visitor), key, 0)
            elif not value:
                timeline = recalled[visitor].timeline
                loan.add(visitor, timeline, key, len(timeline.to_bytes()))
            else:
                loan.add(visitor, Timeline.from_bytes(value, *visitor), key, len(value))
        return standing


def hits_in(batch: Batch) -> int:
    """About how many hits a batch has."""
    return sum(map(estimate_events, batch.records))
