"""The policy as a TOML file: what each key means, and how a file becomes an ``AttributionPolicy``.

Every key and its default: docs/policies.md. What a file does not say stays as the ``base`` policy has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from pydantic import Field

from attribution.channel_rules import (
    BRAND_CHANNELS,
)
from attribution.channels import CHANNELS
from attribution.errors import Misconfigured
from attribution.models import MODELS
from attribution.policy import (
    DAY_MS,
    MINUTE_MS,
    AttributionPolicy,
    CustomModel,
)
from attribution.policy_tables import (
    HOUR_MS,
    BrandTable,
    ChannelsTable,
    ConversionTable,
    CreditTable,
    Event,
    IdentityTable,
    Model,
    ReferrersTable,
    SessionsTable,
    StagesTable,
    Table,
    TouchesTable,
    ViewsTable,
    said_days,
    said_ms,
    to_ms,
)
from attribution.toml_text import FaultyText, read_toml
from attribution.touchpoints import TouchKind

LEARNT_MODELS = frozenset(("markov", "shapley"))
"""Names of models that are learnt, and never credited because a file says so."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class PolicyFileError(Misconfigured):
    """A policy file is wrong; ``lines`` has one line for each thing that is."""

    def __init__(self, file: str, lines: list[str]) -> None:
        more = f" ({len(lines) - 1} more: headwater policy check {file})" if len(lines) > 1 else ""
        super().__init__(f"{file}: {lines[0]}{more}", "")
        self.lines = lines


def parse_policy(
    text: str, base: AttributionPolicy, *, file: str = "policy.toml", plugins: Mapping[str, str] | None = None
) -> AttributionPolicy:
    """``base`` with everything that ``text``, a policy file, says.

    ``plugins``: name of each installed plug-in model to its distribution. Raises ``PolicyFileError``.
    """
    said = read_policy(text, file)
    try:
        return said.apply(base, plugins or {})
    except ValueError as error:
        raise PolicyFileError(file, [str(error)]) from error


def read_policy(text: str, file: str) -> PolicyFile:
    """What a policy file says. Raises ``PolicyFileError``."""
    try:
        return read_toml(PolicyFile, text, parse_float=Decimal)
    except FaultyText as error:
        raise PolicyFileError(file, error.lines) from error


