"""Attribution models: how the credit for one conversion is divided among the touchpoints of its path.

One promise for all: ``weights(path, policy)`` gives one ``Fraction`` per touchpoint, none negative, together
exactly 1; for an empty path it gives none. Definitions and sources: docs/architecture.md, "Models".
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from math import isqrt
from typing import Protocol

from attribution.errors import Misconfigured
from attribution.paths import Path
from attribution.policy import AttributionPolicy

Weights = tuple[Fraction, ...]
"""One per touchpoint of a path."""

Parts = tuple[int, ...]
"""Whole numbers, one per touchpoint, none negative: the weights are to each other as these are."""


class AttributionModel(Protocol):
    """Divides 1 among the touchpoints of a path."""

    def __call__(self, path: Path, policy: AttributionPolicy, /) -> Weights:
        """One weight per touchpoint of ``path``; exactly 1 in total; ``()`` for an empty path."""
        ...


MODELS: dict[str, AttributionModel] = {}
"""Every model by its public name."""


class Division(Protocol):
    """The same as an ``AttributionModel``, in whole numbers: fractions are slow, and the ledger needs none."""

    def __call__(self, path: Path, policy: AttributionPolicy, /) -> Parts:
        """One number per touchpoint of ``path``, not all of them zero; never called with an empty path."""
        ...


DIVISIONS: dict[str, Division] = {}
"""The division behind every model, by the model's public name."""


def model(divide: Division) -> Division:
    """Decorator: register a function and the model that it makes under its own name."""

    def weights(path: Path, policy: AttributionPolicy, /) -> Weights:
        if not path.touchpoints:
            return ()
        parts = divide(path, policy)
        whole = sum(parts)
        return tuple([Fraction(part, whole) for part in parts])

    name: str = divide.__name__  # type: ignore[attr-defined]
    weights.__name__ = name
    weights.__doc__ = divide.__doc__
    MODELS[name], DIVISIONS[name] = weights, divide
    return divide


def model_named(name: str) -> AttributionModel:
    """The model of that name. Raises ``Misconfigured`` with the valid names."""
    try:
        return MODELS[name]
    except KeyError:
        raise Misconfigured(
            f"There is no attribution model {name!r}.", f"Choose from {', '.join(MODELS)}."
        ) from None


def division_of(name: str) -> Division:
    """The division behind the model of that name. Raises ``Misconfigured`` as ``model_named`` does."""
    model_named(name)
    return DIVISIONS[name]


def check_models(names: Iterable[str]) -> None:
    """Raise ``Misconfigured`` unless every name is that of a model."""
    for name in names:
        model_named(name)


def _only(index: int, count: int) -> Parts:
    return (0,) * index + (1,) + (0,) * (count - index - 1)


@model
def first_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the first touchpoint."""
    return _only(0, len(path.touchpoints))


@model
def last_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the last touchpoint."""
    count = len(path.touchpoints)
    return _only(count - 1, count)


@model
def last_non_direct_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the last touchpoint whose channel is not Direct; if all are Direct, to the last."""
    touches = path.touchpoints
    for index in range(len(touches) - 1, -1, -1):
        if touches[index].acquisition.channel != "Direct":
            return _only(index, len(touches))
    return _only(len(touches) - 1, len(touches))


@model
def linear(path: Path, policy: AttributionPolicy, /) -> Parts:
    """The same to each."""
    return (1,) * len(path.touchpoints)


@model
def position_based(path: Path, policy: AttributionPolicy, /) -> Parts:
    """40 % to the first, 40 % to the last, 20 % shared by those between; two: half each; one: all."""
    count = len(path.touchpoints)
    if count <= 2:
        return (1,) * count
    # 2/5, as often 1 / (5 x those between) as there are between, 2/5.
    end = 2 * (count - 2)
    return (end, *(1,) * (count - 2), end)


@model
def time_decay(path: Path, policy: AttributionPolicy, /) -> Parts:
    """2^(-t/h), t = time to the conversion, h = half-life of the policy, divided by the total.

    Exact and the same on every machine: the powers are integers (62 bits for the latest touchpoint).
    """
    touches = path.touchpoints
    latest = touches[-1].touched_at
    half_life = policy.time_decay_half_life_ms
    # Relative to the latest touchpoint instead of to the conversion: the same after division by the total.
    return tuple([_halved(latest - touch.touched_at, half_life) for touch in touches])


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
