"""The tables of a policy file: which keys each has, what may stand there, and what it makes of them.

Every key and its default: docs/policies.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from math import gcd
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from attribution.channel_rules import (
    ArrivalField,
    ChannelRule,
    Comparison,
    Condition,
)
from attribution.enrich import PAGE_VIEW
from attribution.identity import ACCOUNT, JOINING_KINDS
from attribution.models import MODELS
from attribution.patterns import compile_pattern
from attribution.persons import ACCOUNT_CLOSED_AT, CLOSED_AT, IdentityRules
from attribution.policy import (
    DAY_MS,
    MINUTE_MS,
    BrandHandling,
    CustomKind,
    CustomModel,
    DirectHandling,
    SessionSwitch,
    SinceLast,
    ViewHandling,
)

HOUR_MS = 60 * MINUTE_MS
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class Table(BaseModel):
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


class SessionsTable(Table):
    """``[sessions]``."""

    gap_minutes: Annotated[Decimal, Field(gt=0, le=1440)] | None = None
    cap_hours: Annotated[Decimal, Field(gt=0, le=8760)] | None = None
    switch: SessionSwitch | None = None
    max_hits_per_visitor: Annotated[int, Field(strict=True, ge=1, le=10_000_000)] | None = None


class ConversionTable(Table):
    """``[conversions.NAME]``: windows in days."""

    lookback_days: Span
    click_days: Span | None = None
    view_days: Span | None = None
    visit_days: Span | None = None
    brings_money: Annotated[bool, Field(strict=True)] | None = None


class StagesTable(Table):
    """``[stages]``: conversions by which a person becomes a lead, and a deal is opened."""

    lead: tuple[Event, ...] | None = None
    opportunity: tuple[Event, ...] | None = None


class ViewsTable(Table):
    """``[views]``: whether views of advertisements are touchpoints."""

    count: ViewHandling | None = None
    events: tuple[Event, ...] | None = None
    lookback_days: Span | None = None

    @field_validator("events")
    @classmethod
    def _check_events(cls, events: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if events and PAGE_VIEW in events:
            raise ValueError(f"{PAGE_VIEW} is a visit, and never a view of an advertisement")
        return events


class TouchesTable(Table):
    """``[touches]``: which touchpoints count."""

    direct: DirectHandling | None = None
    excluded_channels: tuple[Text, ...] | None = None
    since_last_conversion: SinceLast | None = None


class ReferrersTable(Table):
    """``[referrers]``: hosts that bring nobody."""

    ignored: tuple[Annotated[str, BeforeValidator(_checked_host)], ...] | None = None


class BrandTable(Table):
    """``[brand]``: search for the brand apart from other search."""

    words: tuple[Text, ...] | None = None
    handling: BrandHandling | None = None

    @field_validator("words")
    @classmethod
    def _check_words(cls, words: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for word in words or ():
            if not any(character.isalnum() for character in word):
                raise ValueError(f"{word!r} has no letter or digit")
        return words


class IdentityTable(Table):
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


class TestTable(Table):
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
    def _check_some(self) -> TestTable:
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


Test = Annotated[TestTable, BeforeValidator(_as_test)]


class RuleTable(Table):
    """One of ``[[channels.rules]]``."""

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
    def _check_some(self) -> RuleTable:
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


class ChannelsTable(Table):
    """``[channels]``."""

    paid: tuple[Text, ...] | None = None
    rules: tuple[RuleTable, ...] | None = None


class CreditTable(Table):
    """``[credit]``: the models."""

    models: tuple[Text, ...] | None = None
    plugins: tuple[Text, ...] | None = None
    half_life_days: Span | None = None


class WeightsTable(Table):
    """``[models.NAME]`` of kind ``weights``: first, last, and what all between share."""

    kind: Literal["weights"]
    first: Share = Decimal(0)
    middle: Share = Decimal(0)
    last: Share = Decimal(0)
    window_days: Span | None = None

    @model_validator(mode="after")
    def _check_some(self) -> WeightsTable:
        if not (self.first or self.middle or self.last):
            raise ValueError("gives nothing to anybody; set first, middle or last above 0")
        return self

    def model(self) -> CustomModel:
        first, middle, last = whole_numbers((self.first, self.middle, self.last))
        window = said_days(self.window_days)
        return CustomModel(kind=CustomKind.weights, first=first, middle=middle, last=last, window_ms=window)


class PositionsTable(Table):
    """``[models.NAME]`` of kind ``positions``: a weight for each place."""

    kind: Literal["positions"]
    positions: Annotated[tuple[Share, ...], Field(min_length=1, max_length=1000)]
    rest: Share = Decimal(0)
    counted_from: Literal["first", "last"] = "first"
    window_days: Span | None = None

    @model_validator(mode="after")
    def _check_first(self) -> PositionsTable:
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
            window_ms=said_days(self.window_days),
        )


class TimeDecayTable(Table):
    """``[models.NAME]`` of kind ``time_decay``: a half-life in days."""

    kind: Literal["time_decay"]
    half_life_days: Span
    window_days: Span | None = None

    def model(self) -> CustomModel:
        half_life = to_ms(self.half_life_days, DAY_MS)
        return CustomModel(
            kind=CustomKind.time_decay, half_life_ms=half_life, window_ms=said_days(self.window_days)
        )


class LikeTable(Table):
    """``[models.NAME]`` of kind ``model``: a built-in model with a window of its own."""

    kind: Literal["model"]
    model_: Text = Field(alias="model")
    window_days: Span

    def model(self) -> CustomModel:
        if self.model_ not in MODELS:
            raise ValueError(f"model: there is no model {self.model_!r}; choose from {', '.join(MODELS)}")
        return CustomModel(kind=CustomKind.model, model=self.model_, window_ms=said_days(self.window_days))


Model = Annotated[WeightsTable | PositionsTable | TimeDecayTable | LikeTable, Field(discriminator="kind")]


def said_ms(span: Decimal | None, unit: int) -> int | None:
    """``to_ms`` of what the file says; ``None`` = nothing."""
    return None if span is None else to_ms(span, unit)


def said_days(days: Decimal | None) -> int | None:
    """Days as milliseconds; ``None`` = the file says nothing."""
    return said_ms(days, DAY_MS)


def to_ms(span: Decimal, unit: int) -> int:
    """``span`` in units of so many milliseconds, to the nearest millisecond, at least one."""
    return max(round(span * unit), 1)


def whole_numbers(weights: Iterable[Decimal]) -> list[int]:
    """The smallest whole numbers that are to each other as the weights are."""
    scaled = [int(weight * 10**9) for weight in weights]
    common = gcd(*scaled) or 1
    return [number // common for number in scaled]
