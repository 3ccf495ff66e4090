"""The shapes of answers. ``encode`` writes them as JSON: money as text, other decimals as exact numbers."""

from __future__ import annotations

from decimal import Decimal

import msgspec

_encoder = msgspec.json.Encoder(decimal_format="number")

Cell = int | str | Decimal | None


class OtherCurrency(msgspec.Struct, frozen=True):
    """Revenue that the answer does not add up, because it is in another currency."""

    currency: str
    revenue: str
    conversions: Decimal


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
    other_currencies: tuple[OtherCurrency, ...]


class QueryMeta(msgspec.Struct, frozen=True):
    """How to read the rows."""

    model: str
    basis: str
    currency: str
    as_of: None
    timezone: str
    bases: dict[str, str]
    """What each ratio divides by."""
    coverage: Coverage
    next_offset: int | None
    """Where the next page begins; ``None`` if this is the last."""
    elapsed_ms: float


class QueryAnswer(msgspec.Struct, frozen=True):
    """Rows of the dimensions asked for, then the metrics."""

    columns: tuple[str, ...]
    rows: list[list[Cell]]
    meta: QueryMeta


def encode(answer: msgspec.Struct) -> bytes:
    """JSON bytes."""
    return _encoder.encode(answer)
