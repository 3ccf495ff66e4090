"""The stitch step as a value: hits and timelines in, rows and states out. No I/O, no clock.

drop_ (robots, duplicates) → put_ (enrichment) → the timeline step → write_ (rows, triggers).

Hits that come once more to be judged by other rules (``Hit.restated``) make no row of ``hits``: what they change in
sessions and touchpoints is written as signed rows, and the conversions concerned are told the restatement's policy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from attribution.conversions import ConversionFact, conversion_fact
from attribution.drops import DropReason
from attribution.enrich import enrich
from attribution.errors import Rejected
from attribution.hit import Hit, Restated, decode_envelope
from attribution.policy import AttributionPolicy
from attribution.timeline import Change, Mark, Timeline, mark_of
from streams.dead_letters import DeadLetter
from streams.news import NEVER, News
from streams.records import Batch, Record
from streams.rows import (
    Row,
    WrittenRow,
    dropped_conversion_row,
    hit_row,
    link_row,
    session_row,
    touchpoint_row,
    write_row,
)
from streams.rules import StitchRules
from streams.topics import partition_of
from streams.triggers import Trigger

EARLIEST_MS = 0
LATEST_MS = 7_258_118_400_000  # 2200-01-01: DateTime64(3) holds it, and nobody means a later one
HOUR_MS = 3_600_000
Visitor = tuple[str, str]
"""(site, visitor_id)"""
BLOCKED_VALUE, TOO_MANY_IDS = "blocked_value", "too_many_ids"
"""Why an id links nobody: it stands for nobody; its visitor has no room for more (``links.MAX_LINKS``)."""


class ReadHit(msgspec.Struct, gc=False):
    """A decoded hit: what the timeline needs of it, and its row of ``hits``.

    The row is written out while the hit is at hand and in the processor's cache. Decoded hits of a whole batch would
    be some tens of megabytes, and reading them a second time was slower than decoding them.
    """

    row: WrittenRow | None
    """None = it is in ``hits`` already (``restated``)."""
    mark: Mark
    fact: ConversionFact | None
    received_at: int
    event_id: str
    record: Record
    index: int
    restated: Restated | None = None


@dataclass(slots=True)
class ReadBatch:
    """A batch after decoding: hits by visitor in arrival order, and what was refused."""

    by_visitor: dict[Visitor, list[ReadHit]] = field(default_factory=dict)
    drops: Counter[tuple[int, str, DropReason]] = field(default_factory=Counter)
    """(hour as epoch seconds, site, reason) → count"""
    dropped_conversions: list[Row] = field(default_factory=list)
    """What robots claim to have bought."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    events: int = 0
    """Inputs found in the records, counted before anything is judged: what the self-audit holds the rest against."""
    restates: bool = False
    """Some of the hits are restated."""


@dataclass(slots=True)
class StitchOutput:
    """Everything a batch changes. Rows by table, in the order in which they are inserted."""

    rows: dict[str, list[Row | WrittenRow]]
    triggers: list[Trigger]
    changed: list[Visitor]
    poisoned: list[Visitor]
    dead_letters: list[DeadLetter]
    accepted: int
    dropped: Counter[DropReason]
    restated: int = 0
    """Hits that were judged once more."""
    news: list[News] = field(default_factory=list)
    """What the batch means for visitors other than its own."""
    refused_ids: Counter[str] = field(default_factory=Counter)
    """Ids that link nobody, by the reason; the hits that name them are kept."""


def read_batch(batch: Batch, rules: StitchRules, *, attempt: int = 1, isolate: bool = False) -> ReadBatch:
    """Decode and enrich. With ``isolate`` a hit that raises anything is dead-lettered alone (``poison``)."""
    read = ReadBatch()
    for record in batch.records:
        try:
            hits = decode_envelope(record.value)
        except Rejected:
            _read_one_by_one(read, batch, record, rules, attempt, isolate)
        else:
            read.events += len(hits)
            _read_hits(read, batch, record, enumerate(hits), rules, attempt, isolate)
    return read