class PolicyFile(Table):
    """A whole file."""

    sessions: SessionsTable = SessionsTable()
    conversions: dict[Event, ConversionTable] | None = Field(None, min_length=1)
    stages: StagesTable = StagesTable()
    views: ViewsTable = ViewsTable()
    touches: TouchesTable = TouchesTable()
    channels: ChannelsTable = ChannelsTable()
    referrers: ReferrersTable = ReferrersTable()
    brand: BrandTable = BrandTable()
    credit: CreditTable = CreditTable()
    identity: IdentityTable = IdentityTable()
    models: dict[str, Model] = {}

    def apply(self, base: AttributionPolicy, plugins: Mapping[str, str]) -> AttributionPolicy:
        """``base`` with what the file says. Raises ``ValueError`` when parts of it contradict each other."""
        changes: dict[str, Any] = {
            "session_gap_ms": said_ms(self.sessions.gap_minutes, MINUTE_MS),
            "session_cap_ms": said_ms(self.sessions.cap_hours, HOUR_MS),
            "session_switch": self.sessions.switch,
            "max_hits_per_visitor": self.sessions.max_hits_per_visitor,
            "lead_events": self.stages.lead,
            "opportunity_events": self.stages.opportunity,
            "views": self.views.count,
            "view_events": self.views.events,
            "view_lookback_ms": said_days(self.views.lookback_days),
            "direct": self.touches.direct,
            "excluded_channels": self.touches.excluded_channels,
            "since_last_conversion": self.touches.since_last_conversion,
            "paid_channels": self.channels.paid,
            "channel_rules": None
            if self.channels.rules is None
            else tuple(r.rule() for r in self.channels.rules),
            "ignored_referrers": self.referrers.ignored,
            "brand_words": self.brand.words,
            "brand": self.brand.handling,
            "time_decay_half_life_ms": said_days(self.credit.half_life_days),
            "identity": self.identity.rules(base.identity),
        }
        if self.conversions is not None:
            changes["conversion_lookbacks_ms"] = {
                type_: to_ms(window.lookback_days, DAY_MS) for type_, window in self.conversions.items()
            }
            changes["valueless"] = _valueless(base.valueless, self.conversions)
            changes["kind_lookbacks_ms"] = {
                type_: kinds for type_, window in self.conversions.items() if (kinds := _kinds_of(window))
            }
        changes |= self._models(base, plugins)
        said = {name: value for name, value in changes.items() if value is not None}
        policy = msgspec.structs.replace(base, **said)
        self._check(policy)
        return policy

    def _models(self, base: AttributionPolicy, plugins: Mapping[str, str]) -> dict[str, Any]:
        custom = {name: self._custom(name) for name in self.models}
        wanted = self.credit.plugins or ()
        for name in wanted:
            if name not in plugins:
                raise ValueError(
                    f"credit.plugins: no installed plug-in has a model {name!r}; "
                    f"there is {', '.join(plugins) or 'none at all'}"
                )
        credited = self.credit.models
        if credited is None:
            credited = (*base.models, *custom, *wanted)
        for name in credited:
            if name not in (*MODELS, *custom, *wanted) or (name in plugins and name not in wanted):
                known = ", ".join((*(name for name in MODELS if name not in plugins), *custom, *wanted))
                raise ValueError(f"credit.models: there is no model {name!r}; choose from {known}")
        if not credited:
            raise ValueError("credit.models: name at least one model")
        return {
            "models": tuple(dict.fromkeys(credited)),
            "custom_models": custom,
            "plugins": {name: plugins[name] for name in wanted},
        }

    def _custom(self, name: str) -> CustomModel:
        if not _NAME.fullmatch(name):
            raise ValueError(f"models.{name}: a name has a-z, 0-9 and _, a letter first, at most 63 of them")
        if name in MODELS or name in LEARNT_MODELS:
            raise ValueError(f"models.{name}: there is a model of that name; choose another")
        try:
            return self.models[name].model()
        except ValueError as error:
            raise ValueError(f"models.{name}.{error}") from error

    def _check(self, policy: AttributionPolicy) -> None:
        """Names that stand for nothing would be rules that never hold."""
        types = policy.conversion_lookbacks_ms
        for key, events in (("lead", self.stages.lead), ("opportunity", self.stages.opportunity)):
            for event in events or ():
                if event not in types:
                    raise ValueError(
                        f"stages.{key}: {event!r} is no conversion; give it a lookback under [conversions.{event}]"
                    )
        channels = {*CHANNELS, *BRAND_CHANNELS.values(), *(rule.channel for rule in policy.channel_rules)}
        for key, names in (
            ("touches.excluded_channels", policy.excluded_channels),
            ("channels.paid", policy.paid_channels),
        ):
            for name in names:
                if name not in channels:
                    raise ValueError(
                        f"{key}: there is no channel {name!r}; there are {', '.join(sorted(channels))}"
                    )


def _valueless(base: Iterable[str], tables: Mapping[str, ConversionTable]) -> tuple[str, ...]:
    """Types that bring no money: those of ``base`` of which nothing else is said, and those of which that is said."""
    said = {type_: table.brings_money for type_, table in tables.items() if table.brings_money is not None}
    left = [type_ for type_ in base if not said.get(type_)]
    return tuple(dict.fromkeys((*left, *(type_ for type_, is_so in said.items() if not is_so))))


def _kinds_of(window: ConversionTable) -> dict[TouchKind, int]:
    spans = {
        TouchKind.click: window.click_days,
        TouchKind.view: window.view_days,
        TouchKind.visit: window.visit_days,
    }
    return {kind: to_ms(days, DAY_MS) for kind, days in spans.items() if days is not None}
