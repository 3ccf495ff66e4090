"""The life of deals and orders: from what all objects add up to, to the bookings and moments that follow.

A pure function of the set of facts: any order, repetition or delay of webhooks leads to the same books.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from attribution.deals.bookings import Booking, Cause, Line, Reduction, Worth, bookings_of
from attribution.deals.facts import (
    MAX_HISTORY,
    ObjectFact,
    ObjectKey,
    ObjectState,
    ObjectType,
    Problem,
    Value,
    states_of,
    surviving,
)
from attribution.deals.families import business_id
from attribution.deals.rules import DealRules
from attribution.deals.stages import Stage
from attribution.errors import Rejected
from attribution.money import currency_of, parse_amount

OPEN, WON, LOST = "open", "won", "lost"
"""``status`` of a deal whose sender tells the outcome apart from the stage."""
PAID = "paid"
"""``status`` of an order, invoice or payment that counts."""
SUCCEEDED, PENDING = "succeeded", "pending"
"""``status`` of a refund that counts: a pending one is promised, and comes back if it fails."""

_DEALS = (ObjectType.deal, ObjectType.lead, ObjectType.contact)
_SALES = (ObjectType.order, ObjectType.payment, ObjectType.invoice)
_EARLY = (Stage.lead, Stage.mql, Stage.sql)
_MAX_PARENTS = 8


class Moment(msgspec.Struct, frozen=True, order=True):
    """A step that an object took."""

    at_ms: int
    """Epoch milliseconds, UTC."""
    object: ObjectKey
    stage: Stage
    is_reopened: bool
    """It had been won or lost before, and is open again."""


class Books(msgspec.Struct, frozen=True):
    """All that follows from what senders have told."""

    bookings: tuple[Booking, ...]
    """In time order."""
    moments: tuple[Moment, ...]
    """In time order; W-shaped and full path read the key ones."""
    problems: tuple[Problem, ...]


class _Context(NamedTuple):
    states: Mapping[ObjectKey, ObjectState]
    rules: DealRules
    problems: set[Problem]

    def note(self, reason: str, key: ObjectKey, field: str, remedy: str) -> None:
        self.problems.add(Problem(reason, f"{key.source}/{key.type}/{key.id}.{field}", remedy))


def books_of_facts(facts: Iterable[ObjectFact], rules: DealRules) -> Books:
    """``books_of`` everything that ``facts`` add up to."""
    return books_of(states_of(facts), rules)


def books_of(states: Mapping[ObjectKey, ObjectState], rules: DealRules) -> Books:
    """What the books must say. ``states`` must hold whole families (``attribution.deals.families``)."""
    context = _Context(states, rules, set())
    moments: list[Moment] = []
    lines: list[Line] = []
    for key in sorted(states):
        for name in states[key].truncated:
            context.note(
                "history_truncated",
                key,
                name,
                f"Only the latest {MAX_HISTORY} values count; find out what program changes it so often.",
            )
        if key.type in _DEALS:
            phases = _phases(context, states[key])
            _check_survivor(context, key)
            moments += _moments(key, phases)
            lines += _deal_lines(context, states[key], phases)
    lines += _sale_lines(context)
    believed = list(_believed(context, lines))
    reductions = _reductions(context, lines, believed)
    bookings = [
        one
        for line in believed
        for one in bookings_of(
            line._replace(reductions=tuple(reductions.get(line.root, ()))) if line.is_revenue else line
        )
    ]
    return Books(tuple(sorted(bookings)), tuple(sorted(moments)), tuple(sorted(context.problems)))


# Deals, leads and contacts


def _is_gone(state: ObjectState, at_ms: int) -> bool:
    return bool(state.at("is_deleted", at_ms)) or isinstance(state.at("merged_into", at_ms), str)


def _check_survivor(context: _Context, key: ObjectKey) -> None:
    """A sender may merge deals into a new one of which it has told nothing else: then its revenue is missing."""
    survivor = surviving(context.states, key)
    if key.type is ObjectType.deal and survivor != key:
        state = context.states.get(survivor)
        if state is None or (state.get("stage") is None and state.get("status") is None):
            context.note(
                "survivor_unknown",
                key,
                "merged_into",
                f"Nothing is known of deal {survivor.id}, which took its place: save it once so that it is sent.",
            )


def _phases(context: _Context, state: ObjectState) -> list[tuple[int, Stage | None]]:
    """(instant, stage from then on; None = none, or the object is gone), at every instant of a change."""
    key = state.key
    phases: list[tuple[int, Stage | None]] = []
    for at_ms in state.instants():
        if _is_gone(state, at_ms):
            phases.append((at_ms, None))
            continue
        status, raw = state.at("status", at_ms), state.at("stage", at_ms)
        if status in (WON, LOST):
            phases.append((at_ms, Stage(str(status))))
            continue
        stage, is_mapped = context.rules.stages.stage_of(
            key.source, key.type, state.at("pipeline", at_ms), raw
        )
        if not is_mapped and status != OPEN:
            context.note(
                "unmapped_stage",
                key,
                "stage",
                f"Map stage {str(raw)[:80]!r} to lead, mql, sql, opportunity, won, lost or none.",
            )
        if status == OPEN and stage in (Stage.won, Stage.lost):
            stage = Stage.opportunity
        phases.append((at_ms, stage))
    return phases


def _moments(key: ObjectKey, phases: list[tuple[int, Stage | None]]) -> Iterator[Moment]:
    before: Stage | None = None
    for at_ms, stage in phases:
        if stage is not None and stage is not before:
            is_end = stage in (Stage.won, Stage.lost)
            yield Moment(at_ms, key, stage, before in (Stage.won, Stage.lost) and not is_end)
        before = stage


def _deal_lines(
    context: _Context, state: ObjectState, phases: list[tuple[int, Stage | None]]
) -> Iterator[Line]:
    """One conversion for each stage that makes one; those before the opportunity are worth nothing."""
    key, types = state.key, context.rules.types
    order_id = business_id(state)
    for stage in _EARLY:
        # Later steps do not undo that somebody was a lead; only that the object goes away does.
        worths, has_been = [], False
        for at_ms, phase in phases:
            has_been = has_been or phase is stage
            is_standing = has_been and not _is_gone(state, at_ms)
            worths.append((at_ms, Worth(is_standing, 0, context.rules.default_currency)))
        if has_been and stage in types:
            yield Line(key.site, types[stage], order_id, key, tuple(worths), is_revenue=False)
    if key.type is not ObjectType.deal:
        return
    for stage, standing in ((Stage.opportunity, (Stage.opportunity, Stage.won)), (Stage.won, (Stage.won,))):
        if stage in types and any(phase in standing for _, phase in phases):
            worths = []
            for at_ms, phase in phases:
                gone = Cause.lost if phase is Stage.lost else Cause.reopened
                gone = Cause.cancellation if _is_gone(state, at_ms) else gone
                value, currency = _amount(context, state, at_ms)
                worths.append((at_ms, Worth(phase in standing, value, currency, gone)))
            yield Line(key.site, types[stage], order_id, key, tuple(worths), stage is Stage.won)


def _amount(context: _Context, state: ObjectState, at_ms: int, default_currency: str = "") -> tuple[int, str]:
    """(minor units, currency) at that instant; 0 and a problem for an amount that is none.

    A currency that is told late is taken to have been so from the start: the same amount would be another otherwise.
    """
    default = default_currency or context.rules.default_currency
    raw = state.at("currency", at_ms) or state.first("currency") or default
    try:
        currency = currency_of(str(raw)).code
        told = [amount for amount in _amounts(state, at_ms) if amount not in (None, "")]
        return sum(parse_amount(str(amount), currency, field="amount") for amount in told), currency
    except Rejected as error:
        context.note(error.reason, state.key, error.field or "amount", error.message)
        return 0, default


def _amounts(state: ObjectState, at_ms: int) -> list[Value]:
    """What adds up to its amount at that instant: the last that was told, unless its sender has another rule."""
    if state.get("keeps_first_amount") is True:
        return [state.first("amount")]
    if state.get("adds_amounts") is True:
        return state.until("amount", at_ms)
    return [state.at("amount", at_ms)]


# Orders, payments, invoices


def _sale_lines(context: _Context) -> Iterator[Line]:
    by_subscription: dict[str, list[Line]] = {}
    for key in sorted(context.states):
        state = context.states[key]
        if key.type not in _SALES or (key.type is ObjectType.payment and not _is_sale(state)):
            continue
        worths = []
        for at_ms in state.instants():
            is_standing = state.at("status", at_ms) == PAID and not _is_gone(state, at_ms)
            worths.append((at_ms, Worth(is_standing, *_amount(context, state, at_ms))))
        own_type = state.get("conversion_type")
        type_ = own_type if isinstance(own_type, str) and own_type else context.rules.purchase_type
        line = Line(key.site, type_, business_id(state), key, tuple(worths))
        if line.stood_at is None:
            continue
        subscription = state.get("subscription")
        if isinstance(subscription, str):
            by_subscription.setdefault(f"{key.site}/{key.source}/{subscription}", []).append(line)
        elif any(worth.is_standing and worth.value_minor for _, worth in worths):
            yield line
        elif key.type is ObjectType.order:
            yield line  # an order of nothing is an order: a voucher paid for it
    for lines in by_subscription.values():
        yield from _subscribed(context, lines)


def _is_sale(state: ObjectState) -> bool:
    """A payment is a sale of its own unless it pays an invoice, which is then the sale."""
    return state.get("is_alone") is True and not state.get("parent")


def _subscribed(context: _Context, lines: list[Line]) -> Iterator[Line]:
    """The first invoice that somebody paid for is the purchase; a trial's invoice over nothing is not."""
    paid = sorted(
        (at_ms, line.root, line)
        for line in lines
        if (
            at_ms := next(
                (at for at, worth in line.worths if worth.is_standing and worth.value_minor),
                None,
            )
        )
        is not None
    )
    for number, (_, root, line) in enumerate(paid):
        if number:
            yield line._replace(conversion_type=context.rules.renewal_type)
            continue
        # Named by the subscription: whichever invoice turns out to be the first, it is the same conversion.
        subscription = str(context.states[root].get("subscription"))
        key = ObjectKey(root.site, root.source, ObjectType.subscription, subscription)
        known = context.states.get(key, ObjectState(key))
        yield line._replace(order_id=business_id(known))


