"""What each group of a question has acquired: new customers, what they brought to date, and when that paid back. Pure.

A group has a share of a customer as the model asked for credits his first conversion: so new customers add up over
groups, and what he has brought since is shared alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from api.customers import DIGITS, Brought, Known
from api.exact import Exact, numbered, sums, sums_of_products
from attribution.bulk.persons import Names, places_in
from attribution.bulk.persons import Numbers as Whole

_SHARE_DIGITS = 9
_COMPARED_DIGITS = 6
"""What was converted is cut off at some decimal: margin and spend are compared in millionths, as spend is kept."""


class Acquired(NamedTuple):
    """Of one group."""

    new_customers: Decimal
    lifetime: Decimal
    """What those of them whose money is counted have brought to date, in the currency asked for."""
    rated: Decimal
    """How many those are."""
    payback_days: int | None


def acquired_by(
    groups: Sequence[Sequence[int]], known: Known, spent: Sequence[Decimal] | None, margin: Decimal
) -> list[Acquired]:
    """What each of ``groups`` has acquired, of conversions and shares in turns (``grouped_customers.sql``).

    ``spent``: beside each group; ``None`` = payback is not asked for. ``margin``: the part of revenue that is.
    """
    group, place, share = _of_firsts(groups, known)
    count = len(groups)
    new = rated = sums(share, group, count)
    lifetime: Exact = np.zeros(count, dtype=object)
    days: Sequence[int | None] = [None] * count
    if known.brought is not None:
        its = known.are_rated[place]
        rated = sums(share[its], group[its], count)
        row, booking = _bookings(place, known.brought)
        if not its.all():
            counted = its[row]
            lifetime = sums_of_products(
                share[row[counted]], known.brought.amounts, booking[counted], group[row[counted]], count
            )
        else:
            lifetime = sums_of_products(share[row], known.brought.amounts, booking, group[row], count)
        if spent is not None:
            days = _payback(group[row], share[row], booking, known.brought, spent, margin)
    return [
        Acquired(
            _decimal(int(one), _SHARE_DIGITS),
            _decimal(int(worth), _SHARE_DIGITS + DIGITS),
            _decimal(int(two), 9),
            day,
        )
        for one, worth, two, day in zip(new, lifetime, rated, days, strict=True)
    ]


def _of_firsts(groups: Sequence[Sequence[int]], known: Known) -> tuple[Whole, Whole, Whole]:
    """Number of the group, place of the customer, share: of all conversions that made somebody a customer."""
    flat = [np.array(row, dtype=np.uint64).reshape(-1, 2) for row in groups]
    every: Names = np.concatenate([*flat, np.zeros((0, 2), dtype=np.uint64)])
    group = np.repeat(np.arange(len(flat)), [len(one) for one in flat])
    place, is_first = places_in(known.firsts, every[:, 0])
    many = len(known.firsts)
    cells, which = numbered(group[is_first] * many + place[is_first], len(flat) * many)
    share = sums(every[is_first, 1].view(np.int64), which, len(cells))
    # What was credited and taken back is no share.
    cells, share = cells[share != 0], share[share != 0]
    return cells // max(many, 1), cells % max(many, 1), share


def _bookings(place: Whole, brought: Brought) -> tuple[Whole, Whole]:
    """What customers have booked: places in ``place``, each as often as its customer has some, and in ``brought``."""
    counts = brought.starts[place + 1] - brought.starts[place]
    row = np.repeat(np.arange(len(place)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, brought.starts[place[row]] + within


def _payback(
    group: Whole, share: Whole, booking: Whole, brought: Brought, spent: Sequence[Decimal], margin: Decimal
) -> list[int | None]:
    days: list[int | None] = [None] * len(spent)
    millionth = Fraction(margin) / 10 ** (_SHARE_DIGITS + DIGITS - _COMPARED_DIGITS)
    for number, ages, amounts in _by_age(group, share, booking, brought, len(spent)):
        days[number] = _reached(ages, amounts, millionth, round(spent[number].scaleb(_COMPARED_DIGITS)))
    return days


def _reached(ages: Sequence[int], amounts: Sequence[int], millionth: Fraction, wanted: int) -> int | None:
    """The age from which on all that has come is enough; ``None`` if it is not now."""
    since: int | None = 0 if wanted <= 0 else None
    for age, sum_so_far in zip(ages, accumulate(amounts), strict=True):
        if round(sum_so_far * millionth) < wanted:
            since = None
        elif since is None:
            since = age
    return since


def _by_age(
    group: Whole, share: Whole, booking: Whole, brought: Brought, count: int
) -> Iterator[tuple[int, Sequence[int], Sequence[int]]]:
    """Of each group that has customers: what has come by age, in whole days, and its share of that."""
    oldest = int(brought.ages.max(initial=0)) + 1
    key, which = numbered(group * oldest + brought.ages[booking], count * oldest)
    by_age = sums_of_products(share, brought.amounts, booking, which, len(key))
    bounds = np.flatnonzero(np.diff(key // oldest, prepend=-1))
    for begin, end in pairwise([*bounds, len(key)]):
        yield int(key[begin] // oldest), (key[begin:end] % oldest).tolist(), by_age[begin:end].tolist()


def _decimal(number: int, digits: int) -> Decimal:
    return Decimal(f"{number}e-{digits}")
