"""Settings into the configuration of each part: the only place that knows them all."""

from __future__ import annotations

from attribution.models import check_models
from attribution.policy import MINUTE_MS, AttributionPolicy
from runtime.settings import Settings, lookbacks_of


def policy_of(settings: Settings) -> AttributionPolicy:
    """The attribution policy that the settings describe."""
    policy = AttributionPolicy(
        session_gap_ms=settings.session_gap_minutes * MINUTE_MS,
        session_switch=settings.session_switch,
        conversion_lookbacks_ms=lookbacks_of(settings.conversion_lookbacks),
    )
    check_models(policy.models)
    return policy


def words_of(text: str) -> tuple[str, ...]:
    """The non-empty parts of a comma-separated setting."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
