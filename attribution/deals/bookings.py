"""Bookings: the signed changes of a conversion's value, each dated by the event that made it.

What a conversion is worth at an instant is computed whole (``Worth``) and the bookings are the differences from one
instant to the next. So a cancellation after a refund takes back only what is left, and nothing falls below zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec

from attribution.deals.facts import ObjectKey


class Cause(StrEnum):
    """Why a conversion is worth something else from an instant on."""

    conversion = "conversion"
    """It happened."""
    amount = "amount"
    """The sender corrected amount or currency."""
    refund = "refund"
    refund_reversed = "refund_reversed"
    """A refund failed or was called off: the money stayed."""
    dispute = "dispute"
    """A charge-back was lost."""
    dispute_reversed = "dispute_reversed"
    lost = "lost"
    cancellation = "cancellation"
    """Cancelled, voided, deleted or merged into another."""
    reopened = "reopened"
    """A won deal is open again (then it falls), or a lost one (then its opportunity rises again)."""


class Booking(msgspec.Struct, frozen=True, order=True):
    """One signed change of what a conversion is worth."""

    occurred_at: int
    """Epoch milliseconds, UTC: of the event in the sender's world."""
    site: str
    conversion_type: str
    order_id: str
    """The business id: with site and type it names the conversion, as a hit's order id does."""
    cause: Cause
    value_minor: int
    currency: str
    count: int
    """+1 where the conversion begins to stand, -1 where it no longer does; a refund leaves it standing."""
    object: ObjectKey
    """What changed: the deal or order, or the refund or dispute."""


class Worth(NamedTuple):
    """What the root object alone says of a conversion at an instant."""

    is_standing: bool
    value_minor: int
    currency: str
    gone: Cause = Cause.cancellation
    """Why it does not stand."""


class Reduction(NamedTuple):
    """From an instant on, a refund or dispute takes so much (0 = nothing any more)."""

    at_ms: int
    object: ObjectKey
    value_minor: int
    cause: Cause
    reversed: Cause


class Line(NamedTuple):
    """One conversion as one root object tells it."""

    site: str
    conversion_type: str
    order_id: str
    root: ObjectKey
    worths: tuple[tuple[int, Worth], ...]
    """By instant, ascending."""
    is_revenue: bool = True
    """False of what is only hoped for or counted: refunds do not touch it."""
    reductions: tuple[Reduction, ...] = ()

    @property
    def stood_at(self) -> int | None:
        """When it stood first; None = never."""
        return next((at for at, worth in self.worths if worth.is_standing), None)


class Standing(NamedTuple):
    """What is left of a conversion after bookings."""

    value_minor: int
    number: int
    """1 = it stands."""
    currency: str


def bookings_of(line: Line) -> list[Booking]:
    """The bookings of ``line``, in time order. Their sum never falls below zero."""
    said: list[Booking] = []
    before = Standing(0, 0, "")
    worth = Worth(False, 0, "")
    taken: dict[ObjectKey, int] = {}
    has_stood = False
    for at_ms, new_worth, reduction in _events(line):
        old_worth = worth
        if new_worth is not None:
            worth, who = new_worth, line.root
            if worth.is_standing and not old_worth.is_standing:
                cause = Cause.reopened if has_stood else Cause.conversion
            elif old_worth.is_standing and not worth.is_standing:
                cause = worth.gone
            else:
                cause = Cause.amount
        elif reduction is not None:
            is_more = reduction.value_minor > taken.get(reduction.object, 0)
            taken[reduction.object], who = reduction.value_minor, reduction.object
            cause = reduction.cause if is_more else reduction.reversed
        after = _standing(worth, sum(taken.values()))
        said += _difference(line, at_ms, cause, who, before, after)
        has_stood = has_stood or worth.is_standing
        before = after
    return said


def _events(line: Line) -> Iterator[tuple[int, Worth | None, Reduction | None]]:
    """In order of time; of one instant the root object first, then the others by name."""
    events: list[tuple[tuple[int, int, str], Worth | None, Reduction | None]] = [
        ((at, 0, ""), worth, None) for at, worth in line.worths
    ]
    events += [((one.at_ms, 1, "/".join(one.object)), None, one) for one in line.reductions]
    for (at_ms, _, _), worth, reduction in sorted(events, key=lambda event: event[0]):
        yield at_ms, worth, reduction


def _standing(worth: Worth, taken: int) -> Standing:
    if not worth.is_standing:
        return Standing(0, 0, worth.currency)
    return Standing(max(0, worth.value_minor - taken), 1, worth.currency)


def _difference(
    line: Line, at_ms: int, cause: Cause, who: ObjectKey, before: Standing, after: Standing
) -> Iterator[Booking]:
    """Nothing when nothing changes; another currency takes back the old amount whole."""

    def booking(value: int, count: int, currency: str) -> Booking:
        return Booking(
            at_ms, line.site, line.conversion_type, line.order_id, cause, value, currency, count, who
        )

    if before.currency != after.currency and before.number:
        yield booking(-before.value_minor, -before.number, before.currency)
        before = Standing(0, 0, after.currency)
    value, count = after.value_minor - before.value_minor, after.number - before.number
    if value or count:
        yield booking(value, count, after.currency)


def standing_at(bookings: Iterable[Booking], at_ms: int) -> dict[tuple[str, str, str, str], tuple[int, int]]:
    """(value, count) at the end of that millisecond, by (site, conversion type, order id, currency)."""
    totals: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for one in bookings:
        if one.occurred_at <= at_ms:
            key = (one.site, one.conversion_type, one.order_id, one.currency)
            value, count = totals.get(key, (0, 0))
            totals[key] = (value + one.value_minor, count + one.count)
    return totals
