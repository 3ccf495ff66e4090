"""The policy as a TOML file: what each key means, and how a file becomes an ``AttributionPolicy``.

Every key and its default: docs/policies.md. What a file does not say stays as the ``base`` policy has it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from math import gcd
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from attribution.channel_rules import (
    BRAND_CHANNELS,
    ArrivalField,
    ChannelRule,
    Comparison,
    Condition,
)
from attribution.channels import CHANNELS
from attribution.enrich import PAGE_VIEW
from attribution.errors import Misconfigured
from attribution.identity import ACCOUNT, JOINING_KINDS
from attribution.models import MODELS
from attribution.patterns import compile_pattern
from attribution.persons import ACCOUNT_CLOSED_AT, CLOSED_AT, IdentityRules
from attribution.policy import (
    DAY_MS,
    MINUTE_MS,
    AttributionPolicy,
    BrandHandling,
    CustomKind,
    CustomModel,
    DirectHandling,
    SessionSwitch,
    SinceLast,
    ViewHandling,
)
from attribution.touchpoints import TouchKind

HOUR_MS = 60 * MINUTE_MS
MAX_BYTES = 1 << 20
"""Of a file."""
LEARNT_MODELS = frozenset(("markov", "shapley"))
"""Names of models that are learnt, and never credited because a file says so."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


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
    if len(text.encode()) > MAX_BYTES:
        raise PolicyFileError(file, [f"is larger than {MAX_BYTES} bytes"])
    try:
        return PolicyFile.model_validate(tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        raise PolicyFileError(file, [f"is no TOML: {error}"]) from error
    except ValidationError as error:
        raise PolicyFileError(file, [_line(each) for each in error.errors()]) from error


def _line(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if message != error["msg"] and error["type"] != "value_error":
        message = f"should be {message}"
    return f"{place}: {message}" if place else message


class _Table(BaseModel):
    """A table of the file. A key that it does not know is an error that names those it knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    raise ValueError(f"{key!r} is no key here; use {', '.join(known)}")
        return data


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _checked_host(host: str) -> str:
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is no host such as pay.example.com (no scheme, port or path)")
    return host


Span = Annotated[Decimal, Field(gt=0, le=3650)]
Text = Annotated[str, Field(min_length=1, max_length=256)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
Event = Annotated[str, Field(min_length=1, max_length=256)]
Share = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=9)]


class _Sessions(_Table):
    gap_minutes: Annotated[Decimal, Field(gt=0, le=1440)] | None = None
    cap_hours: Annotated[Decimal, Field(gt=0, le=8760)] | None = None
    switch: SessionSwitch | None = None
    max_hits_per_visitor: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = None


class _Conversion(_Table):
    lookback_days: Span
    click_days: Span | None = None
    view_days: Span | None = None
    visit_days: Span | None = None


class _Stages(_Table):
    lead: tuple[Event, ...] | None = None
    opportunity: tuple[Event, ...] | None = None


class _Views(_Table):
    count: ViewHandling | None = None
    events: tuple[Event, ...] | None = None
    lookback_days: Span | None = None

    @field_validator("events")
    @classmethod
    def _check_events(cls, events: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if events and PAGE_VIEW in events:
            raise ValueError(f"{PAGE_VIEW} is a visit, and never a view of an advertisement")
        return events


class _Touches(_Table):
    direct: DirectHandling | None = None
    excluded_channels: tuple[Text, ...] | None = None
    since_last_conversion: SinceLast | None = None


class _Referrers(_Table):
    ignored: tuple[Annotated[str, BeforeValidator(_checked_host)], ...] | None = None


class _Brand(_Table):
    words: tuple[Text, ...] | None = None
    handling: BrandHandling | None = None

    @field_validator("words")
    @classmethod
    def _check_words(cls, words: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for word in words or ():
            if not any(character.isalnum() for character in word):
                raise ValueError(f"{word!r} has no letter or digit")
        return words


class _Identity(_Table):
    """What joins visitors to a person (docs/identity.md)."""

    max_users_per_visitor: Annotated[int, Field(strict=True, ge=0, le=64)] | None = None
    max_emails_per_visitor: Annotated[int, Field(strict=True, ge=0, le=64)] | None = None
    max_crm_contacts_per_visitor: Annotated[int, Field(strict=True, ge=0, le=64)] | None = None
    max_visitors_per_id: Annotated[int, Field(strict=True, ge=1, le=CLOSED_AT // 2)] | None = None
    max_visitors_per_person: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None
    blocked_ids: tuple[Text, ...] | None = None
    account_view: Annotated[bool, Field(strict=True)] | None = None
    max_visitors_per_account: Annotated[int, Field(strict=True, ge=1, le=ACCOUNT_CLOSED_AT // 2)] | None = (
        None
    )

    @field_validator("blocked_ids")
    @classmethod
    def _check_ids(cls, ids: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Compared with values, in lower case; what has the kind before it would never be met."""
        if ids is None:
            return None
        values = sorted({text.strip().lower() for text in ids})
        for value in values:
            if value.startswith((*JOINING_KINDS, ACCOUNT)):
                kind, _, bare = value.partition(":")
                raise ValueError(
                    f"{value!r}: write the value without its kind, {bare!r} (not {kind + ':'!r})"
                )
        return tuple(values)

    def rules(self, base: IdentityRules) -> IdentityRules:
        """``base`` with what the table says."""
        said = {name: value for name, value in self.model_dump().items() if value is not None}
        return msgspec.structs.replace(base, **said)


class _Test(_Table):
    """What one field of an arrival is to be; of several comparisons all must hold."""

    is_: Texts | None = Field(None, alias="is")
    is_not: Texts | None = None
    contains: Texts | None = None
    starts_with: Texts | None = None
    ends_with: Texts | None = None
    matches: Texts | None = None

    @field_validator("matches")
    @classmethod
    def _check_patterns(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for pattern in patterns or ():
            try:
                compile_pattern(pattern)
            except ValueError as error:
                raise ValueError(f"the pattern {pattern!r} {error}") from error
        return patterns

    @model_validator(mode="after")
    def _check_some(self) -> _Test:
        if not self.model_fields_set:
            raise ValueError('compares with nothing; write for example { starts_with = "/podcast" }')
        return self

    def conditions(self, field: ArrivalField) -> Iterable[Condition]:
        """One for each comparison."""
        for comparison in Comparison:
            texts = getattr(self, "is_" if comparison is Comparison.is_ else comparison.value)
            if texts is not None:
                yield Condition(field, comparison, texts)


def _as_test(value: Any) -> Any:
    return {"is": value} if isinstance(value, (str, list)) else value


Test = Annotated[_Test, BeforeValidator(_as_test)]


class _Rule(_Table):
    channel: Text
    source: Test | None = None
    medium: Test | None = None
    campaign: Test | None = None
    term: Test | None = None
    content: Test | None = None
    ad_network: Test | None = None
    referrer_host: Test | None = None
    landing_page: Test | None = None
    default_channel: Test | None = None

    @model_validator(mode="after")
    def _check_some(self) -> _Rule:
        if len(self.model_fields_set) < 2:
            raise ValueError(f"has no condition; name one of {', '.join(ArrivalField)}")
        if self.channel.startswith("("):
            raise ValueError(
                "channel: a name must not begin with a bracket; (unattributed) and the like are ours"
            )
        return self

    def rule(self) -> ChannelRule:
        """As the policy has it."""
        tests = [(field, getattr(self, field.value)) for field in ArrivalField]
        return ChannelRule(
            self.channel,
            tuple(found for field, test in tests if test is not None for found in test.conditions(field)),
        )


class _Channels(_Table):
    paid: tuple[Text, ...] | None = None
    rules: tuple[_Rule, ...] | None = None


class _Credit(_Table):
    models: tuple[Text, ...] | None = None
    plugins: tuple[Text, ...] | None = None
    half_life_days: Span | None = None


class _Weights(_Table):
    kind: Literal["weights"]
    first: Share = Decimal(0)
    middle: Share = Decimal(0)
    last: Share = Decimal(0)
    window_days: Span | None = None

    @model_validator(mode="after")
    def _check_some(self) -> _Weights:
        if not (self.first or self.middle or self.last):
            raise ValueError("gives nothing to anybody; set first, middle or last above 0")
        return self

    def model(self) -> CustomModel:
        first, middle, last = whole_numbers((self.first, self.middle, self.last))
        window = _span(self.window_days)
        return CustomModel(kind=CustomKind.weights, first=first, middle=middle, last=last, window_ms=window)


class _Positions(_Table):
    kind: Literal["positions"]
    positions: Annotated[tuple[Share, ...], Field(min_length=1, max_length=1000)]
    rest: Share = Decimal(0)
    counted_from: Literal["first", "last"] = "first"
    window_days: Span | None = None

    @model_validator(mode="after")
    def _check_first(self) -> _Positions:
        if not self.positions[0]:
            raise ValueError("positions must begin with a number above 0: a path may have one touch only")
        return self

    def model(self) -> CustomModel:
        *positions, rest = whole_numbers((*self.positions, self.rest))
        return CustomModel(
            kind=CustomKind.positions,
            positions=tuple(positions),
            rest=rest,
            from_end=self.counted_from == "last",
            window_ms=_span(self.window_days),
        )


class _TimeDecay(_Table):
    kind: Literal["time_decay"]
    half_life_days: Span
    window_days: Span | None = None

    def model(self) -> CustomModel:
        half_life = to_ms(self.half_life_days, DAY_MS)
        return CustomModel(
            kind=CustomKind.time_decay, half_life_ms=half_life, window_ms=_span(self.window_days)
        )


class _Like(_Table):
    kind: Literal["model"]
    model_: Text = Field(alias="model")
    window_days: Span

    def model(self) -> CustomModel:
        if self.model_ not in MODELS:
            raise ValueError(f"model: there is no model {self.model_!r}; choose from {', '.join(MODELS)}")
        return CustomModel(kind=CustomKind.model, model=self.model_, window_ms=_span(self.window_days))


Model = Annotated[_Weights | _Positions | _TimeDecay | _Like, Field(discriminator="kind")]


class PolicyFile(_Table):
    """A whole file."""

    sessions: _Sessions = _Sessions()
    conversions: dict[Event, _Conversion] | None = Field(None, min_length=1)
    stages: _Stages = _Stages()
    views: _Views = _Views()
    touches: _Touches = _Touches()
    channels: _Channels = _Channels()
    referrers: _Referrers = _Referrers()
    brand: _Brand = _Brand()
    credit: _Credit = _Credit()
    identity: _Identity = _Identity()
    models: dict[str, Model] = {}

    def apply(self, base: AttributionPolicy, plugins: Mapping[str, str]) -> AttributionPolicy:
        """``base`` with what the file says. Raises ``ValueError`` when parts of it contradict each other."""
        changes: dict[str, Any] = {
            "session_gap_ms": _ms(self.sessions.gap_minutes, MINUTE_MS),
            "session_cap_ms": _ms(self.sessions.cap_hours, HOUR_MS),
            "session_switch": self.sessions.switch,
            "max_hits_per_visitor": self.sessions.max_hits_per_visitor,
            "lead_events": self.stages.lead,
            "opportunity_events": self.stages.opportunity,
            "views": self.views.count,
            "view_events": self.views.events,
            "view_lookback_ms": _span(self.views.lookback_days),
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
            "time_decay_half_life_ms": _span(self.credit.half_life_days),
            "identity": self.identity.rules(base.identity),
        }
        if self.conversions is not None:
            changes["conversion_lookbacks_ms"] = {
                type_: to_ms(window.lookback_days, DAY_MS) for type_, window in self.conversions.items()
            }
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


def _kinds_of(window: _Conversion) -> dict[TouchKind, int]:
    spans = {
        TouchKind.click: window.click_days,
        TouchKind.view: window.view_days,
        TouchKind.visit: window.visit_days,
    }
    return {kind: to_ms(days, DAY_MS) for kind, days in spans.items() if days is not None}


def _ms(span: Decimal | None, unit: int) -> int | None:
    return None if span is None else to_ms(span, unit)


def _span(days: Decimal | None) -> int | None:
    return _ms(days, DAY_MS)


def to_ms(span: Decimal, unit: int) -> int:
    """``span`` in units of so many milliseconds, to the nearest millisecond, at least one."""
    return max(round(span * unit), 1)


def whole_numbers(weights: Iterable[Decimal]) -> list[int]:
    """The smallest whole numbers that are to each other as the weights are."""
    scaled = [int(weight * 10**9) for weight in weights]
    common = gcd(*scaled) or 1
    return [number // common for number in scaled]
