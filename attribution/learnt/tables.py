"""Learnt tables: what a model has learnt of each channel, frozen under a version, and how it divides one path.

How a path is divided: each distinct channel of the path weighs as much as its effect (a negative one as nothing);
touches of the same channel share it evenly, because the effect is the channel's, not the touch's. A channel that the
table does not know (it is younger than the table) weighs as much as the table's channels on average. When no channel of
the path has an effect, or the table knows neither the site nor all sites together, every touch gets the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cached_property
from math import gcd, lcm

import msgspec

from attribution.errors import HeadwaterError
from attribution.models.registry import Parts
from attribution.paths import Path
from attribution.policy import AttributionPolicy

MARKOV = "markov"
SHAPLEY = "shapley"
LEARNT_MODELS = (MARKOV, SHAPLEY)
"""Models that exist only as far as a table was learnt."""
MAX_ORDER = 4
"""Of Markov: how many channels back a state looks."""
EVERY_SITE = ""
"""In place of a site: learnt from all sites together, for those that have too few journeys of their own."""
ONE = 1_000_000_000
"""Effects and shares are kept in billionths: whole numbers divide equally on every machine."""


class Worth(StrEnum):
    """What a set of channels is worth to Shapley (``attribution.learnt.shapley``)."""

    conversion_rate = "conversion_rate"
    conversions = "conversions"


class UnreadableTable(HeadwaterError):
    """Stored bytes are no table of a form that this version knows, or not the one that they are said to be."""


class ChannelEffect(msgspec.Struct, frozen=True, gc=False):
    """One channel, in billionths."""

    channel: str
    effect: int
    """Markov: removal effect, 0 to 1. Shapley: what the channel adds to the conversion rate (may be negative), or its
    share of the conversions."""
    share: int
    """The effect, if positive, as a share of all positive ones."""
    low: int
    """Lower end of the bootstrap interval of ``share``."""
    high: int


class SiteEffects(msgspec.Struct, frozen=True, gc=False):
    """What was learnt from the journeys of one site, or of ``EVERY_SITE``."""

    site: str
    journeys: int
    conversions: int
    channels: tuple[ChannelEffect, ...]
    """In lexical order."""
    error: int = 0
    """Billionths by which an effect may be off because orders were sampled; 0 = exact."""


class LearntTable(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A frozen table. Instants are epoch milliseconds, UTC."""

    model: str
    order: int = 0
    """Of Markov; 0 for Shapley."""
    worth: str = ""
    """Of Shapley; "" for Markov."""
    from_ms: int
    """Journeys that ended from here on ..."""
    to_ms: int
    """... and before this."""
    types: tuple[str, ...]
    """Conversion types that end a journey."""
    seed: int
    rounds: int
    """Of the bootstrap."""
    sites: tuple[SiteEffects, ...]
    learnt_at: int = 0
    """No part of the version: the same data give the same table."""

    @cached_property
    def version(self) -> str:
        """Ten hex digits that change whenever the content changes."""
        content = msgspec.json.encode(msgspec.structs.replace(self, learnt_at=0), order="deterministic")
        return hashlib.blake2b(content, digest_size=5).hexdigest()

    def to_bytes(self) -> bytes:
        """The stored form."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_bytes(cls, data: bytes, version: str) -> LearntTable:
        """The table that ``to_bytes`` stored under ``version``. Raises ``UnreadableTable``."""
        try:
            table = msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise UnreadableTable(f"learnt table {version}: {error}") from error
        if table.version != version:
            raise UnreadableTable(f"learnt table {version} has the content of {table.version}")
        return table

    @cached_property
    def division(self) -> Callable[[Path, AttributionPolicy], Parts]:
        """The model that this table makes: a ``Division``, to be named ``model``."""
        return _division(self)


def _division(table: LearntTable) -> Callable[[Path, AttributionPolicy], Parts]:
    weights: dict[str, dict[str, int]] = {}
    unknown: dict[str, int] = {}
    for site in table.sites:
        of_site = {each.channel: max(0, each.effect) for each in site.channels}
        weights[site.site] = of_site
        unknown[site.site] = sum(of_site.values()) // max(1, len(of_site))

    def divide(path: Path, policy: AttributionPolicy, /) -> Parts:
        touches = path.touchpoints
        site = touches[0].site if touches[0].site in weights else EVERY_SITE
        channels = [touch.acquisition.channel for touch in touches]
        counts = Counter(channels)
        if len(counts) == 1 or site not in weights:
            return (1,) * len(channels)
        return _parts(channels, counts, weights[site], unknown[site])

    return divide


def _parts(channels: list[str], counts: Mapping[str, int], weights: Mapping[str, int], unknown: int) -> Parts:
    unit = lcm(*counts.values())
    by_channel = {
        channel: weights.get(channel, unknown) * (unit // count) for channel, count in counts.items()
    }
    common = gcd(*by_channel.values())
    if not common:
        return (1,) * len(channels)
    return tuple([by_channel[channel] // common for channel in channels])