def _read_one_by_one(
    read: ReadBatch, batch: Batch, record: Record, rules: StitchRules, attempt: int, isolate: bool
) -> None:
    """An envelope with something wrong in it: keep the good hits, dead-letter the rest by themselves."""
    try:
        parts = _parts_of(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parts = [msgspec.Raw(record.value)]
    read.events += len(parts)
    good: list[tuple[int, Hit]] = []
    for index, part in enumerate(parts):
        try:
            (hit,) = decode_envelope(bytes(part))
        except (Rejected, ValueError) as error:
            read.dead_letters.append(
                DeadLetter.of(batch, record, index, "malformed", str(error), bytes(part), attempt)
            )
        else:
            good.append((index, hit))
    _read_hits(read, batch, record, good, rules, attempt, isolate)


def _read_hits(
    read: ReadBatch,
    batch: Batch,
    record: Record,
    hits: Iterable[tuple[int, Hit]],
    rules: StitchRules,
    attempt: int,
    isolate: bool,
) -> None:
    """Judge the hits of one record. This loop runs once for every hit."""
    policy, default_currency = rules.policy, rules.default_currency
    conversions, arrival_rules = policy.conversion_lookbacks_ms, policy.arrival_rules
    by_visitor = read.by_visitor
    broker, partition, offset = batch.broker, batch.partition, record.offset
    for index, hit in hits:
        try:
            _check(hit)
            enriched = enrich(hit, arrival_rules)
            if enriched.agent.is_bot and hit.restated is None:
                if hit.event in conversions and (claimed := _claimed_by_robot(hit, policy, default_currency)):
                    place = broker, partition, offset
                    read.dropped_conversions.append(dropped_conversion_row(claimed, DropReason.bot, *place))
                read.drops[(_hour_of(hit.occurred_at), hit.site, DropReason.bot)] += 1
                continue
            fact = conversion_fact(hit, policy, default_currency) if hit.event in conversions else None
            mark = mark_of(hit, enriched, policy)
            if hit.restated is None:
                row = write_row(hit_row(hit, enriched, broker, partition, offset))
                item = ReadHit(row, mark, fact, hit.received_at, hit.event_id, record, index)
            else:
                item = ReadHit(
                    None, mark, fact, hit.restated.recorded_at, hit.event_id, record, index, hit.restated
                )
                read.restates = True
        except Rejected as error:
            detail = f"{error.field}: {error.message}"
            read.dead_letters.append(
                DeadLetter.of(batch, record, index, error.reason, detail, _part(record, index), attempt)
            )
            continue
        except Exception as error:
            if not isolate:
                raise
            read.dead_letters.append(
                DeadLetter.of(batch, record, index, "poison", repr(error), _part(record, index), attempt)
            )
            continue
        visitor = (hit.site, hit.visitor_id)
        known = by_visitor.get(visitor)
        if known is None:
            by_visitor[visitor] = [item]
        else:
            known.append(item)


def _claimed_by_robot(hit: Hit, policy: AttributionPolicy, default_currency: str) -> ConversionFact | None:
    """The conversion that a robot reports; None when its value is no money: it is dropped, whatever it says."""
    try:
        return conversion_fact(hit, policy, default_currency)
    except Rejected:
        return None


def _check(hit: Hit) -> None:
    """What other producers may get wrong; our collector never does."""
    if not hit.site or not hit.visitor_id or not hit.event_id or not hit.event:
        raise Rejected("malformed", "site, visitor_id, event_id and event must not be empty", "event_id")
    if not EARLIEST_MS <= hit.occurred_at <= LATEST_MS or not EARLIEST_MS <= hit.received_at <= LATEST_MS:
        raise Rejected(
            "bad_time", "occurred_at and received_at are epoch milliseconds of 1970 to 2200", "occurred_at"
        )
    # What ClickHouse refuses once it refuses for ever, and the whole batch with it.
    if hit.value is not None and not _STORABLE_VALUE.fullmatch(hit.value):
        raise Rejected("bad_money", "value must be a plain decimal number such as 12.50", "value")
    if not -LATEST_MS <= hit.clock_skew_ms <= LATEST_MS:
        raise Rejected("bad_time", "clock_skew_ms must be milliseconds of at most 230 years", "clock_skew_ms")


_STORABLE_VALUE = re.compile(r"-?[0-9]{1,14}(?:\.[0-9]{1,20})?", re.ASCII)
"""Fits ``Decimal(18, 4)`` as ClickHouse reads it from text."""


_parts_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


_MISPLACED = "the record key must be the visitor_id (Kafka's default partitioner)"


def stitch(
    read: ReadBatch,
    timeline_of: Callable[[Visitor], Timeline],
    batch: Batch,
    rules: StitchRules,
    *,
    owner: str = "",
    attempt: int = 1,
    isolate: bool = False,
    tells_of_others: bool = False,
) -> StitchOutput:
    """Apply every visitor's hits to its timeline (which changes in place) and collect what that changes.

    ``owner`` is part of each trigger's nonce: a batch that is made again after the store was set back makes new wishes,
    which an answer to the old ones must not fulfil.
    ``tells_of_others``: visitors whom no hit has linked with anything make news, too: a CRM has named one of them.
    With ``isolate`` a visitor whose timeline raises has its hits dead-lettered and is named in ``poisoned``:
    that timeline object is half changed and must be forgotten.
    """
    broker, partition, first = batch.broker, batch.partition, batch.first
    nonce = f"{broker}:{first}:{owner}"
    hits: list[Row | WrittenRow] = []
    sessions: list[Row | WrittenRow] = []
    touchpoints: list[Row | WrittenRow] = []
    triggers: list[Trigger] = []
    changed: list[Visitor] = []
    poisoned: list[Visitor] = []
    links: list[Row | WrittenRow] = []
    news: list[News] = []
    refused_ids: Counter[str] = Counter()
    drops, dropped_conversions = read.drops, read.dropped_conversions
    dead_letters = read.dead_letters
    restated = 0
    for visitor, all_items in read.by_visitor.items():
        site, visitor_id = visitor
        items, again = _told_apart(all_items) if read.restates else (all_items, [])
        try:
            timeline = timeline_of(visitor)
            # Whoever has a timeline here was looked at when it began; of a misplaced hit its owner would never know.
            if not timeline.hit_count and partition_of(visitor_id, rules.partitions) != partition:
                raise Rejected("wrong_partition", _MISPLACED, "visitor_id")
            change = timeline.apply([item.mark for item in items], rules.policy)
            changed_again = timeline.restate([item.mark for item in again], rules.policy) if again else None
        except Exception as error:
            if not isinstance(error, Rejected) and not isolate:
                raise
            reason = error.reason if isinstance(error, Rejected) else "poison"
            dead_letters.extend(letters_of(batch, all_items, reason, repr(error), attempt))
            poisoned.append(visitor)
            continue
        accepted = items
        if any(change.reasons):
            accepted = []
            for item, refused in zip(items, change.reasons, strict=True):
                if refused is None:
                    accepted.append(item)
                else:
                    drops[(_hour_of(item.mark.occurred_at), site, refused)] += 1
                    if refused is DropReason.visitor_over_limit and item.fact is not None:
                        place = broker, partition, item.record.offset
                        dropped_conversions.append(dropped_conversion_row(item.fact, refused, *place))
        if changed_again is not None:
            restated += len(again)
            sessions += [session_row(s, -1, broker, partition, first) for s in changed_again.sessions_minus]
            sessions += [session_row(s, 1, broker, partition, first) for s in changed_again.sessions_plus]
            gone, come = changed_again.touchpoints_minus, changed_again.touchpoints_plus
            touchpoints += [touchpoint_row(t, -1, broker, partition, first) for t in gone]
            touchpoints += [touchpoint_row(t, 1, broker, partition, first) for t in come]
            triggers += _restating_triggers(visitor, again, changed_again, partition, nonce)
            if timeline.is_linked:
                links += _link_rows(visitor, again, changed_again, broker, partition, first)
                news += _news(visitor, timeline, again, changed_again)
            elif tells_of_others:
                news += _news_without_links(visitor, again, changed_again)
        elif not accepted:
            continue
        changed.append(visitor)
        hits += [item.row for item in accepted if item.row is not None]
        if change.sessions_minus:
            sessions += [session_row(s, -1, broker, partition, first) for s in change.sessions_minus]
        sessions += [session_row(s, 1, broker, partition, first) for s in change.sessions_plus]
        if change.touchpoints_minus:
            touchpoints += [touchpoint_row(t, -1, broker, partition, first) for t in change.touchpoints_minus]
        touchpoints += [touchpoint_row(t, 1, broker, partition, first) for t in change.touchpoints_plus]
        if timeline.is_linked and accepted:
            links += _link_rows(visitor, accepted, change, broker, partition, first)
            news += _news(visitor, timeline, accepted, change)
        elif tells_of_others and accepted:
            news += _news_without_links(visitor, accepted, change)
        if change.ids_refused or change.links_lost:
            refused_ids[BLOCKED_VALUE] += change.ids_refused
            refused_ids[TOO_MANY_IDS] += change.links_lost
        if change.affected:
            triggers += _triggers(visitor, accepted, change, partition, nonce)
    rows: dict[str, list[Row | WrittenRow]] = {
        "hits": hits,
        "sessions": sessions,
        "touchpoints": touchpoints,
        "identity_links": links,
        "drops": [(h, s, r.value, n, broker, partition, first) for (h, s, r), n in sorted(drops.items())],
        "dropped_conversions": [*dropped_conversions],
        "dead_letters": [letter.row() for letter in dead_letters],
    }
    dropped: Counter[DropReason] = Counter()
    for (_, _, reason), count in drops.items():
        dropped[reason] += count
    return StitchOutput(
        rows,
        triggers,
        changed,
        poisoned,
        dead_letters,
        len(hits),
        dropped,
        restated,
        news,
        refused_ids,
    )


def _told_apart(items: list[ReadHit]) -> tuple[list[ReadHit], list[ReadHit]]:
    """Hits that are new, and those that are judged once more."""
    return [i for i in items if i.restated is None], [i for i in items if i.restated is not None]


def letters_of(
    batch: Batch, hits: Iterable[ReadHit], reason: str, detail: str, attempt: int
) -> list[DeadLetter]:
    """Dead letters for hits that were read and then refused."""
    return [
        DeadLetter.of(batch, hit.record, hit.index, reason, detail, _part(hit.record, hit.index), attempt)
        for hit in hits
    ]


def _triggers(
    visitor: Visitor, accepted: list[ReadHit], change: Change, partition: int, nonce: str
) -> Iterator[Trigger]:
    """One for each fact, and one for each other conversion whose past has changed."""
    told: set[str] = set()
    for item in accepted:
        if item.fact is not None:
            told.add(item.fact.conversion_id)
            yield _trigger(item.fact.conversion_id, visitor, partition, item.received_at, nonce, item.fact)
    recorded_at = max(item.received_at for item in accepted)
    for conversion_id in dict.fromkeys(c.conversion_id for c in change.affected):
        if conversion_id not in told:
            yield _trigger(conversion_id, visitor, partition, recorded_at, nonce, None)


def _restating_triggers(
    visitor: Visitor, again: list[ReadHit], change: Change, partition: int, nonce: str
) -> Iterator[Trigger]:
    """One for each report of a conversion that other rules concern, and one for each that others reported.

    Of several restatements in one batch the last one counts.
    """
    restated = again[-1].restated
    if restated is None:
        raise AssertionError("only restated hits restate")
    policy, recorded_at = restated.policy, restated.recorded_at
    left = dict.fromkeys(c.conversion_id for c in change.affected)
    told: set[str] = set()
    for item in again:
        fact = item.fact
        if fact is not None and fact.conversion_id in left:
            told.add(fact.conversion_id)
            yield _trigger(fact.conversion_id, visitor, partition, recorded_at, nonce, fact, policy)
    for conversion_id in left:
        if conversion_id not in told:
            yield _trigger(conversion_id, visitor, partition, recorded_at, nonce, None, policy)


def _link_rows(
    visitor: Visitor, items: list[ReadHit], change: Change, broker: str, partition: int, first: int
) -> Iterator[Row]:
    """One for each link that came or went. Its evidence is a hit of this batch: else nothing would have changed."""
    flipped = [link for link in change.links if link.is_flipped]
    if flipped:
        told_by = {item.mark.event_hash: item for item in items}
        for link in flipped:
            item = told_by[link.fact.event_hash]
            yield link_row(visitor, link, item.event_id, item.received_at, broker, partition, first)


def _news(visitor: Visitor, timeline: Timeline, items: list[ReadHit], change: Change) -> Iterator[News]:
    """What a linked visitor's hits mean for others. All of ``items`` are new, or all are judged once more."""
    restated = items[-1].restated
    changed = [item.fact.occurred_at for item in items if item.fact is not None]
    changed += [touch.touched_at for touch in change.touchpoints_minus]
    changed += [touch.touched_at for touch in change.touchpoints_plus]
    if change.links or (changed and timeline.held_ids()):
        recorded_at = max(item.received_at for item in items)
        policy = restated.policy if restated is not None else ""
        yield News(*visitor, min(changed, default=NEVER), recorded_at, change.links, policy)


def _news_without_links(visitor: Visitor, items: list[ReadHit], change: Change) -> Iterator[News]:
    """What somebody did whom hits name by no id."""
    restated = items[-1].restated
    changed = [touch.touched_at for touch in (*change.touchpoints_minus, *change.touchpoints_plus)]
    changed += [item.fact.occurred_at for item in items if item.fact is not None]
    if changed:
        recorded_at = max(item.received_at for item in items)
        yield News(*visitor, min(changed), recorded_at, (), restated.policy if restated is not None else "")


def _trigger(
    conversion_id: str,
    visitor: Visitor,
    partition: int,
    recorded_at: int,
    nonce: str,
    fact: ConversionFact | None,
    policy: str = "",
) -> Trigger:
    return Trigger(
        conversion_id=conversion_id,
        site=visitor[0],
        visitor_id=visitor[1],
        hits_partition=partition,
        recorded_at=recorded_at,
        nonce=nonce,
        fact=fact,
        policy=policy,
    )


def _hour_of(occurred_at: int) -> int:
    return occurred_at // HOUR_MS * (HOUR_MS // 1000)


def _part(record: Record, index: int) -> bytes:
    """The bytes of one hit of a record, as they came."""
    if record.value[:1] != b"[":
        return record.value
    return bytes(_parts_of(record.value)[index])
