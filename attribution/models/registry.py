"""The promise that every attribution model keeps, and all models by name.

``weights(path, policy)`` gives one ``Fraction`` per touchpoint, none negative. They add up to exactly 1, or all are 0
when the model credits none of them (paid models on a path without a paid touch): then the conversion is unattributed
under that model. For an empty path it gives none.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from attribution.paths import Path
from attribution.policy import AttributionPolicy

Weights = tuple[Fraction, ...]
"""One per touchpoint of a path."""

Parts = tuple[int, ...]
"""Whole numbers, one per touchpoint, none negative: the weights are to each other as these are."""


class AttributionModel(Protocol):
    """Divides 1 among the touchpoints of a path, or gives nothing to any."""

    def __call__(self, path: Path, policy: AttributionPolicy, /) -> Weights:
        """One weight per touchpoint of ``path``; exactly 1 or 0 in total; ``()`` for an empty path."""
        ...


MODELS: dict[str, AttributionModel] = {}
"""Every model by its public name."""


class Division(Protocol):
    """The same as an ``AttributionModel``, in whole numbers: fractions are slow, and the ledger needs none."""

    def __call__(self, path: Path, policy: AttributionPolicy, /) -> Parts:
        """One number per touchpoint of ``path``; all 0 = nobody is credited. Never called with an empty path."""
        ...


DIVISIONS: dict[str, Division] = {}
"""The division behind every model, by the model's public name."""


def model(divide: Division) -> Division:
    """Decorator: register a function and the model that it makes under its own name."""
    name: str = divide.__name__  # type: ignore[attr-defined]
    register(name, divide, divide.__doc__ or "")
    return divide


def register(name: str, divide: Division, doc: str) -> None:
    """Make ``divide`` the model ``name``, which is free."""
    weights = weights_of(divide)
    weights.__name__ = name  # type: ignore[attr-defined]
    weights.__doc__ = doc
    MODELS[name], DIVISIONS[name] = weights, divide


def weights_of(divide: Division) -> AttributionModel:
    """The model that divides as ``divide``."""

    def weights(path: Path, policy: AttributionPolicy, /) -> Weights:
        if not path.touchpoints:
            return ()
        parts = divide(path, policy)
        whole = sum(parts) or 1
        return tuple([Fraction(part, whole) for part in parts])

    return weights


def only(index: int, count: int) -> Parts:
    """Everything to one of ``count`` touchpoints."""
    return (0,) * index + (1,) + (0,) * (count - index - 1)
