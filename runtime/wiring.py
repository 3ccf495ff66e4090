"""Settings into the configuration of each part: the only place that knows them all."""

from __future__ import annotations

from attribution.errors import Misconfigured
from attribution.models import check_models
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy
from runtime.settings import Settings


def policy_of(settings: Settings) -> AttributionPolicy:
    """The attribution policy that the settings describe. Raises ``Misconfigured``."""
    policy = AttributionPolicy(
        session_gap_ms=settings.session_gap_minutes * MINUTE_MS,
        session_switch=settings.session_switch,
        conversion_lookbacks_ms=_lookbacks(settings.conversion_lookbacks),
    )
    check_models(policy.models)
    return policy


def _lookbacks(text: str) -> dict[str, int]:
    lookbacks: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, days = part.partition("=")
        if not name or not days.isdigit() or int(days) < 1:
            raise Misconfigured(
                f"HEADWATER_CONVERSION_LOOKBACKS has {part!r}.",
                "Write event=days pairs, such as purchase=90,lead=30.",
            )
        lookbacks[name.strip()] = int(days) * DAY_MS
    if not lookbacks:
        raise Misconfigured(
            "HEADWATER_CONVERSION_LOOKBACKS is empty.", "Name at least one, such as purchase=90."
        )
    return lookbacks


def words_of(text: str) -> tuple[str, ...]:
    """The non-empty parts of a comma-separated setting."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
