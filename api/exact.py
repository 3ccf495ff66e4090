"""Sums of products of whole numbers that have more than 64 bits, in arrays of 64-bit ones. Pure.

Python's integers would give the same, an object for each: many times slower.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attribution.bulk.persons import Numbers

Exact = NDArray[np.object_]
"""Whole numbers of any size."""
Parts = tuple[tuple[int, Numbers], ...]
"""Whole numbers as a sum: each part stands for so many times what is in its column."""

_LOW_BITS = 62
"""Of a number of any size: its column is not negative, and the next one holds 63 bits and the sign."""
_HALF_BITS = 32
_HALF = (1 << _HALF_BITS) - 1


def parts_of(numbers: Exact) -> Parts:
    """``numbers``, each of at most 125 bits. Raises ``OverflowError`` beyond them."""
    low = (numbers & ((1 << _LOW_BITS) - 1)).astype(np.int64)
    return (1, low), (1 << _LOW_BITS, (numbers >> _LOW_BITS).astype(np.int64))


def sums_of_products(shares: Numbers, parts: Parts, places: Numbers, which: Numbers, count: int) -> Exact:
    """By ``which``, numbers below ``count``: the sum of ``shares`` times what ``parts`` have at ``places``.

    Shares are below 2^30 and rows below 2^31: so nothing below leaves 64 bits.
    """
    total: Exact = np.zeros(count, dtype=object)
    for scale, column in parts:
        numbers = column[places]
        for shift, half in ((0, numbers & _HALF), (_HALF_BITS, numbers >> _HALF_BITS)):
            if half.any():
                product = shares * half
                low = sums(product & _HALF, which, count).astype(object)
                high = sums(product >> _HALF_BITS, which, count).astype(object)
                total += (low + (high << _HALF_BITS)) * (scale << shift)
    return total


def sums(numbers: Numbers, which: Numbers, count: int) -> Numbers:
    """The sum of ``numbers`` by ``which``, numbers below ``count``. It has to fit into 64 bits."""
    found = np.zeros(count, dtype=np.int64)
    np.add.at(found, which, numbers)
    return found


def numbered(keys: Numbers, bound: int) -> tuple[Numbers, Numbers]:
    """The different ``keys`` in order, and of each key its place among them. Keys are from 0 to below ``bound``."""
    if bound > 4 * len(keys) + (1 << 16):
        different, places = np.unique(keys, return_inverse=True)
        return different, places
    # Without sorting: as many flags as there may be keys are less than that.
    is_there = np.zeros(bound, dtype=np.bool_)
    is_there[keys] = True
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[keys]
