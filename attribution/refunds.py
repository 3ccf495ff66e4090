"""Refunds that hits report: what is left of an order after them.

An order has a set of refunds by event id. What is left at each instant is computed whole from that set, so neither the
order of arrival nor repetition can make it another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

REFUND = "refund"
"""The event by which a hit reports one, and the cause of its booking."""
MAX_REFUNDS = 512
"""Refunds kept of one order, the earliest. An order that is paid back more often is a program's plaything."""


class RefundProblem(StrEnum):
    """Why a refund lowers nothing, or less than it says. The hit is kept in ``hits`` all the same."""

    without_order = "refund_without_order"
    """It names no order, or one that nobody has reported (yet): it counts as soon as somebody does."""
    of_unknown_type = "type_without_window"
    """It names a conversion type that the policy does not."""
    currency_differs = "refund_currency_differs"
    """It is in another currency than the order."""
    exceeds_value = "refund_exceeds_value"
    """Refunds with a value add up to more than the order was worth: it stands at zero."""
    told_by_sender = "refund_told_by_sender"
    """A sender of deals tells the order, and so its refunds: those of hits would count twice."""
    too_many = "too_many_refunds"
    """The order has as many as are kept; a later one may be missing."""


class Refund(msgspec.Struct, frozen=True, array_like=True):
    """One refund of an order."""

    event_id: str
    occurred_at: int
    """Epoch milliseconds, UTC."""
    value_minor: int | None
    """Minor units of ``currency``; ``None`` = all that is left of the order."""
    currency: str
    """ISO 4217; "" when it names no value."""

    @property
    def rank(self) -> tuple[int, str, int, str]:
        """Total, so that any order of merging agrees; of two with one event id the lower one counts."""
        value = -1 if self.value_minor is None else self.value_minor
        return self.occurred_at, self.event_id, value, self.currency


def united(some: Iterable[Refund], others: Iterable[Refund]) -> tuple[Refund, ...]:
    """Both sets as one, in order of rank. Idempotent, and free of order also where not all are kept."""
    by_event: dict[str, Refund] = {}
    for one in (*some, *others):
        known = by_event.get(one.event_id)
        if known is None or one.rank < known.rank:
            by_event[one.event_id] = one
    return tuple(sorted(by_event.values(), key=lambda one: one.rank)[:MAX_REFUNDS])


def left_after(
    value_minor: int, currency: str, converted_at: int, refunds: Sequence[Refund]
) -> list[tuple[int, int]]:
    """(instant, what the order is worth from then on) for each of ``refunds`` that changes it; never below zero.

    ``refunds``: in order of rank. One that is dated before its order (clocks differ) is booked with it.
    """
    found: list[tuple[int, int]] = []
    left = value_minor
    for one in refunds:
        if one.value_minor is not None and one.currency != currency:
            continue
        taken = left if one.value_minor is None else min(one.value_minor, left)
        if taken:
            left -= taken
            found.append((max(converted_at, one.occurred_at), left))
    return found


def problems_with(value_minor: int, currency: str, refunds: Sequence[Refund]) -> frozenset[RefundProblem]:
    """What is wrong with ``refunds`` of an order that hits report."""
    valued = [one for one in refunds if one.value_minor is not None]
    found = set()
    if any(one.currency != currency for one in valued):
        found.add(RefundProblem.currency_differs)
    if sum(one.value_minor or 0 for one in valued if one.currency == currency) > value_minor:
        found.add(RefundProblem.exceeds_value)
    if len(refunds) >= MAX_REFUNDS:
        found.add(RefundProblem.too_many)
    return frozenset(found)
