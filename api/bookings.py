"""What a conversion was worth when: its bookings, read off the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from api.instants import instant_text
from api.numbers import money_text, plain_number


class Booked(NamedTuple):
    """What an entry of the ledger says of money."""

    model: str
    booked_at: int
    """Epoch milliseconds, UTC."""
    cause: str
    currency: str
    value: Decimal
    """Change of the conversion's value."""
    amount: Decimal
    weight: Decimal


_NOTHING = (Decimal(0), Decimal(0))


class BookingExplained(msgspec.Struct, frozen=True):
    """One change of what the conversion is worth."""

    booked_at: str
    """ISO 8601, UTC."""
    cause: str
    value: str
    """The change."""
    currency: str
    conversions: Decimal
    """1 where the conversion begins to stand, -1 where it no longer does, else 0."""
    value_after: str
    """What it was worth from then on, in this currency."""


def bookings_of(entries: Iterable[Booked]) -> list[BookingExplained]:
    """By instant and cause what was booked, in order of time; where all of an instant cancels out nothing was.

    Every model says the same; asked is the one that was credited first.
    """
    by_cause: dict[tuple[int, str, str], tuple[Decimal, Decimal]] = {}
    by_instant: dict[tuple[int, str], tuple[Decimal, Decimal]] = {}
    asked = None
    for model, booked_at, cause, currency, value, _, weight in entries:
        asked = asked or model
        if model == asked:
            was = by_cause.get((booked_at, currency, cause), _NOTHING)
            by_cause[booked_at, currency, cause] = (was[0] + value, was[1] + weight)
            was = by_instant.get((booked_at, currency), _NOTHING)
            by_instant[booked_at, currency] = (was[0] + value, was[1] + weight)
    after: dict[str, Decimal] = {}
    bookings = []
    # In one instant it happened before anything became of it.
    for booked_at, currency, cause in sorted(by_cause, key=lambda key: (key[0], key[2] != "conversion")):
        value, weight = by_cause[booked_at, currency, cause]
        if any(by_instant[booked_at, currency]) and (value or weight):
            after[currency] = after.get(currency, Decimal(0)) + value
            bookings.append(
                BookingExplained(
                    instant_text(booked_at),
                    cause,
                    money_text(value, currency),
                    currency,
                    plain_number(weight),
                    money_text(after[currency], currency),
                )
            )
    return bookings


def balance_of(entries: Iterable[Booked], value: Decimal, currency: str, *, stands: bool) -> dict[str, bool]:
    """By model: all credit equals the value booked in every currency, at each instant, and the booked value ``value``.

    ``value``: what the conversion is worth now, 0 when it does not stand.
    """
    booked: dict[str, dict[str, tuple[Decimal, Decimal]]] = {}
    uneven: dict[str, dict[tuple[str, int], Decimal]] = {}
    weights: dict[str, Decimal] = {}
    for entry in entries:
        sums, gaps = booked.setdefault(entry.model, {}), uneven.setdefault(entry.model, {})
        was = sums.get(entry.currency, _NOTHING)
        sums[entry.currency] = (was[0] + entry.amount, was[1] + entry.value)
        place = (entry.currency, entry.booked_at)
        gaps[place] = gaps.get(place, Decimal(0)) + entry.amount - entry.value
        weights[entry.model] = weights.get(entry.model, Decimal(0)) + entry.weight
    return {
        model: weights[model] == int(stands)
        and not any(uneven[model].values())
        and all(sum_ == ((value, value) if code == currency else _NOTHING) for code, sum_ in sums.items())
        for model, sums in booked.items()
    }
