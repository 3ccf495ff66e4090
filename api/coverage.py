"""What became of all revenue: the parts of ``meta.coverage``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from api.answers import Coverage, CoveragePart, OtherCurrency
from api.catalog import RATIO_DIGITS, money_text, plain_number
from attribution.drops import DropReason
from attribution.missing import Missing

ATTRIBUTED = "attributed"
NOT_TOLD = "not_told"
"""Unattributed in entries of a Headwater whose ledger did not say why yet; `headwater restate` tells it."""
DROPPED = (DropReason.bot.value, DropReason.visitor_over_limit.value)
"""Parts that were heard, but are not in the books and in no row of any report."""
_PART_OF: dict[str, str] = {"": ATTRIBUTED, **{missing.source: missing.name for missing in Missing}}
IN_BOOKS = (ATTRIBUTED, *(missing.name for missing in Missing), NOT_TOLD)
PARTS = (*(name for name in IN_BOOKS if name != NOT_TOLD), *DROPPED, NOT_TOLD)
_RARE = frozenset((DropReason.visitor_over_limit.value, NOT_TOLD))
"""Told only if there is any."""
_ZERO = Decimal(0)


def coverage_of(found: Sequence[Sequence[Any]], currency: str, *, has_drops: bool) -> Coverage:
    """From the rows of ``query.sql`` and ``query_claims.sql`` that are no answer rows: of part 1 (part, place,
    [currency, why], [revenue, conversions]), of part 2 the number of robots' hits, of part 3 what dropped hits claim
    (as part 1, with the reason).
    """
    revenue: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    conversions: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    bot_hits: int | None = None
    for part, _, keys, sums in found:
        if part == 2:
            bot_hits = int(sums[0]) if has_drops else None
            continue
        code, why = keys
        place = code, why if part == 3 else _PART_OF.get(why, NOT_TOLD)
        revenue[place] += Decimal(sums[0])
        conversions[place] += Decimal(sums[1])
    whole, heard = (sum((revenue[currency, name] for name in names), _ZERO) for names in (IN_BOOKS, PARTS))
    codes = sorted({code for code, _ in revenue})
    in_all = {name: sum((conversions[code, name] for code in codes), _ZERO) for name in PARTS}
    counted = sum((in_all[name] for name in IN_BOOKS), _ZERO)
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
                _share(revenue[currency, name], heard),
            )
            for name in PARTS
            if name not in _RARE or revenue[currency, name] or in_all[name]
        ),
        heard_revenue=money_text(heard, currency),
        heard_conversions=plain_number(sum(in_all.values(), _ZERO)),
        bot_hits=bot_hits,
        other_currencies=tuple(
            OtherCurrency(code, money_text(amount, code), plain_number(count), money_text(heard_of, code))
            for code in codes
            if code != currency
            for amount, count, heard_of in [
                (
                    sum((revenue[code, name] for name in IN_BOOKS), _ZERO),
                    sum((conversions[code, name] for name in IN_BOOKS), _ZERO),
                    sum((revenue[code, name] for name in PARTS), _ZERO),
                )
            ]
            if amount or count or heard_of
        ),
    )


def _share(part: Decimal, whole: Decimal) -> Decimal | None:
    return plain_number((part / whole).quantize(RATIO_DIGITS)) if whole else None
