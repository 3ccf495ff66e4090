"""Taking a partition over: what its last owners left half done, and where to read on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from attribution.deals.settings import DealSettings
from attribution.errors import HeadwaterError, Misconfigured
from streams import spend
from streams.credit import CreditStage, decisions_of
from streams.deal_clicks import LOOK_SECONDS
from streams.deals import DealsStage, deal_decisions_of
from streams.fence import Fence, FenceStore, Position
from streams.journal import Claimed, Decided, Journal, JournalLog
from streams.learnt import LearntBook
from streams.live_spend import ClickCostBook
from streams.ownership import Ownership, Send, Writer
from streams.policies import PolicyBook
from streams.pump import Stage
from streams.recent import RecentTimelines
from streams.room import Room
from streams.rules import RuleBook, StitchRules
from streams.stitch import StitchStage
from streams.topics import CONVERSIONS, DEALS, HITS, SPEND
from streams.touch_book import TouchBook

log = structlog.get_logger(__name__)


CREDIT_TRIGGERS = 1_000
"""Most triggers of one batch of credit."""
CREDIT_WAIT_SECONDS = 0.02
SPEND_REPORTS = 1_000
"""Most facts of one batch of spend."""
SPEND_WAIT_SECONDS = 0.2
"""An import comes at once, and each batch reads the days it is about."""
DEAL_EVENTS = 2_000
"""Most events of one batch of deliveries, by their bytes."""
DEAL_WAIT_SECONDS = 0.05


class Inconsistent(HeadwaterError):
    """Store and journal contradict each other: stop, do not guess."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every take-over of a worker needs. ``broker`` is the cluster id of the logs it reads.

    ``recent`` and ``room`` bound the memory of all partitions of hits together.
    """

    broker: str
    fences: FenceStore
    journals: JournalLog
    writer: Writer
    send: Send
    rules: StitchRules
    recent: RecentTimelines = field(default_factory=RecentTimelines)
    room: Room = field(default_factory=Room)
    learnt: LearntBook | None = None
    """None = no learnt model is ever active."""
    touches: TouchBook = field(default_factory=TouchBook)
    click_costs: ClickCostBook = field(default_factory=ClickCostBook)
    deals: DealSettings = field(default_factory=DealSettings)
    clicks_every_seconds: float = LOOK_SECONDS
    """How often missing clicks of deals are looked for."""


class TakenOver(NamedTuple):
    """A stage that owns its partition and has not started, and what it must be fed with."""

    stage: Stage
    next_offset: int
    """Where to read on."""
    ranges: Sequence[tuple[int, int]]
    """First and last offset of batches whose borders are given, in order."""


class Kind(NamedTuple):
    """What works on the partitions of one topic. None = as the worker is told for hits."""

    take: Callable[[Tools, Ownership], Awaitable[TakenOver]]
    max_events: int | None = None
    """Most events of one batch."""
    wait_seconds: float | None = None
    """How long a batch waits for more of them."""


async def take_over(tools: Tools, topic: str, partition: int) -> TakenOver:
    """Become the owner of a partition.

    Raises ``Fenced``, ``JournalGone``, ``Inconsistent``, ``Misconfigured``.
    """
    fence = await tools.fences.acquire(topic, partition)
    journal = await _open_journal(tools, fence)
    own = Ownership(tools.broker, fence, journal, tools.writer, tools.send)
    taken = await KINDS[topic].take(tools, own)
    log.info(
        "took_over",
        topic=topic,
        partition=partition,
        epoch=fence.found.epoch,
        offset=taken.next_offset,
        left=len(journal.left),
    )
    return taken


async def _open_journal(tools: Tools, fence: Fence) -> Journal:
    found, broker = fence.found, tools.broker
    journal = Journal(tools.journals, fence.topic, fence.partition, found.owner)
    await journal.open(
        found.journal if found.broker == broker else -1,
        broker,
        found.offset_on(broker),
        version=tools.rules.version,
        rules=tools.rules.to_bytes(),
    )
    if not journal.left and found.broker == broker:
        await fence.note_journal(journal.done_with(0))
    return journal


async def _hits(tools: Tools, own: Ownership) -> TakenOver:
    found, broker = own.fence.found, own.broker
    noted = [entry for entry in own.journal.left if isinstance(entry, Claimed)]
    claims = claims_left(found, broker, noted)
    rules = RuleBook(tools.rules, own.fence.store, own.journal.rules)
    await rules.keep(claim.version for claim in claims)
    start = found.offset_on(broker)
    if found.pending is not None and found.payload and found.pending.broker == broker:
        start = found.pending.last + 1
    stage = StitchStage(own, rules, tools.recent, tools.room, claims)
    return TakenOver(stage, start, [(claim.first, claim.last) for claim in claims])


def claims_left(found: Position, broker: str, noted: Iterable[Claimed]) -> list[Claimed]:
    """The ranges of the log of ``broker`` that may be in ClickHouse and are not committed, in order.

    Those of the journal, and the one that the store knows to be pending. A pending range that carries its records is
    not among them: it is finished from these before anything is read. Raises ``Inconsistent``, and ``Misconfigured``
    when a pending range is of another log and does not carry its records.
    """
    claims = {(claim.first, claim.last): claim for claim in reversed(list(noted))}
    pending = found.pending
    if pending is not None and pending.broker == broker:
        borders = (pending.first, pending.last)
        if found.payload:
            claims.pop(borders, None)
        else:
            claims.setdefault(borders, Claimed(found.owner, broker, *borders, pending.version))
    elif pending is not None and not found.payload:
        raise Misconfigured(
            f"Offsets {pending.first}-{pending.last} of the Kafka cluster {pending.broker} are half done, and this is"
            f" {broker}.",
            "Let HEADWATER_KAFKA name the former cluster once more, and stop the worker when it is idle.",
        )
    ordered = [claims[borders] for borders in sorted(claims)]
    before = found.offset_on(broker) - 1
    for claim in ordered:
        if claim.first <= before:
            raise Inconsistent(f"{claim.first}-{claim.last} was claimed, and so was what ends at {before}")
        before = claim.last
    return ordered


async def _conversions(tools: Tools, own: Ownership) -> TakenOver:
    decisions = decisions_of(entry for entry in own.journal.left if isinstance(entry, Decided))
    policies = PolicyBook(tools.rules.policy, tools.fences, tools.learnt or LearntBook(tools.fences))
    stage = CreditStage(own, policies, tools.rules.partitions, decisions)
    # Where the fence will stand when the decisions are applied.
    start = decisions[-1].next if decisions else own.fence.found.offset_on(own.broker)
    return TakenOver(stage, start, ())


async def _spend(tools: Tools, own: Ownership) -> TakenOver:
    step = await own.fence.step()
    noted = spend.decisions_of(entry for entry in own.journal.left if isinstance(entry, Decided))
    decisions = [decision for decision in noted if decision.step > step]
    stage = spend.SpendStage(own, tools.rules.partitions, tools.touches, tools.click_costs, step, decisions)
    start = own.fence.found.offset_on(own.broker)
    if decisions:  # Where the fence will stand when they are applied.
        start = decisions[-1].next if decisions[-1].broker == own.broker else 0
    return TakenOver(stage, start, ())


async def _deals(tools: Tools, own: Ownership) -> TakenOver:
    decisions = deal_decisions_of(entry for entry in own.journal.left if isinstance(entry, Decided))
    types = tools.rules.policy.conversion_lookbacks_ms
    stage = DealsStage(
        own,
        tools.deals,
        types,
        tools.rules.partitions,
        decisions,
        look_seconds=tools.clicks_every_seconds,
    )
    start = decisions[-1].next if decisions else own.fence.found.offset_on(own.broker)
    return TakenOver(stage, start, ())


KINDS: Mapping[str, Kind] = {
    HITS: Kind(_hits),
    CONVERSIONS: Kind(_conversions, CREDIT_TRIGGERS, CREDIT_WAIT_SECONDS),
    SPEND: Kind(_spend, SPEND_REPORTS, SPEND_WAIT_SECONDS),
    DEALS: Kind(_deals, DEAL_EVENTS, DEAL_WAIT_SECONDS),
}
"""The topics that a worker reads, and the stage of each."""
