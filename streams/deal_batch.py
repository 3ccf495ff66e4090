"""Deliveries of CRMs and shops read as facts. No I/O, no clock."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from attribution.deals.adapters import ADAPTERS, VERSIONS, AdapterRules, Envelope, Mapped
from attribution.deals.delivery import Delivery, decode_deliveries, encode_delivery
from attribution.deals.facts import ObjectFact, ObjectKey, Problem
from attribution.errors import Rejected
from streams.dead_letters import DeadLetter
from streams.records import Batch, Record
from streams.rows import Row

_NO_REVENUE = frozenset(("test_data",))
"""Problems of deliveries that are right and are not to count: nothing is wrong with them."""


class Outcome(StrEnum):
    """What became of a delivery."""

    read = "read"
    """Its facts count."""
    ignored = "ignored"
    """It is well-formed and says nothing of use to us."""
    repeated = "repeated"
    """Everything in it was told before."""
    unreadable = "unreadable"
    """Nothing in it could be read: it is a dead letter, replayable."""


class ReadDelivery(msgspec.Struct):
    """One delivery, and what was made of it so far."""

    delivery: Delivery
    record: Record
    index: int
    """Position within its record."""
    mapped: Mapped
    outcome: Outcome
    problems: list[Problem]
    events: int
    """Events in it that were not told before."""

    @property
    def tells(self) -> bool:
        """Whether its facts are told to the objects.

        Those of a repeat are, too: they change nothing, unless the sender wrote it anew from what the object is by now
        (Salesforce does). But where nothing says when it happened its arrival dates it, and a repeat would be a later
        change.
        """
        if self.outcome is Outcome.repeated:
            return all(fact.at_ms != self.delivery.received_at for fact in self.mapped.facts)
        return self.outcome is Outcome.read

    def row(self, batch: Batch) -> Row:
        """A row of ``deliveries``."""
        one = self.delivery
        return (
            one.site,
            one.source,
            one.scheme,
            [key for keys in one.keys for key in keys],
            one.received_at,
            self.outcome.value,
            self.events,
            len(self.mapped.facts),
            VERSIONS.get(one.source, 0),
            [problem.reason for problem in self.problems],
            [f"{problem.field}: {problem.remedy}" for problem in self.problems],
            list(self.mapped.ignored),
            json.dumps(one.headers, sort_keys=True),
            base64.b64encode(one.body).decode(),
            batch.broker,
            batch.partition,
            self.record.offset,
            self.index,
        )

    def letter(self, batch: Batch) -> DeadLetter | None:
        """The dead letter of one that is unreadable."""
        if self.outcome is not Outcome.unreadable:
            return None
        problem = self.problems[0]
        detail = f"{self.delivery.source} {problem.field}: {problem.remedy}"
        payload = encode_delivery(self.delivery)
        return DeadLetter.of(batch, self.record, self.index, problem.reason, detail, payload)


class ReadDeliveries(msgspec.Struct):
    """One batch, read."""

    deliveries: list[ReadDelivery]
    dead_letters: list[DeadLetter]
    """Records that hold no deliveries."""

    @property
    def facts(self) -> dict[ObjectKey, list[ObjectFact]]:
        """By object what is told of it."""
        found: dict[ObjectKey, list[ObjectFact]] = {}
        for one in self.deliveries:
            if one.tells:
                for fact in one.mapped.facts:
                    found.setdefault(fact.key, []).append(fact)
        return found

    @property
    def recorded_at(self) -> int:
        """When the collector received the last of what is told; 0 = nothing is."""
        return max((one.delivery.received_at for one in self.deliveries if one.tells), default=0)

    def note(self, problems: Iterable[Problem]) -> None:
        """Problems that are new in the books: each is listed with the last delivery that tells of its object."""
        tellers: dict[str, ReadDelivery] = {}
        last = None
        for one in self.deliveries:
            if one.tells:
                last = one
                for fact in one.mapped.facts:
                    tellers[f"{fact.source}/{fact.object_type}/{fact.object_id}"] = one
        for problem in problems:
            teller = tellers.get(problem.field.rpartition(".")[0], last)
            if teller is not None and problem not in teller.problems:
                teller.problems.append(problem)

    def counts(self) -> tuple[Counter[tuple[str, str]], Counter[str]]:
        """Deliveries by (source, outcome), and problems by reason."""
        outcomes = Counter((one.delivery.source, one.outcome.value) for one in self.deliveries)
        return outcomes, Counter(
            problem.reason
            for one in self.deliveries
            if one.outcome is not Outcome.repeated
            for problem in one.problems
        )


def read_deliveries(batch: Batch, senders: AdapterRules) -> ReadDeliveries:
    """Every delivery of ``batch`` as its adapter reads it."""
    read = ReadDeliveries([], [])
    for record in batch.records:
        try:
            deliveries = decode_deliveries(record.value)
        except Rejected as error:
            letter = DeadLetter.of(batch, record, -1, error.reason, error.message, record.value)
            read.dead_letters.append(letter)
            continue
        read.deliveries += [
            read_delivery(one, senders, record, index) for index, one in enumerate(deliveries)
        ]
    return read


_NO_RECORD = Record(0, 0, b"", b"")


def read_delivery(
    delivery: Delivery, senders: AdapterRules, record: Record = _NO_RECORD, index: int = 0
) -> ReadDelivery:
    """One delivery as its adapter reads it. ``record``, ``index``: where it stands, if it just arrives."""
    mapped = _mapped(delivery, senders)
    problems = list(mapped.problems)
    if mapped.facts:
        outcome = Outcome.read
    elif not problems or all(problem.reason in _NO_REVENUE for problem in problems):
        outcome = Outcome.ignored
    else:
        outcome = Outcome.unreadable
    return ReadDelivery(delivery, record, index, mapped, outcome, problems, len(delivery.keys))


def _mapped(delivery: Delivery, senders: AdapterRules) -> Mapped:
    adapter = ADAPTERS.get(delivery.source)
    if adapter is None:
        return Mapped((), (Problem("unknown_sender", "source", "Send one of " + ", ".join(ADAPTERS)),))
    if not delivery.is_read:
        remedy = "The body is not what the sender documents. Replay it when that is repaired."
        return Mapped((), (Problem("unreadable_body", "body", remedy),))
    envelope = Envelope(delivery.received_at, delivery.headers)
    rules = msgspec.structs.replace(senders, site=delivery.site)
    try:
        return adapter(delivery.body, envelope, rules)
    except Exception as error:
        # An adapter never raises; if one does, its delivery alone is put aside, and the others go on.
        return Mapped((), (Problem("poison", "body", repr(error)[:300]),))


def sort_out_repeats(read: ReadDeliveries, seen: Sequence[Sequence[bool]]) -> None:
    """``seen``: for each delivery, of each of its events, whether it was told before."""
    for one, events in zip(read.deliveries, seen, strict=True):
        if one.outcome is not Outcome.unreadable and events and all(events):
            one.outcome, one.events = Outcome.repeated, 0
        elif one.outcome is not Outcome.unreadable:
            one.events = sum(not is_seen for is_seen in events)
