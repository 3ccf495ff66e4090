"""What became of all revenue: the parts of ``meta.coverage``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from api.answers import Coverage, CoveragePart, OtherCurrency
from api.catalog import RATIO_DIGITS, money_text, plain_number
from attribution.missing import Missing

ATTRIBUTED = "attributed"
NOT_TOLD = "not_told"
"""Unattributed in entries of a Headwater whose ledger did not say why yet; `headwater restate` tells it."""
_PART_OF: dict[str, str] = {"": ATTRIBUTED, **{missing.source: missing.name for missing in Missing}}
PARTS = (ATTRIBUTED, *(missing.name for missing in Missing), NOT_TOLD)
_ZERO = Decimal(0)


def coverage_of(found: Sequence[Sequence[Any]], currency: str, *, has_drops: bool) -> Coverage:
    """From the rows of ``query.sql`` that are no answer rows: of part 1 (part, place, [currency, why], [revenue,
    conversions]), of part 2 the number of robots' hits.
    """
    revenue: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    conversions: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    bot_hits: int | None = None
    for part, _, keys, sums in found:
        if part == 2:
            bot_hits = int(sums[0]) if has_drops else None
            continue
        code, why = keys
        place = code, _PART_OF.get(why, NOT_TOLD)
        revenue[place] += Decimal(sums[0])
        conversions[place] += Decimal(sums[1])
    whole = sum((revenue[currency, name] for name in PARTS), _ZERO)
    codes = sorted({code for code, _ in revenue})
    in_all = {name: sum((conversions[code, name] for code in codes), _ZERO) for name in PARTS}
    counted = sum(in_all.values(), _ZERO)
    attributed = revenue[currency, ATTRIBUTED]
    return Coverage(
        revenue=money_text(whole, currency),
        attributed_revenue=money_text(attributed, currency),
        unattributed_revenue=money_text(whole - attributed, currency),
        attributed_share=_share(attributed, whole),
        conversions=plain_number(counted),
        attributed_conversions=plain_number(in_all[ATTRIBUTED]),
        unattributed_conversions=plain_number(counted - in_all[ATTRIBUTED]),
        parts=tuple(
            CoveragePart(
                name,
                money_text(revenue[currency, name], currency),
                plain_number(in_all[name]),
                _share(revenue[currency, name], whole),
            )
            for name in PARTS
            if name != NOT_TOLD or revenue[currency, name] or in_all[name]
        ),
        bot_hits=bot_hits,
        other_currencies=tuple(
            OtherCurrency(code, money_text(amount, code), plain_number(count))
            for code in codes
            if code != currency
            for amount, count in [_of_all(revenue, conversions, code)]
            if amount or count
        ),
    )


def _of_all(
    revenue: dict[tuple[str, str], Decimal], conversions: dict[tuple[str, str], Decimal], code: str
) -> tuple[Decimal, Decimal]:
    return (
        sum((revenue[code, name] for name in PARTS), _ZERO),
        sum((conversions[code, name] for name in PARTS), _ZERO),
    )


def _share(part: Decimal, whole: Decimal) -> Decimal | None:
    return plain_number((part / whole).quantize(RATIO_DIGITS)) if whole else None
