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
from typing import Any

import msgspec
import structlog

from attribution.conversions import Conversion
from attribution.errors import Rejected
from sinks.tables import WRITTEN
from streams import metrics
from streams.credit_parts import insert_in_parts
from streams.dead_letters import DeadLetter
from streams.envelopes import envelopes
from streams.journal import PART_BYTES, Decided
from streams.ownership import Ownership
from streams.pasts import read_pasts
from streams.patience import patiently
from streams.people import People
from streams.policies import PolicyBook
from streams.records import Batch
from streams.recredit import (
    Correction,
    CreditState,
    merged,
    pack_state,
    recredit,
    restated_at_once,
    state_of,
    versions_wanted,
)
from streams.refusals import Refusals
from streams.rows import Row, conversion_row, credit_rows, path_row
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
    """Decided rows by table, and the dirty fields that they answer (hits partition → field → value)."""

    rows: dict[str, list[Row]]
    answered: dict[int, dict[bytes, bytes]]
    before: dict[str, bytes] = {}
    """``CreditState`` by key as it stood, b"" = none, of the conversions that the rows are about."""


class Decision(msgspec.Struct, array_like=True):
    """What one batch of triggers comes to: everything that is to be written, before anything is."""

    broker: str
    next: int
    """Where the fence goes."""
    batch_id: str
    outbox: bytes
    states: dict[str, bytes]
    """``CreditState`` by key."""


CreditEntry = msgspec.defstruct("CreditEntry", [(name, Any) for name in WRITTEN["credits"]], gc=False)
"""A ledger row with its names: an object of ``headwater.credits.v1``."""
_CONVERSION_ID = WRITTEN["credits"].index("conversion_id")

_encode = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode
_outbox_of = msgspec.msgpack.Decoder(Outbox).decode
_decision_of = msgspec.msgpack.Decoder(Decision).decode


def entries_of(decision: Decision, owner: str) -> list[Decided]:
    """``decision`` as journal entries of at most ``PART_BYTES``."""
    body = _pack(decision)
    parts = [body[start : start + PART_BYTES] for start in range(0, len(body), PART_BYTES)]
    return [
        Decided(owner, decision.broker, decision.next, decision.batch_id, number, len(parts), part)
        for number, part in enumerate(parts)
    ]


def decisions_of(noted: Iterable[Decided]) -> list[Decision]:
    """The decisions that were noted completely, in order. An incomplete one has had no effect."""
    parts: dict[str, dict[int, bytes]] = {}
    wanted: dict[str, int] = {}
    for entry in noted:
        parts.setdefault(entry.batch_id, {})[entry.part] = entry.body
        wanted[entry.batch_id] = entry.parts
    return [
        _decision_of(b"".join(found[number] for number in range(wanted[batch_id])))
        for batch_id, found in parts.items()
        if len(found) == wanted[batch_id]
    ]