# Refunds and disputes


def _reductions(
    context: _Context, lines: Iterable[Line], believed: Iterable[Line]
) -> dict[ObjectKey, list[Reduction]]:
    """By root object, what refunds and lost disputes take from it.

    A refund that names no object but an order id takes from whatever sale is believed to be that order: whoever pays
    back is seldom the CRM that knows the deal.
    """
    by_root = {line.root: line for line in lines if line.is_revenue}
    by_order: dict[tuple[str, str], ObjectKey] = {}
    for line in believed:
        if line.is_revenue:
            by_order.setdefault((line.site, line.order_id), line.root)
    found: dict[ObjectKey, list[Reduction]] = {}
    for key in sorted(context.states):
        if key.type not in (ObjectType.refund, ObjectType.dispute):
            continue
        state = context.states[key]
        root = _root(context, key, by_root)
        if root is None and not state.get("parent"):
            root = by_order.get((key.site, business_id(state)))
        if root is None:
            context.note(
                "refund_without_order",
                key,
                "parent",
                "Send the order, invoice, payment or deal that it belongs to, too, or name its order id.",
            )
            continue
        found.setdefault(root, []).extend(_reductions_by(context, state, by_root[root]))
    for root, reductions in found.items():
        _check_sum(context, by_root[root], reductions)
    return found


