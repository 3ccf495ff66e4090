"""Attribution models: how the credit for one conversion is divided among the touchpoints of its path.

One promise for all: ``weights(path, policy)`` gives one ``Fraction`` per touchpoint, none negative, together
exactly 1; for an empty path it gives none. Definitions and sources: docs/architecture.md, "Models".
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import Protocol

from attribution.errors import Misconfigured
from attribution.paths import Path
from attribution.policy import AttributionPolicy

Weights = tuple[Fraction, ...]
"""One per touchpoint of a path."""

NOTHING = Fraction(0)
WHOLE = Fraction(1)


class AttributionModel(Protocol):
    """Divides 1 among the touchpoints of a path."""

    def __call__(self, path: Path, policy: AttributionPolicy, /) -> Weights:
        """One weight per touchpoint of ``path``; exactly 1 in total; ``()`` for an empty path."""
        ...


MODELS: dict[str, AttributionModel] = {}
"""Every model by its public name."""


def model(weigh: AttributionModel) -> AttributionModel:
    """Decorator: register a function under its own name. It is never called with an empty path."""

    def weights(path: Path, policy: AttributionPolicy, /) -> Weights:
        return weigh(path, policy) if path.touchpoints else ()

    name: str = weigh.__name__  # type: ignore[attr-defined]
    weights.__name__ = name
    weights.__doc__ = weigh.__doc__
    MODELS[name] = weights
    return weights


def model_named(name: str) -> AttributionModel:
    """The model of that name. Raises ``Misconfigured`` with the valid names."""
    try:
        return MODELS[name]
    except KeyError:
        raise Misconfigured(
            f"There is no attribution model {name!r}.", f"Choose from {', '.join(MODELS)}."
        ) from None


def check_models(names: Iterable[str]) -> None:
    """Raise ``Misconfigured`` unless every name is that of a model."""
    for name in names:
        model_named(name)


def _only(index: int, count: int) -> Weights:
    return (NOTHING,) * index + (WHOLE,) + (NOTHING,) * (count - index - 1)


@lru_cache(maxsize=256)
def _evenly(count: int) -> Weights:
    return (Fraction(1, count),) * count


@lru_cache(maxsize=256)
def _by_position(count: int) -> Weights:
    if count <= 2:
        return _evenly(count)
    end = Fraction(2, 5)
    return (end, *(Fraction(1, 5 * (count - 2)),) * (count - 2), end)


@model
def first_touch(path: Path, policy: AttributionPolicy, /) -> Weights:
    """Everything to the first touchpoint."""
    return _only(0, len(path.touchpoints))


@model
def last_touch(path: Path, policy: AttributionPolicy, /) -> Weights:
    """Everything to the last touchpoint."""
    count = len(path.touchpoints)
    return _only(count - 1, count)


@model
def last_non_direct_touch(path: Path, policy: AttributionPolicy, /) -> Weights:
    """Everything to the last touchpoint whose channel is not Direct; if all are Direct, to the last."""
    touches = path.touchpoints
    for index in range(len(touches) - 1, -1, -1):
        if touches[index].acquisition.channel != "Direct":
            return _only(index, len(touches))
    return _only(len(touches) - 1, len(touches))


@model
def linear(path: Path, policy: AttributionPolicy, /) -> Weights:
    """The same to each."""
    return _evenly(len(path.touchpoints))


@model
def position_based(path: Path, policy: AttributionPolicy, /) -> Weights:
    """40 % to the first, 40 % to the last, 20 % shared by those between; two: half each; one: all."""
    return _by_position(len(path.touchpoints))


@model
def time_decay(path: Path, policy: AttributionPolicy, /) -> Weights:
    """2^(-t/h), t = time to the conversion, h = half-life of the policy, divided by the total.

    Exact and the same on every machine: the powers are integers (62 bits for the latest touchpoint), so the
    total is an integer and the weights are true fractions of it.
    """
    touches = path.touchpoints
    latest = touches[-1].touched_at
    half_life = policy.time_decay_half_life_ms
    # Relative to the latest touchpoint instead of to the conversion: the same after division by the total.
    units = [_halved(latest - touch.touched_at, half_life) for touch in touches]
    total = sum(units)
    return tuple([Fraction(unit, total) for unit in units])


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


_TABLES = _digit_tables()


def _halved(age: int, half_life: int) -> int:
    """2^62 x 2^(-age / half_life) in integers; relative error below 2^-44 while the result is large."""
    halvings, rest = divmod(age, half_life)
    fraction = (rest << 48) // half_life
    unit = _ONE
    for position, powers in enumerate(_TABLES):
        digit = fraction >> (40 - 8 * position) & 255
        if digit:
            unit = unit * powers[digit] >> _BITS
    return unit >> halvings
