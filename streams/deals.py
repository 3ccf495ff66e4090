"""The deals stage of one partition of deliveries: what CRMs and shops tell, as conversions with bookings.

Objects of a site are in one partition, which is one owner's. What a batch comes to is decided once: noted in the
journal, then committed together (objects, what was told of conversions, wishes, remembered events, the outbox with the
rows), then the rows are inserted under the batch's token and the wishes are sent. Whoever comes next applies what the
store does not know of the journal, and finishes an outbox (docs/decisions/0028).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec
import structlog

from attribution.conversions import ConversionFact
from attribution.deals.facts import ObjectKey, ObjectState, Problem
from attribution.deals.remembered import remember_for
from attribution.deals.settings import DealSettings
from attribution.deals.told import Told, told_of
from attribution.errors import Rejected
from sinks.deliveries import BEGINNING
from sinks.visitors import Place
from streams import metrics
from streams.abouts import AboutStore, abouts_of
from streams.dead_letters import DeadLetter
from streams.deal_batch import Outcome, ReadDeliveries, read_deliveries, sort_out_repeats
from streams.deal_clicks import (
    LOOK_SECONDS,
    ORPHAN_FOR_MS,
    ORPHANS_AT_ONCE,
    landings,
    lent,
    wants_visitor,
    with_visitor,
)
from streams.deal_remap import Remap, Remapped, changed_between, mapping_version, remap_in
from streams.deal_states import DealStates, KeptTold, pack_told
from streams.journal import Decided, parts_of, whole_bodies
from streams.ownership import Ownership
from streams.patience import patiently
from streams.records import Batch, Record
from streams.refusals import REFUSED, Refusals
from streams.rows import Row
from streams.topics import (
    DEALS,
    deal_names_key,
    deal_objects_key,
    deal_orphans_key,
    deal_rules_key,
    deal_told_key,
    dirty_key,
    outbox_key,
    remembered_key,
)
from streams.triggers import Trigger, conversion_of, decode_triggers, encode_trigger
from streams.wishes import RESEND_AFTER_SECONDS, Wishes

log = structlog.get_logger(__name__)

_TOLD_AT_ONCE = 2_000
"""Conversions of one call when all are told anew: what Redis is busy with for some milliseconds."""
_VERSION = b"version"
MAPPING = "mapping"
"""Field of ``deal_rules_key``: by which mapping the owner reads payloads."""
PAGE = 1_000
"""Stored deliveries that are read at once: about 0.1 s of work."""


class DealDecision(msgspec.Struct, array_like=True):
    """What one batch comes to: everything that is to be written, before anything is."""

    broker: str
    next: int
    """Where the fence goes."""
    batch_id: str
    objects: dict[bytes, bytes] = {}
    names: dict[bytes, bytes] = {}
    told: dict[bytes, bytes] = {}
    wishes: dict[bytes, bytes] = {}
    """Dirty fields and their triggers."""
    remembered: dict[bytes, tuple[bytes, int]] = {}
    """Keys of events, with value and seconds."""
    rows: dict[str, list[Row]] = {}
    """By table."""
    orphans: dict[bytes, bytes] = {}
    """Conversions whose click is missing, and since when; b"" = it has come."""


_pack = msgspec.msgpack.Encoder().encode
_decision_of = msgspec.msgpack.Decoder(DealDecision).decode
_rows_of = msgspec.msgpack.Decoder(dict[str, list[Row]]).decode


def deal_decisions_of(noted: Iterable[Decided]) -> list[DealDecision]:
    """The decisions that were noted completely, in order."""
    return [_decision_of(body) for body in whole_bodies(noted)]


class DealsStage:
    """One partition's deals stage."""

    def __init__(
        self,
        own: Ownership,
        settings: DealSettings,
        types: Iterable[str],
        partitions: int,
        decisions: Sequence[DealDecision] = (),
        now: Callable[[], float] = time.time,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """``types``: conversion types that have a window; ``decisions``: what earlier owners decided and the store has
        forgotten, in order; ``now``: seconds since 1970; ``look_seconds``: how often missing clicks are looked for."""
        self._own = own
        self._fence = own.fence
        self._store = own.fence.store
        self._partition = own.partition
        self._settings = settings
        self._types = frozenset(types)
        self._states = DealStates(own.fence)
        self._abouts = AboutStore(own.fence.store, partitions)
        self._wishes = Wishes(own, partitions)
        self._decisions = decisions
        self._now = now
        self._look_seconds = look_seconds
        self._looked_at = -look_seconds

    async def start(self) -> None:
        """Finish what earlier owners left, do what the store has forgotten, then follow other rules."""
        for batch_id, packed in sorted(
            (await self._store.fields(outbox_key(self._partition, DEALS))).items()
        ):
            await self._deliver(batch_id.decode(), _rows_of(packed), is_repeat=True)
            metrics.RECOVERED.inc()
        for decision in self._decisions:
            await self._apply(decision, is_repeat=True)
            metrics.RECOVERED.inc()
            log.info("recovered", partition=self._partition, batch=decision.batch_id)
        await Refusals.put_away(self._own, DEALS)
        await self._follow_rules()
        await self._wishes.resend(older_than=0.0)

    async def idle(self) -> None:
        """See that the store still is what it was, send again what credit has not answered for a while, and look for
        clicks that were missing."""
        await self._fence.check()
        await self._wishes.resend(older_than=RESEND_AFTER_SECONDS)
        if time.monotonic() - self._looked_at >= self._look_seconds:
            await self._look_for_clicks()
            self._looked_at = time.monotonic()

    async def process(self, batch: Batch) -> None:
        """Tell credit what has changed by the batch's deliveries; what is to be made again is made in its turn."""
        began = time.monotonic()
        waiting: list[Record] = []
        for record in batch.records:
            remap = remap_in(record.value)
            if remap is None:
                waiting.append(record)
                continue
            if waiting:
                await self._take(msgspec.structs.replace(batch, records=waiting))
                waiting = []
            await self._make_again(msgspec.structs.replace(batch, records=[record]), remap)
        if waiting:
            await self._take(msgspec.structs.replace(batch, records=waiting))
        metrics.BATCHES.labels(DEALS).inc()
        metrics.BATCH_SECONDS.labels(DEALS).observe(time.monotonic() - began)

    async def _make_again(self, batch: Batch, remap: Remap) -> None:
        """The objects of a site from all its deliveries, by the mapping of this owner, in the place of what they were.

        All that came before is in ClickHouse by now, and what follows in the log comes afterwards.
        """
        remapped = Remapped(remap, self._settings.senders)
        place, page = BEGINNING, PAGE
        but_from = Place(batch.broker, batch.partition, batch.first)
        while page == PAGE:
            ask = partial(
                asyncio.to_thread,
                self._own.writer.deliveries_after,
                (remap.site, remap.source),
                place,
                PAGE,
                but_from,
            )
            rows = await patiently(ask, "clickhouse deliveries")
            remapped.take(rows)
            page, place = len(rows), rows[-1].place if rows else place
        everything = await self._states.everything()
        before = {key: state for key, state in everything.items() if key.site == remap.site}
        after = remapped.over(before)
        changed = changed_between(before, after)
        objects, names = await self._states.replaced(changed, before, after)
        known = {i: one for i, one in (await self._states.all_told()).items() if one.fact.site == remap.site}
        told, orphans = await self._joined(told_of(after, {}, self._settings.rules)[0], known)
        nonce = f"{batch.broker}:{batch.first}:{self._own.journal.owner}"
        new, wishes, _ = self._news(told, known, remap.recorded_at, nonce)
        await self._decide(
            batch, DealDecision("", 0, "", objects, names, told=new, wishes=wishes, orphans=orphans)
        )
        log.info(
            "deliveries_mapped_again",
            partition=self._partition,
            site=remap.site,
            deliveries=remapped.deliveries,
            objects=len(changed),
            conversions=len(new),
        )

    async def _take(self, batch: Batch) -> None:
        """Deliveries."""
        read = read_deliveries(batch, self._settings.senders)
        remembered = await self._sort_out_repeats(read)
        gathered = await self._states.gather(read.facts)
        told_before, before = told_of(gathered.before, gathered.others, self._settings.rules)
        told, after = told_of(gathered.after, gathered.others, self._settings.rules)
        known = await self._states.told({*told_before, *told})
        told, orphans = await self._joined(told, known)
        nonce = f"{batch.broker}:{batch.first}:{self._own.journal.owner}"
        new, wishes, unknown = self._news(told, known, read.recorded_at, nonce)
        read.note(sorted(({*after.problems} - {*before.problems}) | unknown))
        letters = [*read.dead_letters, *filter(None, (one.letter(batch) for one in read.deliveries))]
        decision = DealDecision(
            broker="",
            next=0,
            batch_id="",
            objects=dict(gathered.objects),
            names=dict(gathered.names),
            told=new,
            wishes=wishes,
            remembered=remembered,
            orphans=orphans,
            rows={
                "deliveries": [one.row(batch) for one in read.deliveries],
                "dead_letters": [letter.row() for letter in letters],
            },
        )
        await self._decide(batch, decision, letters)
        self._count(read)

    async def _decide(self, batch: Batch, came_to: DealDecision, letters: Iterable[DeadLetter] = ()) -> None:
        """Note what ``batch`` came to, then do it."""
        owner = self._own.journal.owner
        batch_id = f"{batch.broker}:{batch.first:020d}-{batch.last:020d}:{owner}"
        decision = msgspec.structs.replace(
            came_to, broker=batch.broker, next=batch.last + 1, batch_id=batch_id
        )
        for entry in parts_of(owner, decision.broker, decision.next, decision.batch_id, _pack(decision)):
            await self._own.journal.note(entry)
        await self._own.publish_dead_letters(letters)
        await self._apply(decision)

    async def _sort_out_repeats(self, read: ReadDeliveries) -> dict[bytes, tuple[bytes, int]]:
        """Which events were told before; what is to be remembered of those that were not."""
        keys = [
            [
                [remembered_key(self._partition, one.delivery.site, name) for name in event]
                for event in one.delivery.keys
            ]
            for one in read.deliveries
        ]
        flat = sorted({key for events in keys for event in events for key in event})
        values = await self._fence.read_states(flat)
        known = {key for key, value in zip(flat, values, strict=True) if value is not None}
        new: dict[bytes, tuple[bytes, int]] = {}
        seen: list[list[bool]] = []
        for one, events in zip(read.deliveries, keys, strict=True):
            seen.append([any(key in known for key in event) for event in events])
            if one.outcome is not Outcome.unreadable:
                # One that cannot be read yet is no repeat when it comes again: it may be readable then.
                seconds = int(remember_for(one.delivery.scheme).total_seconds())
                new |= {key: (b"1", seconds) for event in events for key in event if key not in known}
                known.update(key for event in events for key in event)
        sort_out_repeats(read, seen)
        return new

    async def _joined(
        self, told: Mapping[str, Told], known: Mapping[str, KeptTold]
    ) -> tuple[dict[str, Told], dict[bytes, bytes]]:
        """``told`` with the visitors of their clicks; which clicks are missing, and which no longer are."""
        found = lent(told, known)
        landed = await landings(self._own, {i: one for i, one in found.items() if wants_visitor(one)})
        orphans: dict[bytes, bytes] = {}
        noted_at = b"%d" % int(self._now() * 1000)
        for conversion_id, one in found.items():
            if conversion_id in landed:
                found[conversion_id] = with_visitor(one, landed[conversion_id].visitor_id)
            if one.clicks:
                is_missing = wants_visitor(one) and conversion_id not in landed
                orphans[conversion_id.encode()] = noted_at if is_missing else b""
        return found, orphans

    async def _look_for_clicks(self) -> None:
        """Orphans whose click has come are about its visitor; those that are too old are given up."""
        kept = await self._store.fields(deal_orphans_key(self._partition))
        if not kept:
            return
        oldest = int(self._now() * 1000) - ORPHAN_FOR_MS
        orphans = {conversion: b"" for conversion, at in kept.items() if int(at) < oldest}
        looked_for = sorted(conversion.decode() for conversion in kept.keys() - orphans.keys())
        # Those of late first at one time, of early at another: more than are looked for at once all have their turn.
        start = int(self._now()) % max(1, len(looked_for) - ORPHANS_AT_ONCE + 1)
        known = await self._states.told(looked_for[start : start + ORPHANS_AT_ONCE])
        told = {i: Told(one.fact, one.clicks) for i, one in known.items()}
        landed = await landings(self._own, {i: one for i, one in told.items() if wants_visitor(one)})
        joined = {i: with_visitor(told[i], to.visitor_id) for i, to in landed.items()}
        orphans |= dict.fromkeys((i.encode() for i in joined), b"")
        if not orphans:
            return
        heard_at = max((to.received_at for to in landed.values()), default=0)
        recorded_at = max((heard_at, *(known[i].fact.received_at for i in joined)))
        nonce = f"clicks:{self._own.journal.owner}:{int(self._now() * 1000)}"
        new, wishes, _ = self._news(joined, {i: known[i] for i in joined}, recorded_at, nonce)
        await self._tell_anew(new, wishes, {deal_orphans_key(self._partition): orphans})
        await self._wishes.send(wishes)
        log.info("clicks_found", partition=self._partition, conversions=len(joined), left=len(kept))

    async def _tell_anew(
        self,
        new: Mapping[bytes, bytes],
        wishes: Mapping[bytes, bytes],
        more: Mapping[str, Mapping[bytes, bytes]],
    ) -> None:
        """What no delivery is the cause of: it follows from the store, so no journal needs to have it."""
        await self._write_abouts(wishes)
        hashes = {deal_told_key(self._partition): new, dirty_key(self._partition, DEALS): wishes, **more}
        await self._fence.commit_deals(self._fence.stands_at, 0, "", b"", hashes, {})

    def _news(
        self, told: Mapping[str, Told], known: Mapping[str, KeptTold], recorded_at: int, nonce: str
    ) -> tuple[dict[bytes, bytes], dict[bytes, bytes], set[Problem]]:
        """What was told of the conversions in ``told`` and ``known`` from now on, the wishes, and what has no window.

        Whatever stands in ``known`` and is not in ``told`` never was, as far as is known now.
        """
        new: dict[bytes, bytes] = {}
        wishes: dict[bytes, bytes] = {}
        unknown: set[Problem] = set()
        for conversion_id in sorted({*told, *known}):
            one, last = told.get(conversion_id), known.get(conversion_id)
            if last is None and one is not None and one.fact.type not in self._types:
                unknown.add(_windowless(one.fact))
                continue
            if one is not None:
                fact, clicks = one.fact, one.clicks
            elif last is not None and last.fact.bookings:
                fact = msgspec.structs.replace(last.fact, bookings=(), value_minor=None)
                clicks = last.clicks
            else:
                continue
            if last is not None and (_content(fact), clicks) == (_content(last.fact), last.clicks):
                continue
            # Also behind what a store that was set back since told credit: clocks do not go back that far.
            revision = max(last.fact.revision + 1 if last is not None else 1, int(self._now() * 1000))
            fact = msgspec.structs.replace(fact, revision=revision, received_at=recorded_at)
            new[conversion_id.encode()] = pack_told(KeptTold(fact, clicks))
            wish = Trigger(
                conversion_id=conversion_id,
                site=fact.site,
                visitor_id=fact.visitor_id,
                hits_partition=self._partition,
                recorded_at=recorded_at,
                nonce=nonce,
                fact=fact,
                wished_in=DEALS,
            )
            wishes[wish.field] = encode_trigger(wish)
        return new, wishes, unknown

    async def _apply(self, decision: DealDecision, *, is_repeat: bool = False) -> None:
        await self._write_abouts(decision.wishes)
        rows = {table: rows for table, rows in decision.rows.items() if rows}
        await self._fence.commit_deals(
            (decision.broker, decision.next),
            self._own.journal_done(decision.broker, decision.next),
            decision.batch_id,
            _pack(rows) if rows else b"",
            {
                deal_objects_key(self._partition): decision.objects,
                deal_names_key(self._partition): decision.names,
                deal_told_key(self._partition): decision.told,
                dirty_key(self._partition, DEALS): decision.wishes,
                deal_orphans_key(self._partition): decision.orphans,
            },
            decision.remembered,
        )
        await self._deliver(decision.batch_id, rows, is_repeat=is_repeat)
        await self._wishes.send(decision.wishes)

    async def _write_abouts(self, wishes: Mapping[bytes, bytes]) -> None:
        """Before credit can hear of a conversion, whoever links its person finds it."""
        facts = [trigger.fact for value in wishes.values() for trigger in decode_triggers(value)]
        await self._abouts.write([about for fact in facts if fact is not None for about in abouts_of(fact)])

    async def _deliver(self, batch_id: str, rows: Mapping[str, list[Row]], *, is_repeat: bool) -> None:
        """Rows to ClickHouse; then the outbox is done with."""
        token = f"{DEALS}:{self._partition}:{batch_id}"
        refusals = await Refusals.find(self._own, DEALS, token, is_repeat=is_repeat)
        if refusals or not await self._insert(token, rows):
            await self._insert_in_parts(token, batch_id, rows, refusals)
        if rows:
            await self._store.delete_field(outbox_key(self._partition, DEALS), batch_id.encode())
        await refusals.forget()

    async def _insert(self, token: str, rows: Mapping[str, list[Row]]) -> bool:
        """False when ClickHouse refuses rows."""
        try:
            await self._own.insert(rows, token)
        except Rejected as error:
            log.warning("batch_refused", partition=self._partition, token=token, error=error.message)
            return False
        return True

    async def _insert_in_parts(
        self, token: str, batch_id: str, rows: Mapping[str, list[Row]], refusals: Refusals
    ) -> None:
        """A delivery whose row is refused has had its effect: its row is a dead letter, for whoever looks for it."""
        await self._own.insert({"dead_letters": rows.get("dead_letters", [])}, token)
        parts = [[row] for row in rows.get("deliveries", [])]
        refused = await refusals.insert("deliveries", parts, token)
        broker, borders, _ = batch_id.rsplit(":", 2)
        letters = [
            DeadLetter(
                topic=DEALS,
                broker=broker,
                partition=self._partition,
                offset=int(borders.partition("-")[0]),
                index=_FIRST_INDEX + number,
                reason=REFUSED,
                detail=why[:500],
                key=b"",
                payload=msgspec.json.encode(parts[number][0]),
                attempts=1,
                recorded_at=int(self._now() * 1000),
            )
            for number, why in sorted(refused.items())
        ]
        await self._own.publish_dead_letters(letters)
        await self._own.insert({"dead_letters": [letter.row() for letter in letters]}, f"{token}:refused")

    async def _follow_rules(self) -> None:
        """Under other rules the same objects may be other conversions: all are told anew, no payload is read."""
        version = self._settings.version_for(tuple(self._types)).encode()
        key = deal_rules_key(self._partition)
        await self._store.put_field(key, MAPPING, mapping_version(self._settings.senders))
        before = await self._store.field(key, _VERSION.decode())
        if before == version:
            return
        states: Mapping[ObjectKey, ObjectState] = await self._states.everything()
        told, _ = told_of(states, {}, self._settings.rules)
        known = await self._states.all_told()
        told = lent(told, known)
        began = int(self._now() * 1000)
        new, wishes, unknown = self._news(told, known, began, f"rules:{self._own.journal.owner}")
        fields, wanted = sorted(new.items()), sorted(wishes.items())
        for start in range(0, max(len(fields), 1), _TOLD_AT_ONCE):
            part = dict(wanted[start : start + _TOLD_AT_ONCE])
            ids = sorted(conversion_of(field) for field in part)
            is_last = start + _TOLD_AT_ONCE >= len(fields)
            more = {key: {_VERSION: version}} if is_last else {}
            await self._tell_anew({i: new[i] for i in ids}, part, more)
        log.info("told_anew", partition=self._partition, conversions=len(new), without_window=len(unknown))

    def _count(self, read: ReadDeliveries) -> None:
        outcomes, problems = read.counts()
        for (source, outcome), count in outcomes.items():
            metrics.DELIVERIES.labels(source, outcome).inc(count)
        for reason, count in problems.items():
            metrics.DEAL_PROBLEMS.labels(reason).inc(count)


_FIRST_INDEX = 100_000
"""Of letters for refused rows: those of the batch's records come before."""


def _content(fact: ConversionFact) -> ConversionFact:
    """All that it says of the conversion."""
    return msgspec.structs.replace(fact, revision=0, received_at=0)


def _windowless(fact: ConversionFact) -> Problem:
    return Problem(
        "type_without_window",
        fact.event_id,
        f"Nothing says how far back touches count for {fact.type!r}: add it to the policy's conversions, or take it"
        " out of the types that deals make.",
    )
