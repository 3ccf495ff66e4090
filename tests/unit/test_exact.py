"""Sums of large products in arrays of 64-bit numbers are Python's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.exact import numbered, parts_of, sums_of_products

_SHARES = st.integers(-(10**9), 10**9)
_LARGE = st.one_of(st.integers(-(2**124), 2**124), st.integers(-(2**33), 2**33))
_STORED = st.integers(-(2**63), 2**63 - 1)
_ROWS = st.lists(st.tuples(st.integers(0, 3), _SHARES, _LARGE, _STORED), max_size=40)


@given(rows=_ROWS)
def test_sums_of_products_are_pythons(rows: list[tuple[int, int, int, int]]) -> None:
    """Of numbers that are their place's, in the reverse order, as those of another scale beside them are."""
    which, shares, large, stored = zip(*rows, strict=True) if rows else ((), (), (), ())
    parts = (*parts_of(np.array(large, dtype=object)), (10**14, np.array(stored, dtype=np.int64)))
    places = np.arange(len(rows))[::-1]
    found = sums_of_products(
        np.array(shares, dtype=np.int64)[::-1],
        parts,
        places.astype(np.int64),
        np.array(which, dtype=np.int64)[::-1],
        4,
    )
    expected = [sum(s * (a + b * 10**14) for w, s, a, b in rows if w == number) for number in range(4)]
    assert found.tolist() == expected


def test_many_of_the_largest_do_not_overflow() -> None:
    count = 100_000
    shares = np.full(count, -(10**9))
    parts = ((1, np.full(count, -(2**63))), (2**62, np.full(count, 2**63 - 1)))
    rows = np.arange(count)
    (found,) = sums_of_products(shares, parts, rows, np.zeros(count, dtype=np.int64), 1)
    assert found == -(10**9) * count * (-(2**63) + 2**62 * (2**63 - 1))


def test_what_has_too_many_bits_is_no_wrong_number() -> None:
    with pytest.raises(OverflowError):
        parts_of(np.array([2**125], dtype=object))


@given(keys=st.lists(st.integers(0, 99), max_size=20), bound=st.sampled_from([100, 10**9]))
def test_different_keys_are_those_of_sorting(keys: list[int], bound: int) -> None:
    """With a flag for each that there may be, and without."""
    different, places = numbered(np.array(keys, dtype=np.int64), bound)
    assert different.tolist() == sorted(set(keys))
    assert different[places].tolist() == keys
