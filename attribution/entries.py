"""The signed entries that lead from one statement to the next.

Plain statements differ at one instant, that of their conversion. Statements with bookings (docs/decisions/0027) differ
at the instant of each: what they gave from then on, less what they gave before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from attribution.ledger import CreditedTouch, Share, Statement, Terms


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One signed row of the ledger."""

    model: str
    terms: Terms
    touch: CreditedTouch
    weight_ppb: int
    amount_minor: int
    conversion_value_minor: int
    """Change of the conversion's value, carried by one entry of a change, model and booking only; else 0."""
    booked_at: int
    """Epoch milliseconds, UTC: when it counts in cash; of a conversion without bookings the conversion's instant."""
    cause: str = ""
    """Of the booking, where bookings changed; "" = that of the correction."""


def entries_between(old: bytes, new: bytes) -> list[Entry]:
    """``entries`` from one stored statement (b"" = none) to another; equal bytes are not read at all.

    Raises ``UnreadableStatement``.
    """
    if old == new:
        return []
    return entries(Statement.from_bytes(old) if old else None, Statement.from_bytes(new))


def entries(old: Statement | None, new: Statement) -> list[Entry]:
    """The signed entries that turn what ``old`` credited into what ``new`` credits; none when they agree.

    Unchanged touches get the difference only. When the terms, or a touch's own attributes, differ the old
    entry is taken back whole and the new one written. A model that ``new`` does not know is taken back. With bookings
    all that is done for the instant of each.
    """
    if new.booked is not None or (old is not None and old.booked is not None):
        return list(_dated(old, new))
    if old is None:
        return [entry for model in new.shares for entry in _written(new, model, 1)]
    if old.terms != new.terms:
        return [
            entry
            for model in _models(old, new)
            for entry in (*_written(old, model, -1), *_written(new, model, 1))
        ]
    return [entry for model in _models(old, new) for entry in _difference(old, new, model)]


def _models(old: Statement, new: Statement) -> Iterable[str]:
    return dict.fromkeys((*new.shares, *old.shares))


def _written(statement: Statement, model: str, sign: int) -> Iterator[Entry]:
    """All entries of one model, written (+1) or taken back (-1); the first carries the value."""
    value = sign * statement.value_minor
    at = statement.terms.converted_at
    for touchpoint_id, part in statement.shares.get(model, {}).items():
        touch = statement.touches[touchpoint_id]
        yield Entry(
            model, statement.terms, touch, sign * part.weight_ppb, sign * part.amount_minor, value, at
        )
        value = 0


def _difference(old: Statement, new: Statement, model: str) -> Iterator[Entry]:
    """The entries of one model when the terms are the same. The first carries the change of the value."""
    before, after = old.shares.get(model, {}), new.shares.get(model, {})
    if not before or not after:
        yield from _written(old, model, -1)
        yield from _written(new, model, 1)
        return
    value = new.value_minor - old.value_minor
    for touch, weight, amount in _moved(old, new, before, after):
        yield Entry(model, new.terms, touch, weight, amount, value, new.terms.converted_at)
        value = 0


def _moved(
    old: Statement, new: Statement, before: dict[str, Share], after: dict[str, Share]
) -> Iterator[tuple[CreditedTouch, int, int]]:
    """(touch, change of weight, change of amount) for each entry that one model needs."""
    for touchpoint_id in dict.fromkeys((*before, *after)):
        was, now = before.get(touchpoint_id), after.get(touchpoint_id)
        if was and now and old.touches[touchpoint_id] == new.touches[touchpoint_id]:
            weight, amount = now.weight_ppb - was.weight_ppb, now.amount_minor - was.amount_minor
            if weight or amount:
                yield new.touches[touchpoint_id], weight, amount
            continue
        if was:
            yield old.touches[touchpoint_id], -was.weight_ppb, -was.amount_minor
        if now:
            yield new.touches[touchpoint_id], now.weight_ppb, now.amount_minor


class _Layer(NamedTuple):
    """What the bookings of one instant and cause changed under one model."""

    value_minor: int
    shares: dict[str, Share]
    """By ``touchpoint_id``."""


_When = tuple[int, str]
"""(instant of a booking, its cause)."""
_NOTHING = _Layer(0, {})


def _dated(old: Statement | None, new: Statement) -> Iterator[Entry]:
    """``entries`` where one of the two has bookings.

    If it is the bookings that differ, every entry has the cause of its booking, also where one is taken back.
    """
    by_booking = old is None or _worths(old) != _worths(new)
    was = _layers(old) if old is not None else {}
    now = _layers(new)
    for model in dict.fromkeys((*now, *was)):
        taken, given = was.get(model, {}), now.get(model, {})
        for when in sorted(dict.fromkeys((*taken, *given)), key=lambda when: when[0]):
            before, after = taken.get(when, _NOTHING), given.get(when, _NOTHING)
            cause = when[1] if by_booking else ""
            if old is None or old.terms == new.terms:
                value = after.value_minor - before.value_minor
                for touch, weight, amount in _moved(old or new, new, before.shares, after.shares):
                    yield Entry(model, new.terms, touch, weight, amount, value, when[0], cause)
                    value = 0
                continue
            for statement, layer, sign in ((old, before, -1), (new, after, 1)):
                value = sign * layer.value_minor
                for touchpoint_id, part in layer.shares.items():
                    weight, amount = sign * part.weight_ppb, sign * part.amount_minor
                    touch = statement.touches[touchpoint_id]
                    yield Entry(model, statement.terms, touch, weight, amount, value, when[0], cause)
                    value = 0


def _worths(statement: Statement) -> list[tuple[int, str, int, int]]:
    """What it was worth when, and why."""
    return [(one.booked_at, one.cause, one.value_minor, one.number) for one in statement.as_booked]


def _layers(statement: Statement) -> dict[str, dict[_When, _Layer]]:
    """By model, instant and cause what each booking changed: together they are what stands."""
    layers: dict[str, dict[_When, _Layer]] = {model: {} for model in statement.shares}
    before: dict[str, dict[str, Share]] = {}
    value_before = 0
    for one in statement.as_booked:
        when = (one.booked_at, one.cause)
        for model, its in layers.items():
            value, shares = its.get(when, _NOTHING)
            its[when] = _Layer(
                value + one.value_minor - value_before,
                _sum(shares, _difference_of(before.get(model, {}), one.shares[model])),
            )
        before, value_before = one.shares, one.value_minor
    return layers


def _difference_of(before: dict[str, Share], after: dict[str, Share]) -> dict[str, Share]:
    """By touchpoint, from one booking's shares to the next one's."""
    return _sum(after, {name: Share(-part.weight_ppb, -part.amount_minor) for name, part in before.items()})


def _sum(some: dict[str, Share], others: dict[str, Share]) -> dict[str, Share]:
    """Both together, without what adds up to nothing."""
    total = dict(some)
    for name, part in others.items():
        known = total.get(name)
        total[name] = (
            Share(known.weight_ppb + part.weight_ppb, known.amount_minor + part.amount_minor)
            if known
            else part
        )
    return {name: part for name, part in total.items() if part.weight_ppb or part.amount_minor}