def _write(correction: Correction, rows: dict[str, list[Row]]) -> None:
    """Add the rows of one correction."""
    old, new, cause, recorded_at = correction.old, correction.new, correction.cause, correction.recorded_at
    rows["credits"] += credit_rows(
        new.site, new.conversion_id, correction.entries, cause, correction.policy, recorded_at
    )
    if old != new:
        if old is not None:
            rows["conversions"].append(conversion_row(old, -1, cause, recorded_at))
        rows["conversions"].append(conversion_row(new, 1, cause, recorded_at))
    if correction.old_path != correction.new_path:
        if correction.old_path is not None:
            rows["paths"].append(path_row(new.site, new.conversion_id, correction.old_path, -1, recorded_at))
        rows["paths"].append(path_row(new.site, new.conversion_id, correction.new_path, 1, recorded_at))


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
        self._people = People(own.fence.store, partitions)
        self._decisions = decisions

    async def start(self) -> None:
        """Finish the outboxes that an earlier owner left, then what the store has forgotten."""
        await self._policies.keep(self._own)
        left = await self._store.fields(outbox_key(self._partition))
        for batch_id, packed in sorted(left.items()):
            await self._deliver(batch_id, _outbox_of(packed), is_repeat=True)
            metrics.RECOVERED.inc()
        for decision in self._decisions:
            await self._apply(decision, _outbox_of(decision.outbox), is_repeat=True)
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
        states, rows, before = await self._decide(by_conversion)
        if dead_letters:
            rows["dead_letters"] = [letter.row() for letter in dead_letters]
            await self._own.publish_dead_letters(dead_letters)
        answered: dict[int, dict[bytes, bytes]] = {}
        for trigger in triggers:
            answered.setdefault(trigger.hits_partition, {})[trigger.field] = encode_trigger(trigger)
        outbox = Outbox({table: r for table, r in rows.items() if r}, answered, before)
        batch_id = f"{batch.broker}:{batch.first:020d}-{batch.last:020d}:{self._own.journal.owner}"
        decision = Decision(batch.broker, batch.last + 1, batch_id, _pack(outbox), states)
        if outbox.rows:
            for entry in entries_of(decision, self._own.journal.owner):
                await self._own.journal.note(entry)
        await self._apply(decision, outbox)
        metrics.BATCHES.labels(CONVERSIONS).inc()
        metrics.BATCH_SECONDS.labels(CONVERSIONS).observe(time.monotonic() - began)

    async def _apply(self, decision: Decision, outbox: Outbox, *, is_repeat: bool = False) -> None:
        journal = self._own.journal_done(decision.broker, decision.next)
        await self._fence.commit_credit(
            decision.broker, decision.next, journal, decision.batch_id, decision.outbox, decision.states
        )
        await self._deliver(decision.batch_id.encode(), outbox, is_repeat=is_repeat)

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
    ) -> tuple[dict[str, bytes], dict[str, list[Row]], dict[str, bytes]]:
        """The new state of each conversion, the rows by which the ledger gets there, and the states before."""
        ids = list(by_conversion)
        known = await self._known(ids)
        conversions: list[tuple[Conversion, CreditState | None, list[Trigger]]] = []
        for conversion_id in ids:
            packed, triggers = known.get(conversion_id), by_conversion[conversion_id]
            state = state_of(packed) if packed is not None else None
            conversion = merged(state, triggers)
            if conversion is None:
                continue  # the fact is still on its way; it will find the past as it then is
            conversions.append((conversion, state, triggers))
        winners = [conversion.winner for conversion, _, _ in conversions]
        pasts = await read_pasts(self._people, winners, self._policies.active.policy.identity)
        wanted = [versions_wanted(state, triggers) for _, state, triggers in conversions]
        versions = {version for versions in wanted for version in versions if version}
        await self._policies.load(versions, self._own)
        states: dict[str, bytes] = {}
        before: dict[str, bytes] = {}
        rows: dict[str, list[Row]] = {"credits": [], "conversions": [], "paths": []}
        find = self._policies.find
        asked = [
            (conversion, its, past) for (conversion, _, its), past in zip(conversions, pasts, strict=True)
        ]
        statements = restated_at_once(asked, find)
        for (conversion, state, triggers), past, statement in zip(
            conversions, pasts, statements, strict=True
        ):
            done = recredit(conversion, state, triggers, past, find, statement)
            key = conversion_key(self._partition, conversion.conversion_id)
            states[key] = pack_state(done.state)
            if done.corrections:
                before[key] = known.get(conversion.conversion_id, b"")
            for correction in done.corrections:
                _write(correction, rows)
            metrics.CREDITED.inc(any(correction.entries for correction in done.corrections))
        metrics.ENTRIES.inc(len(rows["credits"]))
        return states, rows, before

    async def _known(self, ids: list[str]) -> dict[str, bytes]:
        """The packed ``CreditState`` of those that have one."""
        keys = [conversion_key(self._partition, conversion_id) for conversion_id in ids]
        values = await self._fence.read_states(keys)
        return {i: value for i, value in zip(ids, values, strict=True) if value is not None}

    async def _deliver(self, batch_id: bytes, outbox: Outbox, *, is_repeat: bool) -> None:
        """Rows to ClickHouse, entries to the credits topic, then the outbox and the dirty fields are done with."""
        name = batch_id.decode()
        token = f"{CONVERSIONS}:{self._partition}:{name}"
        credits = outbox.rows.get("credits", [])
        refusals = await Refusals.find(self._own, CONVERSIONS, token, is_repeat=is_repeat)
        if refusals or not await self._insert(token, outbox):
            rows, answered, before = outbox.rows, outbox.answered, outbox.before
            credits = await insert_in_parts(self._own, name, rows, answered, before, refusals, token)
        await self._publish(credits)
        await self._store.delete_field(outbox_key(self._partition), batch_id)
        for partition, fields in outbox.answered.items():
            if partition >= 0:
                await self._store.forget(dirty_key(partition), fields)
        await refusals.forget()

    async def _insert(self, token: str, outbox: Outbox) -> bool:
        """False when ClickHouse refuses rows. The ledger comes last: it is never taken back."""
        others = {table: rows for table, rows in outbox.rows.items() if table != "credits"}
        try:
            await self._own.insert(others, token)
            await self._own.insert({"credits": outbox.rows.get("credits", [])}, token)
        except Rejected as error:
            log.warning("batch_refused", partition=self._partition, token=token, error=error.message)
            return False
        return True

    async def _publish(self, credits: list[Row]) -> None:
        """Ledger entries for other consumers, at least once. All of them are of this partition."""
        if credits:
            key = str(credits[0][_CONVERSION_ID]).encode()
            values = envelopes(_encode(CreditEntry(*row)) for row in credits)
            await asyncio.gather(
                *(
                    patiently(partial(self._own.send, CREDITS, key, value), "credits topic")
                    for value in values
                )
            )
