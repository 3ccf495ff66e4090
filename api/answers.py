"""The shapes of answers. ``encode`` writes them as JSON: money as text, other decimals as exact numbers."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from msgspec import UNSET, UnsetType

from api.reach import Reach

Cell = int | str | Decimal | None
_encoder = msgspec.json.Encoder(decimal_format="number")


class OtherCurrency(msgspec.Struct, frozen=True):
    """Revenue that the answer does not add up: it is in another currency and there is no rate, or none was wanted."""

    currency: str
    revenue: str
    conversions: Decimal
    heard_revenue: str
    """What dropped hits claim included."""


class ConvertedCurrency(msgspec.Struct, frozen=True):
    """Revenue that was billed in another currency and is part of the answer, at the rates of its days."""

    currency: str
    revenue: str
    """As billed."""
    worth: str
    """In the currency asked for; rounded by itself."""
    oldest_rate_days: int
    """By how many days the oldest rate used is older than the day of the money: 1 to 3 over a weekend."""


class BilledSpend(msgspec.Struct, frozen=True):
    """What ads cost in one currency."""

    currency: str
    spend: str
    """As billed."""
    worth: str | None
    """In the currency asked for; ``None``: it is not in the answer, because there is no rate or none was wanted."""
    oldest_rate_days: int | None


class SpendCoverage(msgspec.Struct, frozen=True):
    """All spend of the date range, on the sites asked for, whatever the rows show of it."""

    spend: str
    billed: tuple[BilledSpend, ...]


class CoveragePart(msgspec.Struct, frozen=True):
    """Revenue and conversions that fare alike: ``revenue`` in the currency asked for, ``conversions`` in all.

    Where money was converted the parts are rounded so that they add up (largest remainder).
    """

    name: str
    """``attributed``, or why not: one of ``attribution.missing.Missing``, ``not_told`` for what was credited before the
    ledger told it; ``bot`` or ``visitor_over_limit`` for what dropped hits claim."""
    revenue: str
    conversions: Decimal
    share: Decimal | None
    """Of ``heard_revenue``; ``None`` if there is none."""


class Coverage(msgspec.Struct, frozen=True):
    """What became of all revenue in the date range, whatever the rows show of it.

    Filters on properties of the touchpoint (channel, campaign, …) do not narrow it; ``limit`` does not
    either. ``conversions`` are those of every currency.
    """

    revenue: str
    attributed_revenue: str
    unattributed_revenue: str
    attributed_share: Decimal | None
    """Of the revenue; ``None`` if there is none."""
    conversions: Decimal
    attributed_conversions: Decimal
    unattributed_conversions: Decimal
    parts: tuple[CoveragePart, ...]
    """They add up to ``heard_revenue`` and ``heard_conversions`` exactly; without ``bot`` and ``visitor_over_limit`` to
    ``revenue`` and ``conversions``."""
    heard_revenue: str
    """Everything that was heard: ``revenue``, and what dropped hits claim, which is in no row of any report."""
    heard_conversions: Decimal
    bot_hits: int | None
    """Hits of robots that were dropped in the hours and on the sites asked for, whatever they claim. ``None`` as of an
    instant: drops are not dated."""
    other_currencies: tuple[OtherCurrency, ...]
    converted: tuple[ConvertedCurrency, ...] = ()


class Range(msgspec.Struct, frozen=True):
    """What the rule models say of one number."""

    low: str | Decimal
    high: str | Decimal
    low_models: tuple[str, ...]
    """Those that say the lowest."""
    high_models: tuple[str, ...]


class LearntShare(msgspec.Struct, frozen=True):
    """How sure a learnt model is of a channel: its share of all effects with the 90 % bootstrap interval."""

    channel: str
    share: Decimal
    low: Decimal
    high: Decimal


class LearntTable(msgspec.Struct, frozen=True):
    """The newest table of a learnt model, over all sites."""

    version: str
    shares: tuple[LearntShare, ...]
    """The largest first."""


class ArrivedShare(msgspec.Struct, frozen=True):
    """How much of their revenue touches have brought by an age."""

    days: int
    share: Decimal


class Maturity(msgspec.Struct, frozen=True):
    """How revenue arrives after the touch, learnt from touches that are older than the longest lookback."""

    conversions: Decimal
    """With revenue, that these touches brought."""
    touched_from: str
    touched_until: str
    window_days: int
    """The longest lookback: by then everything has arrived."""
    arrived: tuple[ArrivedShare, ...]
    refused: str | None
    """Why nothing is told, and ``maturity`` is null."""


class CustomersMeta(msgspec.Struct, frozen=True):
    """Who is a customer, of all time and all sites."""

    customers: int
    """Everybody who has bought: the new customers of all time."""
    without_person: int
    """How many of them are a purchase that nobody can be found for: each is taken for a customer of its own."""
    margin: Decimal
    """The part of revenue that is margin, by which ``payback_days`` goes: the setting ``HEADWATER_MARGIN``."""


class QueryMeta(msgspec.Struct, frozen=True):
    """How to read the rows."""

    model: str
    basis: str
    currency: str
    as_of: str | None
    """ISO 8601, UTC; ``None`` = as it stands."""
    timezone: str
    bases: dict[str, str]
    """What each ratio divides by."""
    coverage: Coverage
    spread_models: tuple[str, ...]
    """Whose answers the spread is over; none unless asked for."""
    learnt: LearntTable | None
    """Of the model asked for, if it is learnt."""
    next_offset: int | None
    """Where the next page begins; ``None`` if this is the last."""
    elapsed_ms: float
    spend: SpendCoverage | None = None
    """``None`` unless something of what ads cost is asked for."""
    reach: Reach | None = None
    """Only if reach is asked for."""
    maturity: Maturity | None = None
    """``None`` unless it is asked for."""
    customers: CustomersMeta | None = None
    """``None`` unless something of customers is asked for."""
    campaign_names: dict[str, str] | None = None
    """What networks call the campaigns that rows name by their ids; ``None`` unless by campaign."""


class QueryAnswer(msgspec.Struct, frozen=True):
    """Rows of the dimensions asked for, then the metrics."""

    columns: tuple[str, ...]
    rows: list[list[Cell]]
    meta: QueryMeta
    spread: list[dict[str, Range]] | UnsetType = UNSET
    """One for each row, by metric; absent unless asked for."""


def encode(answer: msgspec.Struct) -> bytes:
    """JSON bytes."""
    return _encoder.encode(answer)
