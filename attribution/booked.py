"""A conversion whose bookings change: in which two steps the ledger follows, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from attribution.conversions import BookedValue, ConversionFact

_AMOUNT = "amount"
"""The cause of which nothing more is known than that the money is another."""


def is_booked_anew(old: ConversionFact, new: ConversionFact) -> bool:
    """Whether the conversion was worth something else at any instant, by what a sender told."""
    if not (old.is_told or new.is_told):
        return False
    return old.worths != new.worths or old.currency != new.currency


def under_bookings_of(old: ConversionFact, new: ConversionFact) -> ConversionFact:
    """``new`` as if it were worth what ``old`` was: what the path alone changes shows by it."""
    return msgspec.structs.replace(
        new, bookings=old.worths, currency=old.currency, revision=max(new.revision, 1)
    )


def cause_of_bookings(old: ConversionFact, new: ConversionFact) -> str:
    """Why the conversion is worth something else: the cause of the latest booking that only one of the two has."""
    if old.number and not new.number and new.bookings:
        return new.bookings[-1].cause
    was, now = Counter(_changes(old.worths)), Counter(_changes(new.worths))
    only_one = (now - was) or (was - now)
    return max(only_one)[1] if only_one else _AMOUNT


def _changes(worths: Sequence[BookedValue]) -> list[tuple[int, str, int, int]]:
    """(instant, cause, change of value, change of number) of each booking."""
    changes = []
    value = number = 0
    for one in worths:
        changes.append((one.booked_at, one.cause, one.value_minor - value, one.number - number))
        value, number = one.value_minor, one.number
    return changes
