"""Powers of one half in integers, for many ages at once: bit for bit those of ``attribution.models.decay``."""

from __future__ import annotations

from functools import cache

import numpy as np

from attribution.bulk.paths import Ints, Parts
from attribution.models.decay import DIGIT_TABLES

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
MAX_HALF_LIFE_MS = 1 << 55
"""A million years; beyond that the digits of an age's fraction do not fit 64 bits."""


@cache
def _powers() -> list[tuple[Parts, Parts]]:
    """Of each digit: upper and lower 32 bits of its powers."""
    tables = [np.array(table, dtype=np.uint64) for table in DIGIT_TABLES]
    return [(table >> _HALF, table & _LOW) for table in tables]


def halved(ages: Ints, half_life: int) -> Parts:
    """2^62 x 2^(-age / half_life), rounded down as one age at a time is.

    Raises ``ValueError`` for a half-life of ``MAX_HALF_LIFE_MS`` or more.
    """
    if half_life >= MAX_HALF_LIFE_MS:
        raise ValueError(f"half-life of {half_life} ms")
    halvings = ages // half_life
    rest = ages - halvings * half_life
    (high, low), *others = _powers()
    digits, rest = _next_digits(rest, half_life)
    unit: Parts = high[digits] << _HALF | low[digits]
    for high, low in others:
        digits, rest = _next_digits(rest, half_life)
        unit = _scaled(unit, high[digits], low[digits])
    return unit >> np.minimum(halvings, 63).astype(np.uint64)


def _next_digits(rest: Ints, half_life: int) -> tuple[Ints, Ints]:
    """One step of long division: the next digits, base 256, of fractions of the half-life, and what rests."""
    shifted = rest << 8
    digits = shifted // half_life
    return digits, shifted - digits * half_life


def _scaled(unit: Parts, high: Parts, low: Parts) -> Parts:
    """``unit * (high * 2^32 + low) >> 62`` of numbers up to 2^62: the upper bits of a product of 32 bits by 32 bits."""
    unit_high, unit_low = unit >> _HALF, unit & _LOW
    middle = unit_high * low + unit_low * high + (unit_low * low >> _HALF)
    scaled: Parts = (unit_high * high + (middle >> _HALF)) << np.uint64(2) | middle >> np.uint64(
        30
    ) & np.uint64(3)
    return scaled
