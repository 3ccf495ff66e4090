"""What a sender says of one of its objects, and the object as all that was said adds up.

Every field of an object is a register: the value with the greatest (instant, rank, event) holds. So an object is a
function of the set of facts, whatever their order, how often each arrives, and whichever was lost and sent again.
Fields that money and stages depend on keep their earlier values as well, because a booking is dated by the moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

import msgspec

from attribution.ids import event_hash

Value = str | int | bool | None
"""Amounts are decimal text in major units: a sender may tell the currency later, or apart."""

HISTORIC = frozenset(("stage", "status", "amount", "currency", "pipeline", "is_deleted", "merged_into"))
"""Fields whose earlier values are kept."""
MAX_HISTORY = 512
"""Values kept of one historic field, the latest. An object that changes more often is a program's plaything."""

CONTACT = "contact:"
"""Fields that begin so, with a contact's id, say whether the object belongs to that contact."""
CONTACT_IN = "contact_in:"
"""Fields that begin so, with the sender's own field, hold the id of the contact who stands there: whoever is written
there next takes his place."""
CLICK = "click:"
"""Fields that begin so, with a click parameter, hold the click id (``click:gclid``)."""


class ObjectType(StrEnum):
    """What an object is, whatever its sender calls it."""

    deal = "deal"
    contact = "contact"
    lead = "lead"
    order = "order"
    invoice = "invoice"
    subscription = "subscription"
    payment = "payment"
    refund = "refund"
    dispute = "dispute"
    company = "company"


class ObjectKey(NamedTuple):
    """Names one object."""

    site: str
    source: str
    type: ObjectType
    id: str


class Problem(msgspec.Struct, frozen=True, order=True):
    """Something that could not be taken as it was said. The payload is kept: nothing is lost."""

    reason: str
    """A snake_case word for counters."""
    field: str
    """Path of the field in the payload, or the object and field; "" = the whole."""
    remedy: str


class ObjectFact(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of one object at one instant, as one event of the sender says."""

    site: str
    source: str
    object_type: ObjectType
    object_id: str
    at_ms: int
    """Epoch milliseconds, UTC, by the sender's clock: when the change happened."""
    event_id: str
    """The sender's; the same for every attempt at delivery."""
    fields: dict[str, Value]
    """An object that begins to exist says so by ``is_deleted`` = False: that, too, is a moment."""
    rank: int = 1
    """Decides within one instant, the greater holds: 0 = creation, 1 = change, 2 = an end (paid, deleted)."""
    adapter_version: int = 1
    """Of two readings of one event the one by the newer mapping holds."""

    @property
    def key(self) -> ObjectKey:
        """The object that this is about."""
        return ObjectKey(self.site, self.source, self.object_type, self.object_id)


class Register(NamedTuple):
    """A value of a field, and what puts it before or after others."""

    at_ms: int
    rank: int
    event_hash: int
    adapter_version: int
    value: Value


_encode = msgspec.json.Encoder().encode
_at = attrgetter("at_ms")


def _order(register: Register) -> tuple[int, int, int, int, bytes]:
    """Total, so that any order of merging agrees even when a sender uses an event id twice."""
    return (*register[:4], _encode(register.value))


class ObjectState(msgspec.Struct, frozen=True):
    """An object as everything that was said of it adds up."""

    key: ObjectKey
    registers: Mapping[str, tuple[Register, ...]] = {}
    """By field, in order; the last holds. Of a field that is not historic only the last is kept."""
    truncated: tuple[str, ...] = ()
    """Historic fields that have had more values than are kept, in order."""

    def get(self, field: str) -> Value:
        """What holds now; None = nobody has said."""
        known = self.registers.get(field)
        return known[-1].value if known else None

    def at(self, field: str, at_ms: int) -> Value:
        """What held at the end of that millisecond, of a historic field."""
        known = self.registers.get(field, ())
        place = bisect_right(known, at_ms, key=_at)
        return known[place - 1].value if place else None

    def first(self, field: str) -> Value:
        """The earliest known value that is one."""
        return next((it.value for it in self.registers.get(field, ()) if it.value is not None), None)

    def until(self, field: str, at_ms: int) -> list[Value]:
        """All that was said until the end of that millisecond, of a historic field, in order; each event once, also if
        its sender gave it another time when he tried again.
        """
        known = self.registers.get(field, ())
        events: dict[int, Value] = {}
        for it in known[: bisect_right(known, at_ms, key=_at)]:
            events.setdefault(it.event_hash, it.value)
        return list(events.values())

    def instants(self) -> list[int]:
        """When anything historic was said, ascending, each once."""
        return sorted(
            {it.at_ms for name, known in self.registers.items() if name in HISTORIC for it in known}
        )


def told(state: ObjectState | None, fact: ObjectFact) -> ObjectState:
    """``state`` (None = nothing known) after one more fact. Idempotent; the order of facts does not matter.

    Raises ``ValueError`` when ``fact`` is about another object.
    """
    if state is None:
        state = ObjectState(fact.key)
    elif state.key != fact.key:
        raise ValueError(f"fact of {fact.key} told of {state.key}")
    registers, truncated = dict(state.registers), set(state.truncated)
    hashed = event_hash(fact.event_id)
    for name, value in fact.fields.items():
        new = Register(fact.at_ms, fact.rank, hashed, fact.adapter_version, value)
        known = registers.get(name, ())
        if name not in HISTORIC:
            registers[name] = (max((*known, new), key=_order),)
            continue
        by_event = {it[:3]: it for it in known}
        rival = by_event.get(new[:3])
        if rival is None or _order(rival) < _order(new):
            by_event[new[:3]] = new
        kept = sorted(by_event.values(), key=_order)
        if len(kept) > MAX_HISTORY:
            truncated.add(name)
        registers[name] = tuple(kept[-MAX_HISTORY:])
    return ObjectState(state.key, registers, tuple(sorted(truncated)))


def states_of(facts: Iterable[ObjectFact]) -> dict[ObjectKey, ObjectState]:
    """All objects that ``facts`` are about."""
    states: dict[ObjectKey, ObjectState] = {}
    for fact in facts:
        states[fact.key] = told(states.get(fact.key), fact)
    return states


def surviving(states: Mapping[ObjectKey, ObjectState], key: ObjectKey) -> ObjectKey:
    """What has become of an object that may have been merged into another; of a circle its least member."""
    seen = [key]
    while (state := states.get(key)) is not None and isinstance(into := state.get("merged_into"), str):
        key = key._replace(id=into)
        if key in seen:
            return min(seen[seen.index(key) :])
        seen.append(key)
    return key
