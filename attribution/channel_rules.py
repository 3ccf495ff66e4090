"""An installation's own rules about arrivals: channels of its own, referrers that bring nobody, its brand, views.

They decide what a hit's touchpoint is, so they are applied when the hit is read, and changing them changes
touchpoints. ``AttributionPolicy.arrival_rules`` holds them all; None when there is none, which costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property

import msgspec

from attribution.acquisition import DIRECT, Acquisition
from attribution.patterns import compile_pattern

BRAND_CHANNELS = {"Paid Search": "Brand Paid Search", "Organic Search": "Brand Organic Search"}
"""Search channels to what their brand touches are called when brand is a channel of its own."""
MAY_BE_BRAND = {*BRAND_CHANNELS, *BRAND_CHANNELS.values()}
"""Only touches of these can be brand touches."""
MAX_MATCHED = 256
"""Characters of a text that ``matches`` looks at."""

_NOT_A_LETTER = re.compile(r"[\W_]+")


class ArrivalField(StrEnum):
    """What a condition looks at. All but the landing page are as the arrival was read, before any rule."""

    source = "source"
    medium = "medium"
    campaign = "campaign"
    term = "term"
    content = "content"
    ad_network = "ad_network"
    referrer_host = "referrer_host"
    landing_page = "landing_page"
    """Path of the page, without host and query."""
    default_channel = "default_channel"
    """The channel that it has without rules."""


class Comparison(StrEnum):
    """How a condition compares; never by upper or lower case, except ``matches``."""

    is_ = "is"
    is_not = "is_not"
    contains = "contains"
    starts_with = "starts_with"
    ends_with = "ends_with"
    matches = "matches"
    """A pattern as ``attribution.patterns`` knows them, found anywhere in the text unless anchored."""


class Condition(msgspec.Struct, frozen=True, cache_hash=True):
    """One field compared with some texts: any of them will do (``is_not``: none may be it)."""

    field: ArrivalField
    comparison: Comparison
    texts: tuple[str, ...]

    def holds(self, text: str) -> bool:
        """Whether the field's ``text`` is as wanted."""
        if self.comparison is Comparison.matches:
            looked_at = text[:MAX_MATCHED]
            return any(compile_pattern(pattern).search(looked_at) for pattern in self.texts)
        text = text.lower()
        if self.comparison is Comparison.is_not:
            return all(text != wanted.lower() for wanted in self.texts)
        compare = _COMPARE[self.comparison]
        return any(compare(text, wanted.lower()) for wanted in self.texts)


_COMPARE: dict[Comparison, Callable[[str, str], bool]] = {
    Comparison.is_: str.__eq__,
    Comparison.contains: str.__contains__,
    Comparison.starts_with: str.startswith,
    Comparison.ends_with: str.endswith,
}


class ChannelRule(msgspec.Struct, frozen=True, cache_hash=True):
    """Arrivals that meet every condition are of ``channel``. Of several rules the first holds."""

    channel: str
    conditions: tuple[Condition, ...]

    @property
    def names_a_page(self) -> bool:
        """Whether it asks for a landing page: only such rules can name an arrival that says nothing of itself."""
        return any(condition.field is ArrivalField.landing_page for condition in self.conditions)


class ArrivalRules(msgspec.Struct, frozen=True, cache_hash=True, dict=True):
    """All rules that change what a hit's touchpoint is. Equal rules are one key of a cache."""

    channel_rules: tuple[ChannelRule, ...] = ()
    ignored_referrers: tuple[str, ...] = ()
    """Hosts in lower case; each stands for those below it, too."""
    brand_words: tuple[str, ...] = ()
    """Empty also when brand touches are no channel of their own."""
    view_events: tuple[str, ...] = ()
    """Empty when views do not count."""

    @cached_property
    def looks_at_pages(self) -> bool:
        """Whether the landing page matters."""
        return any(rule.names_a_page for rule in self.channel_rules)


def classify_arrival(acquisition: Acquisition | None, path: str, rules: ArrivalRules) -> Acquisition | None:
    """``acquisition`` of a hit on the page ``path`` with the channel that ``rules`` give it.

    None, an arrival that says nothing, stays None unless a rule that names a landing page holds: an address that is
    only ever spoken (``/podcast``) is all that is known of such a visit.
    """
    way = acquisition or DIRECT
    for rule in rules.channel_rules:
        if (acquisition is not None or rule.names_a_page) and all(
            condition.holds(_text_of(condition.field, way, path)) for condition in rule.conditions
        ):
            return _with_channel(way, rule.channel)
    if acquisition is not None and is_brand(acquisition, rules.brand_words):
        return _with_channel(acquisition, BRAND_CHANNELS.get(acquisition.channel, acquisition.channel))
    return acquisition


def _text_of(field: ArrivalField, way: Acquisition, path: str) -> str:
    match field:
        case ArrivalField.landing_page:
            return path
        case ArrivalField.default_channel:
            return way.channel
        case _:
            text: str = getattr(way, field.value)
            return text


def is_brand(acquisition: Acquisition, brand_words: tuple[str, ...]) -> bool:
    """Whether it is a touch of paid or organic search whose term or campaign has one of the words, as whole words."""
    if not brand_words or acquisition.channel not in MAY_BE_BRAND:
        return False
    said = f"{words_of(acquisition.term)}{words_of(acquisition.campaign)}"
    return any(words_of(word) in said for word in brand_words)


def words_of(text: str) -> str:
    """``" nike air "`` of ``Nike_Air``: words with a blank on each side."""
    return f" {_NOT_A_LETTER.sub(' ', text.lower()).strip()} "


def _with_channel(acquisition: Acquisition, channel: str) -> Acquisition:
    return msgspec.structs.replace(acquisition, channel=channel)
