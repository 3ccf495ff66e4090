"""The stitch step as a value: hits and timelines in, rows and states out. No I/O, no clock.

drop_ (robots, duplicates) → put_ (enrichment) → the timeline step → write_ (rows, triggers).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from attribution.conversions import ConversionFact, conversion_fact
from attribution.drops import DropReason
from attribution.enrich import Enriched, enrich
from attribution.errors import Rejected
from attribution.hit import Hit, decode_envelope
from attribution.policy import AttributionPolicy
from attribution.timeline import Change, Mark, Timeline, mark_of
from streams.dead_letters import DeadLetter
from streams.records import Batch, Record
from streams.rows import Row, hit_row, session_row, touchpoint_row
from streams.topics import partition_of
from streams.triggers import Trigger

EARLIEST_MS = 0
LATEST_MS = 7_258_118_400_000  # 2200-01-01: DateTime64(3) holds it, and nobody means a later one
HOUR_MS = 3_600_000
Visitor = tuple[str, str]
"""(site, visitor_id)"""


@dataclass(slots=True)
class ReadHit:
    """A decoded hit with what the timeline needs of it."""

    hit: Hit
    enriched: Enriched
    mark: Mark
    fact: ConversionFact | None
    record: Record
    index: int


@dataclass(slots=True)
class ReadBatch:
    """A batch after decoding: hits by visitor in arrival order, and what was refused."""

    by_visitor: dict[Visitor, list[ReadHit]] = field(default_factory=dict)
    drops: Counter[tuple[int, str, DropReason]] = field(default_factory=Counter)
    """(hour as epoch seconds, site, reason) → count"""
    dead_letters: list[DeadLetter] = field(default_factory=list)


@dataclass(slots=True)
class StitchOutput:
    """Everything a batch changes. Rows by table, in the order in which they are inserted."""

    rows: dict[str, list[Row]]
    triggers: list[Trigger]
    changed: list[Visitor]
    poisoned: list[Visitor]
    dead_letters: list[DeadLetter]
    accepted: int
    dropped: Counter[DropReason]


class StitchRules(msgspec.Struct, frozen=True):
    """What the step needs to know beside its input."""

    policy: AttributionPolicy
    default_currency: str
    partitions: int


def read_batch(batch: Batch, rules: StitchRules, *, attempt: int = 1, isolate: bool = False) -> ReadBatch:
    """Decode and enrich. With ``isolate`` a hit that raises anything is dead-lettered alone (``poison``)."""
    read = ReadBatch()
    for record in batch.records:
        try:
            hits = decode_envelope(record.value)
        except Rejected:
            _read_one_by_one(read, batch, record, rules, attempt, isolate)
            continue
        for index, hit in enumerate(hits):
            _read_hit(read, batch, record, index, hit, rules, attempt, isolate)
    return read


def _read_one_by_one(
    read: ReadBatch, batch: Batch, record: Record, rules: StitchRules, attempt: int, isolate: bool
) -> None:
    """An envelope with something wrong in it: keep the good hits, dead-letter the rest by themselves."""
    try:
        parts = msgspec.json.decode(record.value, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parts = [msgspec.Raw(record.value)]
    for index, part in enumerate(parts):
        try:
            (hit,) = decode_envelope(bytes(part))
        except (Rejected, ValueError) as error:
            read.dead_letters.append(
                _dead_letter(batch, record, index, "malformed", str(error), bytes(part), attempt)
            )
            continue
        _read_hit(read, batch, record, index, hit, rules, attempt, isolate)


def _read_hit(
    read: ReadBatch,
    batch: Batch,
    record: Record,
    index: int,
    hit: Hit,
    rules: StitchRules,
    attempt: int,
    isolate: bool,
) -> None:
    try:
        _check(hit, batch.partition, rules)
        enriched = enrich(hit)
        if enriched.agent.is_bot:
            read.drops[(_hour_of(hit), hit.site, DropReason.bot)] += 1
            return
        fact = conversion_fact(hit, rules.policy, rules.default_currency)
        item = ReadHit(hit, enriched, mark_of(hit, enriched, rules.policy), fact, record, index)
    except Rejected as error:
        letter = _dead_letter(
            batch, record, index, error.reason, f"{error.field}: {error.message}", None, attempt, hit
        )
        read.dead_letters.append(letter)
        return
    except Exception as error:
        if not isolate:
            raise
        read.dead_letters.append(
            _dead_letter(batch, record, index, "poison", repr(error), None, attempt, hit)
        )
        return
    key = (hit.site, hit.visitor_id)
    known = read.by_visitor.get(key)
    if known is None:
        read.by_visitor[key] = [item]
    else:
        known.append(item)


def _check(hit: Hit, partition: int, rules: StitchRules) -> None:
    """What other producers may get wrong; our collector never does."""
    if not hit.site or not hit.visitor_id or not hit.event_id or not hit.event:
        raise Rejected("malformed", "site, visitor_id, event_id and event must not be empty", "event_id")
    if not EARLIEST_MS <= hit.occurred_at <= LATEST_MS or not EARLIEST_MS <= hit.received_at <= LATEST_MS:
        raise Rejected(
            "bad_time", "occurred_at and received_at are epoch milliseconds of 1970 to 2200", "occurred_at"
        )


def check_partition(visitor_id: str, partition: int, partitions: int) -> None:
    """Raise ``Rejected('wrong_partition')`` for a hit that its visitor's owner would never see."""
    if partition_of(visitor_id, partitions) != partition:
        raise Rejected(
            "wrong_partition",
            "the record key must be the visitor_id (Kafka's default partitioner)",
            "visitor_id",
        )