def _root(context: _Context, key: ObjectKey, roots: Mapping[ObjectKey, Line]) -> ObjectKey | None:
    """What ``key`` belongs to among ``roots``, by way of its parents."""
    for _ in range(_MAX_PARENTS):
        if key in roots:
            return key
        state = context.states.get(key)
        parent = state.get("parent") if state is not None else None
        kind, _, id_ = str(parent or "").partition(":")
        if kind not in ObjectType.__members__:
            return None
        key = ObjectKey(key.site, key.source, ObjectType(kind), id_)
    return None


def _reductions_by(context: _Context, state: ObjectState, line: Line) -> Iterator[Reduction]:
    is_refund = state.key.type is ObjectType.refund
    cause, back = (
        (Cause.refund, Cause.refund_reversed) if is_refund else (Cause.dispute, Cause.dispute_reversed)
    )
    effective = (None, SUCCEEDED, PENDING) if is_refund else (LOST,)
    before = 0
    for at_ms in state.instants():
        of_order = line.worths[-1][1].currency
        value, currency = _amount(context, state, at_ms, of_order)
        if currency != of_order:
            context.note(
                "refund_currency_differs",
                state.key,
                "currency",
                f"It is in {currency}, the order in {of_order}: it was not booked. Send it in the order's currency.",
            )
            value = 0
        if state.at("status", at_ms) not in effective or _is_gone(state, at_ms):
            value = 0
        if value != before:
            yield Reduction(at_ms, state.key, value, cause, back)
        before = value


def _check_sum(context: _Context, line: Line, reductions: list[Reduction]) -> None:
    last = {one.object: one.value_minor for one in sorted(reductions)}
    _, worth = line.worths[-1]
    if worth.is_standing and sum(last.values()) > worth.value_minor:
        context.note(
            "refund_exceeds_value",
            line.root,
            "amount",
            "Refunds and disputes add up to more than it was worth: it stands at zero. Check its amount.",
        )


def _believed(context: _Context, lines: Iterable[Line]) -> Iterator[Line]:
    """Of several objects that tell one conversion, the one whose sender comes first in the rules."""
    named: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        named.setdefault(line[:3], []).append(line)
    order = {source: number for number, source in enumerate(context.rules.sources)}
    for rivals in named.values():
        rivals.sort(key=lambda one: (order.get(one.root.source, len(order)), one.stood_at or 0, one.root))
        yield rivals[0]
        for other in rivals[1:]:
            context.note(
                "told_twice",
                other.root,
                "order_id",
                f"{rivals[0].root.source} tells {rivals[0].order_id!r}, too, and is believed: if these are two, "
                "give them different order ids.",
            )
