"""The credit stage of one partition of conversions: what stands credited, and the ledger rows that say so.

The past it reads belongs to other partitions and may change between two attempts, so a decision is persisted
before it is written out: it is noted in the journal, conversion states and rows (the outbox) are committed together,
then the rows go to ClickHouse under the batch's token, then the outbox entry is deleted. Whoever comes next applies
what the store does not know of the journal, and finishes an outbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from attribution.conversions import Conversion
from attribution.errors import Rejected
from streams import metrics
from streams.credit_parts import insert_in_parts
from streams.dead_letters import DeadLetter
from streams.envelopes import envelopes
from streams.journal import Decided, parts_of, whole_bodies
from streams.ownership import Ownership
from streams.pasts import read_pasts
from streams.patience import patiently
from streams.people import People
from streams.policies import PolicyBook
from streams.records import Batch
from streams.recredit import (
    Correction,
    CreditState,
    FindPolicy,
    Work,
    credited_at_once,
    merged,
    pack_state,
    recredit,
    restates_in_place,
    state_of,
    versions_wanted,
)
from streams.refusals import Refusals
from streams.rows import Row
from streams.told import Told, rows_of, told, told_in_rows
from streams.topics import (
    CONVERSIONS,
    CREDITS,
    conversion_key,
    dirty_key,
    outbox_key,
    partition_of,
)
from streams.triggers import Trigger, decode_triggers, encode_trigger

log = structlog.get_logger(__name__)


class Outbox(msgspec.Struct, array_like=True):
    """What was decided and is to be told, and the dirty fields that it answers."""

    rows: dict[str, list[Row]]
    """By table: dead letters. Of a Headwater that knew no ``chains`` all rows."""
    answered: dict[int, dict[bytes, bytes]]
    """Of a Headwater that had wishes of hits only: by partition what stands in ``wishes`` today."""
    before: dict[str, bytes] = {}
    """``CreditState`` by key as it stood, b"" = none, of the conversions that are told of."""
    chains: dict[str, list[tuple[str, bytes]]] = {}
    """By key what became of it, step by step: (cause, ``CreditState``). Rows follow from two states: they are not kept,
    they take eight times the room."""
    wishes: dict[str, dict[bytes, bytes]] = {}
    """The dirty fields that it answers: by key of their hash ("" = they stand in none) field and value."""

    @property
    def all_wishes(self) -> dict[str, dict[bytes, bytes]]:
        """``wishes``, whoever wrote the outbox."""
        former = {
            dirty_key(partition) if partition >= 0 else "": fields
            for partition, fields in self.answered.items()
        }
        return {**former, **self.wishes}


class Decision(msgspec.Struct, array_like=True):
    """What one batch of triggers comes to: everything that is to be written, before anything is."""

    broker: str
    next: int
    """Where the fence goes."""
    batch_id: str
    outbox: bytes
    states: dict[str, bytes]
    """``CreditState`` by key, of the conversions of which it is not what the last step of their chain says."""


class _Corrected(NamedTuple):
    """One conversion whose corrections are to be told."""

    before: bytes
    """``CreditState`` as it stood; b"" = none."""
    corrections: Sequence[Correction]

    @property
    def chain(self) -> list[tuple[str, bytes]]:
        """As an outbox keeps it."""
        return [(one.cause, pack_state(one.after)) for one in self.corrections]


_pack = msgspec.msgpack.Encoder().encode
_outbox_of = msgspec.msgpack.Decoder(Outbox).decode
_decision_of = msgspec.msgpack.Decoder(Decision).decode


def entries_of(decision: Decision, owner: str) -> list[Decided]:
    """``decision`` as journal entries."""
    return parts_of(owner, decision.broker, decision.next, decision.batch_id, _pack(decision))


def decisions_of(noted: Iterable[Decided]) -> list[Decision]:
    """The decisions that were noted completely, in order."""
    return [_decision_of(body) for body in whole_bodies(noted)]


class CreditStage:
    """One partition's credit stage."""

    def __init__(
        self, own: Ownership, policies: PolicyBook, partitions: int, decisions: Sequence[Decision] = ()
    ) -> None:
        """``decisions``: what earlier owners decided and the store has forgotten, in order."""
        self._own = own
        self._fence = own.fence
        self._store = own.fence.store
        self._partition = own.partition
        self._policies = policies
        self._partitions = partitions
        self._people = People(own.fence.store, partitions, own.writer, policies.active.policy)
        self._decisions = decisions

    async def start(self) -> None:
        """Finish the outboxes that an earlier owner left, then what the store has forgotten."""
        await self._policies.keep(self._own)
        left = await self._store.fields(outbox_key(self._partition))
        for batch_id, packed in sorted(left.items()):
            outbox = _outbox_of(packed)
            await self._deliver(batch_id, outbox, told_by(outbox), is_repeat=True)
            metrics.RECOVERED.inc()
        for decision in self._decisions:
            outbox = _outbox_of(decision.outbox)
            await self._apply(decision, outbox, told_by(outbox), is_repeat=True)
            metrics.RECOVERED.inc()
            log.info("recovered", partition=self._partition, batch=decision.batch_id)
        await Refusals.put_away(self._own, CONVERSIONS)

    async def idle(self) -> None:
        """See that the store still is what it was. Stitch sends again what is not answered."""
        await self._fence.check()

    async def process(self, batch: Batch) -> None:
        """Bring every conversion that the batch names up to date."""
        began = time.monotonic()
        await self._policies.follow(self._own)
        triggers, dead_letters = self._read(batch)
        by_conversion: dict[str, list[Trigger]] = {}
        for trigger in triggers:
            by_conversion.setdefault(trigger.conversion_id, []).append(trigger)
        quiet, corrected = await self._decide(by_conversion)
        all_told = [told(one.corrections) for one in corrected.values()]
        rows: dict[str, list[Row]] = {}
        if dead_letters:
            rows["dead_letters"] = [letter.row() for letter in dead_letters]
            await self._own.publish_dead_letters(dead_letters)
        wishes: dict[str, dict[bytes, bytes]] = {}
        for trigger in triggers:
            wishes.setdefault(trigger.dirty_key, {})[trigger.field] = encode_trigger(trigger)
        before = {key: one.before for key, one in corrected.items()}
        outbox = Outbox(rows, {}, before, {key: one.chain for key, one in corrected.items()}, wishes)
        batch_id = f"{batch.broker}:{batch.first:020d}-{batch.last:020d}:{self._own.journal.owner}"
        decision = Decision(batch.broker, batch.last + 1, batch_id, _pack(outbox), quiet)
        # A state that no row tells of would be forgotten with the store, and a later decision takes the fence past it.
        if rows or corrected or quiet:
            for entry in entries_of(decision, self._own.journal.owner):
                await self._own.journal.note(entry)
        metrics.CREDITED.inc(sum(1 for one in all_told if one.credits))
        metrics.ENTRIES.inc(sum(len(one.credits) for one in all_told))
        await self._apply(decision, outbox, all_told)
        metrics.BATCHES.labels(CONVERSIONS).inc()
        metrics.BATCH_SECONDS.labels(CONVERSIONS).observe(time.monotonic() - began)

    async def _apply(
        self, decision: Decision, outbox: Outbox, all_told: Sequence[Told], *, is_repeat: bool = False
    ) -> None:
        journal = self._own.journal_done(decision.broker, decision.next)
        states = {key: chain[-1][1] for key, chain in outbox.chains.items()} | decision.states
        await self._fence.commit_credit(
            decision.broker, decision.next, journal, decision.batch_id, decision.outbox, states
        )
        await self._deliver(decision.batch_id.encode(), outbox, all_told, is_repeat=is_repeat)

    def _read(self, batch: Batch) -> tuple[list[Trigger], list[DeadLetter]]:
        triggers: list[Trigger] = []
        dead_letters: list[DeadLetter] = []
        for record in batch.records:
            try:
                found = decode_triggers(record.value)
            except Rejected as error:
                dead_letters.append(
                    DeadLetter.of(batch, record, -1, error.reason, error.message, record.value)
                )
                continue
            for index, trigger in enumerate(found):
                if partition_of(trigger.conversion_id, self._partitions) == self._partition:
                    triggers.append(trigger)
                    continue
                reason, detail = "wrong_partition", "the record key must be the conversion_id"
                dead_letters.append(
                    DeadLetter.of(batch, record, index, reason, detail, encode_trigger(trigger))
                )
        return triggers, dead_letters

    async def _decide(
        self, by_conversion: dict[str, list[Trigger]]
    ) -> tuple[dict[str, bytes], dict[str, _Corrected]]:
        """By key: new states that no correction ends with, such as one under another policy, and the corrections."""
        ids = list(by_conversion)
        known = await self._known(ids)
        found: list[tuple[Conversion, CreditState | None, list[Trigger]]] = []
        for conversion_id in ids:
            packed, triggers = known.get(conversion_id), by_conversion[conversion_id]
            state = state_of(packed) if packed is not None else None
            conversion = merged(state, triggers)
            if conversion is None:
                continue  # the fact is still on its way; it will find the past as it then is
            found.append((conversion, state, triggers))
        wanted = [versions_wanted(state, triggers) for _, state, triggers in found]
        versions = {version for versions in wanted for version in versions if version}
        await self._policies.load(versions, self._own)
        find = self._policies.find
        works = await self._works(found, find)
        tell_refund_problems(works)
        quiet: dict[str, bytes] = {}
        corrected: dict[str, _Corrected] = {}
        for work, statements in zip(works, credited_at_once(works, find), strict=True):
            state, corrections = recredit(work, find, statements)
            conversion_id = work.conversion.conversion_id
            key, before = conversion_key(self._partition, conversion_id), known.get(conversion_id, b"")
            if corrections:
                corrected[key] = _Corrected(before, corrections)
            if not corrections or corrections[-1].after is not state:
                packed = pack_state(state)
                if packed != before:
                    quiet[key] = packed
        return quiet, corrected

    async def _works(
        self, found: Sequence[tuple[Conversion, CreditState | None, list[Trigger]]], find: FindPolicy
    ) -> list[Work]:
        """With the pasts of those that need one."""
        in_place = [restates_in_place(*one, find) for one in found]
        anew = [conversion for (conversion, _, _), is_so in zip(found, in_place, strict=True) if not is_so]
        pasts = iter(await read_pasts(self._people, anew, self._policies.active.policy.identity))
        return [
            Work(*one, None if is_so else next(pasts)) for one, is_so in zip(found, in_place, strict=True)
        ]

    async def _known(self, ids: list[str]) -> dict[str, bytes]:
        """The packed ``CreditState`` of those that have one."""
        keys = [conversion_key(self._partition, conversion_id) for conversion_id in ids]
        values = await self._fence.read_states(keys)
        return {i: value for i, value in zip(ids, values, strict=True) if value is not None}

    async def _deliver(
        self, batch_id: bytes, outbox: Outbox, all_told: Sequence[Told], *, is_repeat: bool
    ) -> None:
        """Rows to ClickHouse, entries to the credits topic, then the outbox and the dirty fields are done with."""
        name = batch_id.decode()
        token = f"{CONVERSIONS}:{self._partition}:{name}"
        letters = outbox.rows.get("dead_letters", [])
        refusals = await Refusals.find(self._own, CONVERSIONS, token, is_repeat=is_repeat)
        if refusals or not await self._insert(token, letters, all_told):
            wishes, before = outbox.all_wishes, outbox.before
            all_told = await insert_in_parts(
                self._own, name, letters, all_told, wishes, before, refusals, token
            )
        await self._publish(all_told)
        await self._store.delete_field(outbox_key(self._partition), batch_id)
        for key, fields in outbox.all_wishes.items():
            if key:
                await self._store.forget(key, fields)
        await refusals.forget()

    async def _insert(self, token: str, letters: Sequence[Row], all_told: Sequence[Told]) -> bool:
        """False when ClickHouse refuses rows. The ledger comes last: it is never taken back."""
        rows = rows_of(all_told)
        credits = rows.pop("credits")
        try:
            await self._own.insert({"dead_letters": letters, **rows}, token)
            await self._own.insert({"credits": credits}, token)
        except Rejected as error:
            log.warning("batch_refused", partition=self._partition, token=token, error=error.message)
            return False
        return True

    async def _publish(self, all_told: Iterable[Told]) -> None:
        """Ledger entries for other consumers, at least once. All of them are of this partition."""
        telling = [one for one in all_told if one.objects]
        if telling:
            key = telling[0].conversion_id.encode()
            values = envelopes(value for one in telling for value in one.objects)
            await asyncio.gather(
                *(
                    patiently(partial(self._own.send, CREDITS, key, value), "credits topic")
                    for value in values
                )
            )


def tell_refund_problems(works: Iterable[Work]) -> None:
    """Say what of refunds does not count, where that is new."""
    for work in works:
        now = work.conversion
        before = work.state.conversion.refund_problems if work.state is not None else frozenset()
        for problem in sorted(now.refund_problems - before):
            metrics.DEAL_PROBLEMS.labels(problem.value).inc()
            order = now.winner
            log.warning(
                problem.value, site=order.site, order_id=order.order_id, conversion_id=now.conversion_id
            )


def told_by(outbox: Outbox) -> list[Told]:
    """What ``outbox`` is to tell."""
    found = told_in_rows(outbox.rows)
    for key, chain in outbox.chains.items():
        packed = outbox.before[key]
        state = state_of(packed) if packed else None
        corrections: list[Correction] = []
        for cause, after in chain:
            before, state = state, state_of(after)
            corrections.append(Correction(cause, before, state))
        found.append(told(corrections))
    return found
