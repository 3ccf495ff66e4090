"""The stitch step as a value: hits and timelines in, rows and states out. No I/O, no clock.

drop_ (robots, duplicates) → put_ (enrichment) → the timeline step → write_ (rows, triggers).

Hits that come once more to be judged by other rules (``Hit.restated``) make no row of ``hits``: what they change in
sessions and touchpoints is written as signed rows, and the conversions concerned are told the restatement's policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from attribution.conversions import ConversionFact
from attribution.drops import DropReason
from attribution.errors import Rejected
from attribution.refunds import RefundProblem
from attribution.timeline import Change, Timeline
from streams.dead_letters import DeadLetter
from streams.news import NEVER, News
from streams.records import Batch
from streams.rows import (
    Row,
    WrittenRow,
    dropped_conversion_row,
    link_row,
    session_row,
    touchpoint_row,
    with_reason,
)
from streams.rules import StitchRules
from streams.standing import Standing, corrected
from streams.stitch_read import ReadBatch, ReadHit, Visitor, hour_of, part_of
from streams.topics import partition_of
from streams.triggers import Trigger

_NOTHING_STANDS: Mapping[Visitor, Standing] = MappingProxyType({})
BLOCKED_VALUE, TOO_MANY_IDS = "blocked_value", "too_many_ids"
"""Why an id links nobody: it stands for nobody; its visitor has no room for more (``links.MAX_LINKS``)."""


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
    refund_problems: Counter[RefundProblem] = field(default_factory=Counter)
    """As ``ReadBatch.refund_problems``."""
    robots_click_costs: list[Row] = field(default_factory=list)
    """Those of ``click_costs`` that are of no visitor."""


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
    standing: Mapping[Visitor, Standing] = _NOTHING_STANDS,
) -> StitchOutput:
    """Apply every visitor's hits to its timeline (which changes in place) and collect what that changes.

    ``owner`` is part of each trigger's nonce: a batch that is made again after the store was set back makes new wishes,
    which an answer to the old ones must not fulfil.
    ``tells_of_others``: visitors whom no hit has linked with anything make news, too: a CRM has named one of them.
    ``standing``: what the tables say of visitors whose timelines were made again; it is brought to what holds now.
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
    click_costs = [*read.click_costs]
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
                    drops[(hour_of(item.mark.occurred_at), site, refused)] += 1
                    if refused is DropReason.visitor_over_limit and item.fact is not None:
                        place = broker, partition, item.record.offset
                        dropped_conversions.append(dropped_conversion_row(item.fact, refused, *place))
                    if refused is DropReason.visitor_over_limit and item.cost is not None:
                        click_costs.append(with_reason(item.cost, refused))
        if visitor in standing and (accepted or again):
            recut = corrected(standing[visitor], timeline, (broker, partition, first))
            recut.note_affected(changed_again or change, timeline.conversions)
            sessions += recut.sessions
            touchpoints += recut.touchpoints
        if changed_again is not None:
            restated += len(again)
            if visitor not in standing:
                sessions += [
                    session_row(s, -1, broker, partition, first) for s in changed_again.sessions_minus
                ]
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
        click_costs += [item.cost for item in accepted if item.cost is not None]
        if visitor not in standing:
            if change.sessions_minus:
                sessions += [session_row(s, -1, broker, partition, first) for s in change.sessions_minus]
            sessions += [session_row(s, 1, broker, partition, first) for s in change.sessions_plus]
            if change.touchpoints_minus:
                gone = change.touchpoints_minus
                touchpoints += [touchpoint_row(t, -1, broker, partition, first) for t in gone]
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
        triggers += _refunding_triggers(visitor, [*accepted, *again], partition, nonce)
    rows: dict[str, list[Row | WrittenRow]] = {
        "hits": hits,
        "sessions": sessions,
        "touchpoints": touchpoints,
        "identity_links": links,
        "drops": [(h, s, r.value, n, broker, partition, first) for (h, s, r), n in sorted(drops.items())],
        "dropped_conversions": [*dropped_conversions],
        "click_costs": [*click_costs],
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
        read.refund_problems,
        read.click_costs,
    )


def _told_apart(items: list[ReadHit]) -> tuple[list[ReadHit], list[ReadHit]]:
    """Hits that are new, and those that are judged once more."""
    return [i for i in items if i.restated is None], [i for i in items if i.restated is not None]


def letters_of(
    batch: Batch, hits: Iterable[ReadHit], reason: str, detail: str, attempt: int
) -> list[DeadLetter]:
    """Dead letters for hits that were read and then refused."""
    return [
        DeadLetter.of(batch, hit.record, hit.index, reason, detail, part_of(hit.record, hit.index), attempt)
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


def _refunding_triggers(
    visitor: Visitor, items: Iterable[ReadHit], partition: int, nonce: str
) -> Iterator[Trigger]:
    """One for each refund, which says nothing of anybody's past.

    One that is judged once more is told as at first, under no policy: a former Headwater may have let it lie.
    """
    for item in items:
        if item.refund is not None:
            yield _trigger(
                item.refund.conversion_id, visitor, partition, item.received_at, nonce, item.refund
            )


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
