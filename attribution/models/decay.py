"""Credit by age: the nearer to the conversion, the more."""

from __future__ import annotations

from math import isqrt

from attribution.models.registry import Parts, model
from attribution.paths import Path
from attribution.policy import AttributionPolicy


@model
def time_decay(path: Path, policy: AttributionPolicy, /) -> Parts:
    """2^(-t/h), t = time to the conversion, h = half-life of the policy, divided by the total.

    Exact and the same on every machine: the powers are integers (62 bits for the latest touchpoint).
    """
    return by_age(path, policy.time_decay_half_life_ms)


def by_age(path: Path, half_life_ms: int) -> Parts:
    """``time_decay`` with another half-life."""
    touches = path.touchpoints
    latest = touches[-1].touched_at
    # Relative to the latest touchpoint instead of to the conversion: the same after division by the total.
    return tuple([_halved(latest - touch.touched_at, half_life_ms) for touch in touches])


_BITS = 62
_ONE = 1 << _BITS


def _digit_tables() -> list[list[int]]:
    """For each of six base-256 digits of a binary fraction f: 2^(-digit part), scaled by 2^62."""
    tables = []
    root = _ONE >> 1  # 2^-1, then repeated square roots: 2^-1/2, 2^-1/4, ...
    for _ in range(6):
        for _ in range(8):
            root = isqrt(root << _BITS)
        powers = [_ONE]
        for _ in range(255):
            powers.append(powers[-1] * root >> _BITS)
        tables.append(powers)
    return tables


DIGIT_TABLES = _digit_tables()
"""Also of ``attribution.bulk``, which must give the same powers."""


def _halved(age: int, half_life: int) -> int:
    """2^62 x 2^(-age / half_life) in integers; relative error below 2^-44 while the result is large."""
    halvings, rest = divmod(age, half_life)
    fraction = (rest << 48) // half_life
    unit = _ONE
    for position, powers in enumerate(DIGIT_TABLES):
        digit = fraction >> (40 - 8 * position) & 255
        if digit:
            unit = unit * powers[digit] >> _BITS
    return unit >> halvings
