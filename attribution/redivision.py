"""What one policy changes against another where both choose the same path: only how it is divided.

Then a conversion is restated from its statement, which holds the path: nobody's past has to be read again, and models
that divide as before keep what they gave.
"""

from __future__ import annotations

from typing import NamedTuple

from attribution.policy import AttributionPolicy, CustomKind, SinceLast

_DIVIDING = frozenset(
    (
        *("models", "time_decay_half_life_ms", "learnt", "custom_models", "plugins", "paid_channels"),
        *("lead_events", "opportunity_events"),
    )
)
"""Rules that say how a path is divided, and nothing of which touchpoints are on it. Any other rule may."""
_OF_TYPE = frozenset(("conversion_lookbacks_ms", "kind_lookbacks_ms"))
"""Rules that have a part for each type of conversion."""
_BY_MOMENTS = frozenset(("w_shaped", "full_path"))
"""Models that look at moments of the deal, which a statement does not hold."""
_RULES = tuple(name for name in AttributionPolicy.__struct_fields__ if name not in _DIVIDING | _OF_TYPE)


class Redivision(NamedTuple):
    """How statements under one policy become those under another."""

    stays: frozenset[str]
    """Models of the new policy that divide as they did under the old one."""
    is_same: bool
    """Nothing changes at all."""


def redivision(old: AttributionPolicy, new: AttributionPolicy, type_: str) -> Redivision | None:
    """None when conversions of ``type_`` may have another path, or a model has to know more than their statements.

    Policies with plug-ins are never compared: what is installed under a name may have become another.
    """
    if old.plugins or new.plugins or _path_rules(old, type_) != _path_rules(new, type_):
        return None
    stays = frozenset(
        name for name in new.models if name in old.models and _division(old, name) == _division(new, name)
    )
    if any(_needs_moments(new, name) for name in new.models if name not in stays):
        return None
    return Redivision(stays, old.models == new.models and len(stays) == len(new.models))


def _path_rules(policy: AttributionPolicy, type_: str) -> tuple[object, ...]:
    # Whose conversions cut the path of ``type_`` is a matter of all types.
    is_any = policy.since_last_conversion is SinceLast.any_type
    return (
        *(getattr(policy, name) for name in _RULES),
        policy.conversion_lookbacks_ms.get(type_),
        policy.kind_lookbacks_ms.get(type_),
        sorted(policy.conversion_lookbacks_ms) if is_any else None,
    )


def _division(policy: AttributionPolicy, name: str) -> tuple[object, ...]:
    """Everything that the model divides by."""
    stages = (policy.lead_events, policy.opportunity_events)
    if name in policy.learnt:
        return (policy.learnt[name],)
    if name in policy.custom_models:
        return (policy.custom_models[name], policy.time_decay_half_life_ms, policy.all_paid_channels, *stages)
    if name in _BY_MOMENTS:
        return stages
    if name == "time_decay":
        return (policy.time_decay_half_life_ms,)
    return (policy.all_paid_channels,) if name in ("first_paid_touch", "last_paid_touch") else ()


def _needs_moments(policy: AttributionPolicy, name: str) -> bool:
    custom = policy.custom_models.get(name)
    if custom is not None and custom.kind is CustomKind.model:
        name = custom.model
    return name in _BY_MOMENTS
