"""Hits of a batch, decoded, judged and sorted by visitor: what the stitch step takes. No I/O, no clock."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from attribution.conversions import ConversionFact, conversion_fact
from attribution.drops import DropReason
from attribution.enrich import enrich
from attribution.errors import Rejected
from attribution.hit import Hit, Restated, decode_envelope
from attribution.policy import AttributionPolicy
from attribution.refund_hits import is_refund, refund_fact
from attribution.refunds import REFUND, RefundProblem
from attribution.spend.click_costs import click_cost
from attribution.timeline import Mark, mark_of
from streams.dead_letters import DeadLetter
from streams.records import Batch, Record
from streams.rows import (
    Row,
    WrittenRow,
    click_cost_row,
    dropped_conversion_row,
    hit_row,
    write_row,
)
from streams.rules import StitchRules

EARLIEST_MS = 0
LATEST_MS = 7_258_118_400_000  # 2200-01-01: DateTime64(3) holds it, and nobody means a later one
HOUR_MS = 3_600_000
Visitor = tuple[str, str]
"""(site, visitor_id)"""


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
    refund: ConversionFact | None = None
    """What it pays back; then ``fact`` is None."""
    cost: Row | None = None
    """Its row of ``click_costs``."""


@dataclass(slots=True)
class ReadBatch:
    """A batch after decoding: hits by visitor in arrival order, and what was refused."""

    by_visitor: dict[Visitor, list[ReadHit]] = field(default_factory=dict)
    drops: Counter[tuple[int, str, DropReason]] = field(default_factory=Counter)
    """(hour as epoch seconds, site, reason) → count"""
    dropped_conversions: list[Row] = field(default_factory=list)
    """What robots claim to have bought."""
    click_costs: list[Row] = field(default_factory=list)
    """What clicks of robots say that they cost."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    events: int = 0
    """Inputs found in the records, counted before anything is judged: what the self-audit holds the rest against."""
    restates: bool = False
    """Some of the hits are restated."""
    refund_problems: Counter[RefundProblem] = field(default_factory=Counter)
    """Refunds of which it cannot be said what they are of."""


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
                if (cost := click_cost(hit, enriched, rules.click_costs, default_currency)) is not None:
                    place = broker, partition, offset
                    read.click_costs.append(click_cost_row(hit, cost, DropReason.bot, *place))
                read.drops[(hour_of(hit.occurred_at), hit.site, DropReason.bot)] += 1
                continue
            fact = conversion_fact(hit, policy, default_currency) if hit.event in conversions else None
            mark = mark_of(hit, enriched, policy)
            if hit.restated is None:
                row = write_row(hit_row(hit, enriched, broker, partition, offset))
                item = ReadHit(row, mark, fact, hit.received_at, hit.event_id, record, index)
                if (cost := click_cost(hit, enriched, rules.click_costs, default_currency)) is not None:
                    item.cost = click_cost_row(hit, cost, None, broker, partition, offset)
            else:
                item = ReadHit(
                    None, mark, fact, hit.restated.recorded_at, hit.event_id, record, index, hit.restated
                )
                read.restates = True
            if hit.event == REFUND and is_refund(hit.event, policy):
                paid_back = refund_fact(hit, policy, default_currency)
                if isinstance(paid_back, RefundProblem):
                    read.refund_problems[paid_back] += 1
                else:
                    item.refund = paid_back
        except Rejected as error:
            detail = f"{error.field}: {error.message}"
            read.dead_letters.append(
                DeadLetter.of(batch, record, index, error.reason, detail, part_of(record, index), attempt)
            )
            continue
        except Exception as error:
            if not isolate:
                raise
            read.dead_letters.append(
                DeadLetter.of(batch, record, index, "poison", repr(error), part_of(record, index), attempt)
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


def hour_of(occurred_at: int) -> int:
    return occurred_at // HOUR_MS * (HOUR_MS // 1000)


def part_of(record: Record, index: int) -> bytes:
    """The bytes of one hit of a record, as they came."""
    if record.value[:1] != b"[":
        return record.value
    return bytes(_parts_of(record.value)[index])
