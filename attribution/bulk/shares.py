"""Money and weights shared in whole units by largest remainder, for many paths at once.

The result is that of ``attribution.money.share_by_parts`` for each path, unit for unit. Small parts are divided in
integers. Parts as large as those of time decay (62 bits) are estimated in floating point with a bound on the error;
where the bound leaves a doubt, the path is shared one by one in exact integers.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from attribution import money
from attribution.bulk.paths import Ints, Parts, Paths, owners

_CHUNK = 1 << 11
"""Paths at a time: bounds the memory, and arrays of some 100 KB stay in the cache and with the process."""
_SMALL = 1 << 31
"""Products of two numbers below it fit 63 bits, and so do a path's number and a remainder below it."""
_ULP = 2.0**-50
"""Relative error of five roundings to 53 bits, and to spare."""
_ORDER = 2.0**-30
"""What putting fractions in order may confuse: they are compared as multiples of 2^-31."""

Floats = NDArray[np.float64]
_Number = TypeVar("_Number", bound=np.number[Any])


def share_by_parts(totals: Ints, parts: Parts, offsets: Ints) -> Ints:
    """Each path's total shared by its parts in whole units: largest remainder, ties to the earliest.

    ``totals`` has one number for each path (up to 2^62 either way), ``parts`` one for each touchpoint, ``offsets`` as
    in ``Paths``. Where all parts are 0 nobody gets anything; else the shares of a path add up to its total. A negative
    total is shared as the mirror image of the positive one.
    """
    shares = np.empty(len(parts), dtype=np.int64)
    for begin in range(0, len(totals), _CHUNK):
        end = min(begin + _CHUNK, len(totals))
        start, stop = offsets[begin], offsets[end]
        some = _Divided(np.abs(totals[begin:end]), parts[start:stop], offsets[begin : end + 1] - start)
        shares[start:stop] = some.shares
    if np.any(totals < 0):
        shares *= np.repeat(np.sign(totals), np.diff(offsets))
    return shares


def sum_by_channel(paths: Paths, shares: Ints) -> dict[str, int]:
    """What each channel gets in all. The sums must fit 63 bits."""
    sums = np.zeros(len(paths.names), dtype=np.int64)
    np.add.at(sums, paths.channels, shares)
    return dict(zip(paths.names, sums.tolist(), strict=True))


class _Divided:
    """The paths of one chunk, and what each touchpoint gets of its path's size."""

    def __init__(self, sizes: Ints, parts: Parts, offsets: Ints) -> None:
        self._counts = np.diff(offsets)
        self._first = offsets[:-1]
        self._owner = owners(offsets)
        self._sizes = sizes
        self._parts = parts
        largest = int(parts.max())
        if largest <= 1 and int(np.add.reduceat(parts, self._first).max()) <= 1:  # half of the models
            self.shares = self._spread(sizes) * parts.view(np.int64)
        elif largest * int(self._counts.max()) < _SMALL:
            self.shares = self._by_integers()
        else:
            self.shares = self._by_estimate()

    def _by_integers(self) -> Ints:
        """Parts of which no path has ``_SMALL`` or more in all."""
        parts = self._parts.view(np.int64)
        wholes = np.add.reduceat(parts, self._first)
        quotients, rests = np.divmod(np.where(wholes > 0, self._sizes, 0), np.maximum(wholes, 1))
        divisors = self._spread(np.maximum(wholes, 1))
        products = self._spread(rests) * parts
        more = products // divisors
        shares: Ints = self._spread(quotients) * parts
        shares += more
        uneven = _Uneven(rests - np.add.reduceat(more, self._first), self._counts, self._owner)
        more *= divisors
        products -= more
        shares[uneven.favoured(uneven.by_size(products[uneven.touches]))] += 1
        return shares

    def _by_estimate(self) -> Ints:
        """Parts of up to 64 bits."""
        # In halves of 32 bits: the sum of a path's parts may need more than 64.
        high = np.add.reduceat(self._parts >> np.uint64(32), self._first)
        wholes = high * 2.0**32 + np.add.reduceat(self._parts & np.uint64(0xFFFFFFFF), self._first)
        exact = self._spread(self._sizes / np.maximum(wholes, 1.0)) * self._parts
        floors = np.floor(exact)
        shares: Ints = floors.astype(np.int64)
        is_credited = wholes > 0
        is_alone = is_credited & (self._counts == 1)
        shares[self._first[is_alone]] = self._sizes[is_alone]
        errors = self._sizes * _ULP
        nearest = np.rint(exact)
        is_near = (np.abs(exact - nearest) <= self._spread(errors)) & (nearest > 0)
        in_doubt = np.logical_or.reduceat(is_near, self._first) & is_credited & ~is_alone
        left = self._sizes - np.add.reduceat(shares, self._first)
        left[in_doubt | ~is_credited] = 0
        uneven = _Uneven(left, self._counts, self._owner)
        fractions = (exact - floors)[uneven.touches]
        order = uneven.by_size((fractions * _SMALL).astype(np.int64))
        shares[uneven.favoured(order)] += 1
        smallest_favoured = uneven.first + uneven.left - 1
        gaps = fractions[order[smallest_favoured]] - fractions[order[smallest_favoured + 1]]
        in_doubt[uneven.paths[gaps <= 2 * errors[uneven.paths] + _ORDER]] = True
        for path in np.flatnonzero(in_doubt).tolist():
            here = slice(self._first[path], self._first[path] + self._counts[path])
            shares[here] = money.share_by_parts(int(self._sizes[path]), self._parts[here].tolist())
        return shares

    def _spread(self, values: NDArray[_Number]) -> NDArray[_Number]:
        """One value of each path, for each of its touchpoints."""
        return values[self._owner]


class _Uneven:
    """Those paths of a chunk that have units left to hand out: fewer than touchpoints."""

    def __init__(self, left: Ints, counts: Ints, owner: Ints) -> None:
        """``owner``: path of each touchpoint of the chunk."""
        self.paths = np.flatnonzero(left)
        self.touches = np.flatnonzero(left[owner])
        """Of these paths, in the chunk."""
        self.left = left[self.paths]
        self._owner = owner[self.touches]
        counts = counts[self.paths]
        self.first = np.cumsum(counts) - counts
        """Where each of these paths begins among ``touches``."""

    def by_size(self, remainders: Ints) -> NDArray[np.intp]:
        """Indexes into ``touches``, path after path, the largest remainder first and of equal ones the earliest.

        Remainders are below ``_SMALL``.
        """
        return np.argsort((self._owner + 1) * _SMALL - remainders, kind="stable")

    def favoured(self, order: NDArray[np.intp]) -> Ints:
        """The touchpoints in the chunk that get a unit more: the first ones of each path in that order."""
        first = np.cumsum(self.left) - self.left
        places = np.arange(int(self.left.sum())) + np.repeat(self.first - first, self.left)
        found: Ints = self.touches[order[places]]
        return found
