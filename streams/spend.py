"""The spend stage of one partition of cost reports: which figures are known, which of them count, the rows that say so.

As in credit a decision is persisted before it is written out: it is noted in the journal; what is kept and the outbox
are committed together with the fence; then the rows go to ClickHouse under the decision's token, then the outbox entry
is deleted. Touches become known after the spend that brought them, and clicks tell live what they cost: ``idle`` looks
for both. Such a decision moves no offset, so decisions are counted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

import msgspec
import structlog

from attribution.errors import Rejected
from attribution.spend.kept import KeptSpend, decode_kept
from attribution.spend.labels import Touches
from sinks.tables import SPEND_COLUMNS
from streams import metrics
from streams.fence import Fenced
from streams.journal import Decided, parts_of, whole_bodies
from streams.live_spend import ClickCostBook, LiveDay, LiveSpend
from streams.ownership import Ownership
from streams.records import Batch
from streams.refusals import Refusals
from streams.rows import Row
from streams.spend_batch import DayChange, Place, SpendDecision, change_of, read_batch
from streams.spend_parts import as_before, insert_in_parts, letters_of
from streams.topics import SPEND, outbox_key, spend_days_key, spend_key
from streams.touch_book import TouchBook

log = structlog.get_logger(__name__)

DAYS_OF_A_TURN = 50
"""Days that one idle turn labels anew: reports that arrive meanwhile do not wait for more."""

_CAUSE = SPEND_COLUMNS.index("cause")

_pack = msgspec.msgpack.Encoder().encode
_decision_of = msgspec.msgpack.Decoder(SpendDecision).decode
_place_of = msgspec.json.Decoder(tuple[str, str, date]).decode


def decisions_of(noted: Iterable[Decided]) -> list[SpendDecision]:
    """The decisions that were noted completely, in order."""
    return [_decision_of(body) for body in whole_bodies(noted)]


class SpendStage:
    """One partition's spend stage."""

    def __init__(
        self,
        own: Ownership,
        partitions: int,
        touches: TouchBook,
        click_costs: ClickCostBook,
        step: int,
        decisions: Sequence[SpendDecision] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``step``: decisions that the store knows; ``decisions``: those that it has forgotten, in order."""
        self._own = own
        self._fence = own.fence
        self._store = own.fence.store
        self._partition = own.partition
        self._partitions = partitions
        self._book = touches
        self._live = LiveSpend(own, partitions, click_costs)
        self._step = step
        self._decisions = decisions
        self._clock = clock
        self._places: set[Place] = set()
        self._labelled: dict[tuple[str, str], Touches] = {}
        """By site and network the touches by which all its days are labelled, or are about to be."""
        self._stale: deque[Place] = deque()

    async def start(self) -> None:
        """Finish the outboxes that an earlier owner left, then what the store has forgotten."""
        left = await self._store.fields(outbox_key(self._partition, SPEND))
        for decision in sorted(map(_decision_of, left.values()), key=lambda one: one.step):
            await self._deliver(decision, is_repeat=True)
            metrics.RECOVERED.inc()
        for decision in self._decisions:
            if decision.step > self._step:
                await self._apply(decision, is_repeat=True)
                metrics.RECOVERED.inc()
                log.info("recovered", partition=self._partition, batch=decision.batch_id)
        if self._decisions:
            await self._fence.note_journal(self._own.journal.all_done())
        await Refusals.put_away(self._own, SPEND)
        days = await self._store.fields(spend_days_key(self._partition))
        self._places |= {Place(*_place_of(name)) for name in days}

    async def idle(self) -> None:
        """See that the store still is what it was, and that spend stands under the labels of its touches."""
        await self._fence.check()
        if await self._fence.step() != self._step:
            raise Fenced("DIVERGED the store knows other decisions than its owner: it was set back")
        live = await self._live.changed()
        if not self._places and not live:
            return
        await self._book.look(self._own)
        await self._take_in(live)
        self._find_stale()
        await self._label_anew([self._stale.popleft() for _ in range(min(len(self._stale), DAYS_OF_A_TURN))])

    async def process(self, batch: Batch) -> None:
        """Bring what is known of every day that the batch reports up to date."""
        began = time.monotonic()
        by_place, letters = read_batch(batch, self._partitions)
        if by_place:
            await self._book.look(self._own)
        kept = await self._kept(list(by_place))
        changes: list[DayChange] = []
        for (place, reports), known in zip(by_place.items(), kept, strict=True):
            facts = [report.fact for report in reports]
            recorded_at = max(report.received_at for report in reports)
            touches = self._book.of(place.site, place.ad_network)
            change = change_of(place, known, facts, touches, recorded_at)
            if change is not None:
                changes.append(change)
        await self._own.publish_dead_letters(letters)
        name = f"{batch.broker}:{batch.first:020d}-{batch.last:020d}:{self._own.journal.owner}"
        rows = [letter.row() for letter in letters]
        await self._decide(batch.broker, batch.last + 1, name, changes, rows)
        metrics.BATCHES.labels(SPEND).inc()
        metrics.BATCH_SECONDS.labels(SPEND).observe(time.monotonic() - began)

    async def _decide(
        self, broker: str, next_offset: int, batch_id: str, days: list[DayChange], letters: list[Row]
    ) -> None:
        """Make a decision durable, then true."""
        decision = SpendDecision(broker, next_offset, batch_id, self._step + 1, days, letters)
        if days or letters:
            # The journal takes an entry for done when the fence of this log stands where the entry says. A decision
            # that does not move the fence is done with the next one that does.
            here, (its_broker, its_offset) = self._own.broker, self._fence.stands_at
            behind = max(next_offset if broker == here else 0, (its_offset if its_broker == here else 0) + 1)
            for entry in parts_of(self._own.journal.owner, here, behind, batch_id, _pack(decision)):
                await self._own.journal.note(entry)
        else:
            decision.step = self._step
        await self._apply(decision)

    async def _apply(self, decision: SpendDecision, *, is_repeat: bool = False) -> None:
        is_quiet = decision.step == self._step
        await self._fence.commit_spend(
            decision.broker,
            decision.next,
            (self._step, decision.step),
            self._own.journal_done(decision.broker, decision.next),
            decision.batch_id,
            b"" if is_quiet else _pack(decision),
            {
                spend_key(self._partition, *_place(day)): (
                    msgspec.json.encode(_place(day)),
                    {key: after for key, (_, after) in day.fields.items()},
                )
                for day in decision.days
            },
        )
        self._step = decision.step
        self._places.update(map(_place, decision.days))
        if not is_quiet:
            await self._deliver(decision, is_repeat=is_repeat)

    async def _deliver(self, decision: SpendDecision, *, is_repeat: bool = False) -> None:
        """Rows to ClickHouse, then the outbox is done with."""
        token = f"{SPEND}:{self._partition}:{decision.batch_id}"
        refusals = await Refusals.find(self._own, SPEND, token, is_repeat=is_repeat)
        if refusals or not await self._insert(decision, token):
            await self._undo(decision, await insert_in_parts(self._own, decision, refusals, token))
        for row in (row for day in decision.days for row in day.rows):
            metrics.SPEND_ROWS.labels(row[_CAUSE]).inc()
        await self._store.delete_field(outbox_key(self._partition, SPEND), decision.batch_id.encode())
        await refusals.forget()

    async def _insert(self, decision: SpendDecision, token: str) -> bool:
        """False when ClickHouse refuses rows."""
        rows = [row for day in decision.days for row in day.rows]
        try:
            await self._own.insert({"dead_letters": decision.letters, "spend": rows}, token)
        except Rejected as error:
            log.warning("batch_refused", partition=self._partition, token=token, error=error.message)
            return False
        return True

    async def _undo(self, decision: SpendDecision, refused: Mapping[int, str]) -> None:
        """What ClickHouse refuses is not kept either, unless an earlier owner has seen to that."""
        if not refused or self._step > decision.step:
            return
        letters = letters_of(decision, self._partition, refused)
        await self._own.publish_dead_letters(letters)
        days = [as_before(decision.days[number]) for number in sorted(refused)]
        rows = [letter.row() for letter in letters]
        await self._decide(*self._fence.stands_at, f"{decision.batch_id}:refused", days, rows)

    async def _kept(self, places: Sequence[Place]) -> list[dict[str, KeptSpend]]:
        """What is kept of places, by key."""
        keys = [spend_key(self._partition, *place) for place in places]
        days = await self._fence.read_days(keys, self._step)
        return [{key.decode(): decode_kept(value) for key, value in day.items()} for day in days]

    async def _take_in(self, live: Sequence[LiveDay]) -> None:
        """A decision about the days of ``live``."""
        changes: list[DayChange] = []
        for (place, facts, heard_at), known in zip(
            live, await self._kept([day.place for day in live]), strict=True
        ):
            touches = self._book.of(place.site, place.ad_network)
            change = change_of(place, known, (), touches, heard_at, facts)
            if change is not None:
                changes.append(change)
        if changes:
            await self._decide_now("live", changes)

    async def _decide_now(self, why: str, changes: list[DayChange]) -> None:
        """A decision that no record asked for, and that moves no offset."""
        broker, offset = self._fence.stands_at
        name = f"{broker}:{offset:020d}-{why}-{self._step + 1}:{self._own.journal.owner}"
        await self._decide(broker, offset, name, changes, [])

    def _find_stale(self) -> None:
        """Note the days of every site and network that has other touches than when they were labelled."""
        changed = {
            pair
            for pair in {(place.site, place.ad_network) for place in self._places}
            if self._labelled.get(pair) != self._book.of(*pair)
        }
        if changed:
            waiting = set(self._stale)
            fresh = (place for place in self._places if (place.site, place.ad_network) in changed)
            self._stale.extend(sorted(set(fresh) - waiting))
            self._labelled.update({pair: self._book.of(*pair) for pair in changed})

    async def _label_anew(self, places: Sequence[Place]) -> None:
        """A decision about those of ``places`` whose spend stands under other labels than its touches have by now."""
        changes: list[DayChange] = []
        now = int(self._clock() * 1000)
        for place, known in zip(places, await self._kept(places), strict=True):
            change = change_of(place, known, (), self._book.of(place.site, place.ad_network), now)
            if change is not None:
                changes.append(change)
        if changes:
            await self._decide_now("match", changes)


def _place(day: DayChange) -> Place:
    return Place(day.site, day.ad_network, day.day)