def stitch(
    read: ReadBatch,
    timeline_of: Callable[[Visitor], Timeline],
    batch: Batch,
    rules: StitchRules,
    *,
    attempt: int = 1,
    isolate: bool = False,
) -> StitchOutput:
    """Apply every visitor's hits to its timeline (which changes in place) and collect what that changes.

    With ``isolate`` a visitor whose timeline raises has its hits dead-lettered and is named in ``poisoned``:
    that timeline object is half changed and must be forgotten.
    """
    broker, partition, first = batch.broker, batch.partition, batch.first
    nonce = f"{broker}:{first}"
    hits: list[Row] = []
    sessions: list[Row] = []
    touchpoints: list[Row] = []
    triggers: list[Trigger] = []
    changed: list[Visitor] = []
    poisoned: list[Visitor] = []
    drops = read.drops
    dead_letters = read.dead_letters
    for visitor, items in read.by_visitor.items():
        site, visitor_id = visitor
        try:
            check_partition(visitor_id, partition, rules.partitions)
            change = timeline_of(visitor).apply([item.mark for item in items], rules.policy)
        except Exception as error:
            if not isinstance(error, Rejected) and not isolate:
                raise
            reason = error.reason if isinstance(error, Rejected) else "poison"
            dead_letters.extend(
                _dead_letter(batch, i.record, i.index, reason, repr(error), None, attempt, i.hit)
                for i in items
            )
            poisoned.append(visitor)
            continue
        facts: dict[str, ConversionFact] = {}
        recorded_at = 0
        for item, refused in zip(items, change.reasons, strict=True):
            if refused is not None:
                drops[(_hour_of(item.hit), site, refused)] += 1
                continue
            recorded_at = max(recorded_at, item.hit.received_at)
            hits.append(hit_row(item.hit, item.enriched, broker, partition, item.record.offset))
            if item.fact is not None:
                facts[item.fact.conversion_id] = item.fact
                triggers.append(
                    _trigger(
                        item.fact.conversion_id, visitor, partition, item.hit.received_at, nonce, item.fact
                    )
                )
        if recorded_at == 0:
            continue
        changed.append(visitor)
        sessions.extend(session_row(s, -1, broker, partition, first) for s in change.sessions_minus)
        sessions.extend(session_row(s, 1, broker, partition, first) for s in change.sessions_plus)
        touchpoints.extend(touchpoint_row(t, -1, broker, partition, first) for t in change.touchpoints_minus)
        touchpoints.extend(touchpoint_row(t, 1, broker, partition, first) for t in change.touchpoints_plus)
        triggers.extend(
            _trigger(conversion_id, visitor, partition, recorded_at, nonce, None)
            for conversion_id in _touched(change, facts)
        )
    rows = {
        "hits": hits,
        "sessions": sessions,
        "touchpoints": touchpoints,
        "drops": [(h, s, r.value, n, broker, partition, first) for (h, s, r), n in sorted(drops.items())],
        "dead_letters": [letter.row() for letter in dead_letters],
    }
    dropped: Counter[DropReason] = Counter()
    for (_, _, reason), count in drops.items():
        dropped[reason] += count
    return StitchOutput(rows, triggers, changed, poisoned, dead_letters, len(hits), dropped)


def _touched(change: Change, facts: dict[str, ConversionFact]) -> Iterable[str]:
    """Conversions whose past has changed and that no fact of this batch announces anyway."""
    return dict.fromkeys(c.conversion_id for c in change.affected if c.conversion_id not in facts)


def _trigger(
    conversion_id: str,
    visitor: Visitor,
    partition: int,
    recorded_at: int,
    nonce: str,
    fact: ConversionFact | None,
) -> Trigger:
    return Trigger(
        conversion_id=conversion_id,
        site=visitor[0],
        visitor_id=visitor[1],
        hits_partition=partition,
        recorded_at=recorded_at,
        nonce=nonce,
        fact=fact,
    )


def _hour_of(hit: Hit) -> int:
    return hit.occurred_at // HOUR_MS * (HOUR_MS // 1000)


def _dead_letter(
    batch: Batch,
    record: Record,
    index: int,
    reason: str,
    detail: str,
    payload: bytes | None,
    attempt: int,
    hit: Hit | None = None,
) -> DeadLetter:
    if payload is None:
        payload = msgspec.json.encode(hit)
    return DeadLetter(
        topic=batch.topic,
        broker=batch.broker,
        partition=batch.partition,
        offset=record.offset,
        index=index,
        reason=reason,
        detail=detail[:500],
        key=record.key,
        payload=payload,
        attempts=attempt,
        recorded_at=record.timestamp,
    )
