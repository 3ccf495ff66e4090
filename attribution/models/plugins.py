"""Models from outside: the same promise as ours, checked for every path, because nobody here has read their code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import lcm
from typing import Any

from attribution.acquisition import DIRECT, Acquisition
from attribution.errors import Misconfigured
from attribution.models.registry import DIVISIONS, MODELS, AttributionModel, Parts, register
from attribution.paths import Path
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.touchpoints import Touchpoint


class ModelFailed(Misconfigured):
    """A plug-in raised, or broke the promise of a model, on one path: the worker stops, and no credit is written."""

    def __init__(self, model: str, what: str) -> None:
        super().__init__(
            f"The model {model!r}, a plug-in, {what}.",
            "Repair the plug-in, or take the model out of the policy.",
        )


def add_plugin(name: str, weigh: AttributionModel) -> None:
    """Make ``weigh`` the model ``name``. Raises ``Misconfigured`` when the name is taken, ``ModelFailed`` when it fails
    on a path of the trial."""
    if name in MODELS:
        raise Misconfigured(
            f"A plug-in calls its model {name!r}, and there is one of that name.",
            "Rename its entry point, or uninstall it.",
        )

    def divide(path: Path, policy: AttributionPolicy, /) -> Parts:
        return _checked(name, weigh, path, policy)

    for path in trial_paths():
        divide(path, AttributionPolicy())
    register(name, divide, weigh.__doc__ or "A plug-in.")


def remove_plugin(name: str) -> None:
    """Forget the model ``name`` again."""
    del MODELS[name], DIVISIONS[name]


def _checked(name: str, weigh: AttributionModel, path: Path, policy: AttributionPolicy) -> Parts:
    try:
        weights: Any = weigh(path, policy)
    except Exception as error:
        raise ModelFailed(name, f"raised {error!r}") from error
    if not isinstance(weights, Sequence) or len(weights) != len(path.touchpoints):
        raise ModelFailed(name, "did not give one weight per touchpoint")
    # A bool is an int, and a float would not add up to one.
    if any(isinstance(weight, bool) or not isinstance(weight, (int, Fraction)) for weight in weights):
        raise ModelFailed(name, "gave a weight that is neither Fraction nor int")
    if any(weight < 0 for weight in weights):
        raise ModelFailed(name, "gave a negative weight")
    if sum(weights) not in (0, 1):
        raise ModelFailed(name, f"gave weights that add up to {sum(weights)}, not to 1 (or all 0: nobody)")
    whole = lcm(*(Fraction(weight).denominator for weight in weights))
    return tuple([int(weight * whole) for weight in weights])


def trial_paths() -> Iterable[Path]:
    """Paths on which a model is tried before it is trusted: short, long, tied, all Direct, with and without stages."""
    now = 1_760_000_000_000
    ways = (
        DIRECT,
        Acquisition("Paid Search", "google", "cpc", campaign="spring", is_tagged_or_paid=True),
        Acquisition("Organic Search", "google", "organic"),
    )

    def path(
        ages: Sequence[int], kinds: Sequence[int], lead: int | None = None, deal: int | None = None
    ) -> Path:
        touches = [
            Touchpoint(f"{number:032x}", "v", "s", now - age, ways[kind], "/")
            for number, (age, kind) in enumerate(zip(ages, kinds, strict=True))
        ]
        lead_at, opportunity_at = [None if age is None else now - age for age in (lead, deal)]
        return Path(tuple(touches), now, "purchase", lead_at, opportunity_at)

    for kind in range(len(ways)):
        yield path([0], [kind])
        yield path([5 * DAY_MS, 0], [kind, 0])
    yield path([3, 3, 3, 3], [0, 0, 0, 0])
    yield path([90 * DAY_MS, 60 * DAY_MS, DAY_MS, DAY_MS, 1], [1, 0, 2, 1, 0], 30 * DAY_MS, DAY_MS)
    yield path([90 * DAY_MS, 60 * DAY_MS, 1], [2, 1, 0], 91 * DAY_MS)
    yield path(range(999, -1, -1), [number % len(ways) for number in range(1000)], 500)
