"""The frozen, versioned rules that decide sessions, touchpoints, conversions and credit."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import cached_property

import msgspec

from attribution.persons import IdentityRules

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class SessionSwitch(StrEnum):
    """What besides a pause starts a new session."""

    nothing = "nothing"
    tagged_or_paid = "tagged_or_paid"
    """A UTM-tagged hit or a paid click id that differs from the session's (default)."""
    any_external = "any_external"
    """Any new external source, plain referrers included."""


class AttributionPolicy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All rules of one installation. Spans are milliseconds. ``version`` names its content."""

    session_gap_ms: int = 30 * MINUTE_MS
    session_cap_ms: int = DAY_MS
    session_switch: SessionSwitch = SessionSwitch.tagged_or_paid
    max_hits_per_visitor: int = 20_000
    conversion_lookbacks_ms: dict[str, int] = msgspec.field(
        default_factory=lambda: {"purchase": 90 * DAY_MS, "lead": 30 * DAY_MS, "sign_up": 30 * DAY_MS}
    )
    """Conversion type (= event name) to lookback window; only these events are conversions."""
    time_decay_half_life_ms: int = 7 * DAY_MS
    models: tuple[str, ...] = (
        "first_touch",
        "last_touch",
        "last_non_direct_touch",
        "linear",
        "position_based",
        "time_decay",
    )
    learnt: dict[str, str] = {}
    """Learnt model to the version of the table that it divides by; such a model is among ``models``, too."""
    identity: IdentityRules = IdentityRules()
    """Which ids make one person of several visitors."""

    @cached_property
    def session_rules(self) -> tuple[int, int, str]:
        """(gap ms, cap ms, switch): the part that decides sessions. Asked for every visitor of every batch."""
        return (self.session_gap_ms, self.session_cap_ms, self.session_switch.value)

    @cached_property
    def blocked_ids(self) -> frozenset[str]:
        """Values that stand for nobody here, besides those that do everywhere."""
        return frozenset(self.identity.blocked_ids)

    @property
    def version(self) -> str:
        """Ten hex digits that change whenever any rule changes."""
        return hashlib.blake2b(msgspec.json.encode(self, order="deterministic"), digest_size=5).hexdigest()
