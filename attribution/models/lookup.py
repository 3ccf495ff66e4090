"""Models by name, those that a policy brings along included."""

from __future__ import annotations

from functools import partial

from attribution.errors import Misconfigured
from attribution.models.custom import divide_custom
from attribution.models.registry import DIVISIONS, MODELS, AttributionModel, Division, weights_of
from attribution.policy import AttributionPolicy


def model_named(name: str, policy: AttributionPolicy) -> AttributionModel:
    """The model that ``policy`` calls so. Raises ``Misconfigured`` with the valid names."""
    found = MODELS.get(name)
    return weights_of(division_of(name, policy)) if found is None else found


def division_of(name: str, policy: AttributionPolicy) -> Division:
    """The division behind that model. Raises ``Misconfigured`` as ``model_named`` does."""
    found = DIVISIONS.get(name)
    if found is not None:
        return found
    custom = policy.custom_models.get(name)
    if custom is None:
        raise Misconfigured(
            f"There is no attribution model {name!r}.",
            f"Choose from {', '.join((*MODELS, *policy.custom_models))}.",
        )
    return partial(divide_custom, custom)


def check_models(policy: AttributionPolicy) -> None:
    """Raise ``Misconfigured`` unless every model that ``policy`` credits exists, and no name is taken twice."""
    for name in policy.custom_models:
        if name in MODELS:
            raise Misconfigured(
                f"The policy calls a model {name!r}, and there is one of that name.", "Rename it."
            )
    for name in policy.models:
        division_of(name, policy)
