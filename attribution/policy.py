"""The frozen, versioned rules that decide sessions, touchpoints, conversions and credit."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import msgspec

from attribution.channel_rules import BRAND_CHANNELS, ArrivalRules, ChannelRule
from attribution.channels import PAID_CHANNELS
from attribution.persons import IdentityRules
from attribution.touchpoints import TouchKind

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class SessionSwitch(StrEnum):
    """What besides a pause starts a new session."""

    nothing = "nothing"
    tagged_or_paid = "tagged_or_paid"
    """A UTM-tagged hit or a paid click id that differs from the session's (default)."""
    any_external = "any_external"
    """Any new external source, plain referrers included."""


class ViewHandling(StrEnum):
    """Whether seeing an advertisement counts."""

    never = "never"
    """Default: no touchpoint is made of it."""
    unless_clicked = "unless_clicked"
    """As ad servers do: a view gives way to a click at the same instant or later."""
    always = "always"


class DirectHandling(StrEnum):
    """Whether Direct touches count."""

    counts = "count"
    only_if_alone = "only_if_alone"
    """Only on a path that has nothing else."""
    never = "never"


class SinceLast(StrEnum):
    """Whether only touches after the person's previous conversion count."""

    off = "off"
    same_type = "same_type"
    any_type = "any_type"


class BrandHandling(StrEnum):
    """What becomes of search touches that ask for the brand itself."""

    channel = "channel"
    """They are Brand Paid Search and Brand Organic Search."""
    exclude = "exclude"
    """They never count."""


class CustomKind(StrEnum):
    """How a model of the installation's own divides."""

    weights = "weights"
    """First, last, and what all between share."""
    positions = "positions"
    """A weight for each place, counted from the first or the last touch."""
    time_decay = "time_decay"
    """With a half-life of its own."""
    model = "model"
    """As another model, over a window of its own."""


class CustomModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the policy itself describes. Weights are whole numbers: they are to each other as these are."""

    kind: CustomKind
    first: int = 0
    middle: int = 0
    last: int = 0
    positions: tuple[int, ...] = ()
    rest: int = 0
    """Weight of each touch beyond the listed places."""
    from_end: bool = False
    half_life_ms: int = 0
    model: str = ""
    window_ms: int | None = None
    """Older touches get nothing under this model; None = all of the path."""


class TouchRules(NamedTuple):
    """Everything that changes sessions and touchpoints."""

    sessions: tuple[int, int, str]
    arrivals: ArrivalRules | None


class AttributionPolicy(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All rules of one installation. Spans are milliseconds. ``version`` names its content."""

    session_gap_ms: int = 30 * MINUTE_MS
    session_cap_ms: int = DAY_MS
    session_switch: SessionSwitch = SessionSwitch.tagged_or_paid
    max_hits_per_visitor: int = 20_000
    conversion_lookbacks_ms: dict[str, int] = msgspec.field(
        default_factory=lambda: {
            **dict.fromkeys(("purchase", "renewal", "opportunity", "deal_won"), 90 * DAY_MS),
            **dict.fromkeys(("lead", "mql", "sql", "sign_up"), 30 * DAY_MS),
        }
    )
    """Conversion type (= event name, or what a deal makes) to lookback window; only these are conversions."""
    time_decay_half_life_ms: int = 7 * DAY_MS
    models: tuple[str, ...] = (
        "first_touch",
        "last_touch",
        "last_non_direct_touch",
        "first_paid_touch",
        "last_paid_touch",
        "linear",
        "time_decay",
        "position_based",
        "j_shaped",
        "inverse_j_shaped",
        "w_shaped",
        "full_path",
    )
    learnt: dict[str, str] = {}
    """Learnt model to the version of the table that it divides by; such a model is among ``models``, too."""
    identity: IdentityRules = IdentityRules()
    """Which ids make one person of several visitors."""
    kind_lookbacks_ms: dict[str, dict[TouchKind, int]] = {}
    """Conversion type to kind of touch to its own window; kinds that are not named have the type's."""
    views: ViewHandling = ViewHandling.never
    view_events: tuple[str, ...] = ("impression", "video_view")
    """Events that are views when they say where they came from, and views count."""
    view_lookback_ms: int = DAY_MS
    """Window of views where ``kind_lookbacks_ms`` names none, and the type's is not shorter."""
    direct: DirectHandling = DirectHandling.counts
    excluded_channels: tuple[str, ...] = ()
    """Touches of these never count."""
    since_last_conversion: SinceLast = SinceLast.off
    channel_rules: tuple[ChannelRule, ...] = ()
    """Before the default channels; the first that holds."""
    paid_channels: tuple[str, ...] = ()
    """Channels that count as paid, beside the default ones."""
    ignored_referrers: tuple[str, ...] = ()
    """Hosts that bring nobody, beside the built-in payment providers and login pages."""
    brand_words: tuple[str, ...] = ()
    brand: BrandHandling = BrandHandling.channel
    lead_events: tuple[str, ...] = ("lead", "sign_up")
    """Conversions by which a person becomes a lead."""
    opportunity_events: tuple[str, ...] = ("opportunity",)
    """Conversions by which a deal is opened."""
    custom_models: dict[str, CustomModel] = {}
    plugins: dict[str, str] = {}
    """Model to the distribution (name and version) of the plug-in that it comes from."""
    valueless: tuple[str, ...] = ("add_to_cart", "video_view")
    """Types that bring no money, whatever value their hits name: what lies in a cart is not paid."""

    @cached_property
    def session_rules(self) -> tuple[int, int, str]:
        """(gap ms, cap ms, switch): the part that decides sessions. Asked for every visitor of every batch."""
        return (self.session_gap_ms, self.session_cap_ms, self.session_switch.value)

    @cached_property
    def arrival_rules(self) -> ArrivalRules | None:
        """The part that decides what a hit's touchpoint is; None when there is nothing beside the defaults."""
        rules = ArrivalRules(
            self.channel_rules,
            self.ignored_referrers,
            self.brand_words if self.brand is BrandHandling.channel else (),
            self.view_events if self.views is not ViewHandling.never else (),
        )
        return None if rules == ArrivalRules() else rules

    @property
    def touch_rules(self) -> TouchRules:
        """The part that decides sessions and touchpoints. When it changes stored hits have to be read again before
        credit is right everywhere; when anything else changes it is enough to judge the same touchpoints anew."""
        return TouchRules(self.session_rules, self.arrival_rules)

    @cached_property
    def all_paid_channels(self) -> frozenset[str]:
        """Channels that count as paid."""
        return PAID_CHANNELS | {BRAND_CHANNELS["Paid Search"], *self.paid_channels}

    @cached_property
    def stage_events(self) -> frozenset[str]:
        """Conversions that are a moment of a deal."""
        return frozenset((*self.lead_events, *self.opportunity_events))

    @cached_property
    def counts_all_in_window(self) -> bool:
        """Whether a touch counts just when it is in the one window of the conversion's type (and no view)."""
        return (
            not self.kind_lookbacks_ms
            and self.views is ViewHandling.never
            and self.direct is DirectHandling.counts
            and not self.excluded_channels
            and self.since_last_conversion is SinceLast.off
            and not (self.brand is BrandHandling.exclude and self.brand_words)
        )

    def lookback_ms(self, type_: str, kind: TouchKind) -> int:
        """How old a touch of that kind may be at a conversion of ``type_``, which must have a window."""
        whole = self.conversion_lookbacks_ms[type_]
        own = self.kind_lookbacks_ms.get(type_, {}).get(kind)
        if own is not None:
            return own
        return min(whole, self.view_lookback_ms) if kind is TouchKind.view else whole

    @cached_property
    def version(self) -> str:
        """Ten hex digits that change whenever any rule changes; rules that came later and are not used leave it."""
        said = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name in _FROM_THE_START or getattr(self, name) != getattr(_DEFAULT, name)
        }
        return hashlib.blake2b(msgspec.json.encode(said, order="deterministic"), digest_size=5).hexdigest()


_FROM_THE_START = frozenset(
    (
        *("session_gap_ms", "session_cap_ms", "session_switch", "max_hits_per_visitor"),
        *("conversion_lookbacks_ms", "time_decay_half_life_ms", "models"),
    )
)
_DEFAULT = AttributionPolicy()
