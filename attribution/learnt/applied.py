"""The models of a policy, ready to divide: rule models by name, learnt ones by the tables that the policy names."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from attribution.errors import Misconfigured
from attribution.learnt.tables import LearntTable
from attribution.models import Division, division_of
from attribution.policy import AttributionPolicy

Models = tuple[tuple[str, Division], ...]
"""Name and division of each model of a policy, in the policy's order."""


def models_of(policy: AttributionPolicy, tables: Mapping[str, LearntTable] | None = None) -> Models:
    """The models of ``policy``; ``tables`` by version, at least those of ``policy.learnt``.

    Raises ``Misconfigured`` for an unknown model and for a table that is missing.
    """
    return tuple((name, _division_of(name, policy, tables or {})) for name in policy.models)


def _division_of(name: str, policy: AttributionPolicy, tables: Mapping[str, LearntTable]) -> Division:
    version = policy.learnt.get(name)
    if version is None:
        return division_of(name, policy)
    if version not in tables:
        raise Misconfigured(f"The learnt table {version} of {name} is missing.", "Run `headwater learn`.")
    return tables[version].division


def with_learnt(policy: AttributionPolicy, active: Mapping[str, str]) -> AttributionPolicy:
    """``policy`` with the learnt models of ``active`` (model to table version) beside its own."""
    if not active:
        return policy
    new = [name for name in sorted(active) if name not in policy.models]
    return msgspec.structs.replace(policy, models=(*policy.models, *new), learnt=dict(sorted(active.items())))
