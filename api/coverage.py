"""What became of all revenue: the parts of ``meta.coverage``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from functools import reduce
from typing import Any, NamedTuple

from api.answers import (
    BilledSpend,
    ConvertedCurrency,
    Coverage,
    CoveragePart,
    OtherCurrency,
    SpendCoverage,
)
from api.numbers import RATIO_DIGITS, minor_unit, money_text, plain_number
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
_PLAIN = 2
"""What a row says of money when none is converted: how much, and of how many conversions."""


class _Money(NamedTuple):
    """What a row of the coverage says of one currency, as billed but for ``worth``."""

    revenue: Decimal
    conversions: Decimal
    worth: Decimal
    """In the currency asked for."""
    left_out: Decimal
    """Of the revenue: what is not in the answer."""
    conversions_left_out: Decimal
    oldest_rate_days: int

    @classmethod
    def of(cls, sums: Sequence[str], *, is_wanted: bool) -> _Money:
        revenue, conversions = Decimal(sums[0]), Decimal(sums[1])
        if len(sums) > _PLAIN:
            worth, left_out, conversions_left_out, days = sums[2:6]
            return cls(
                revenue,
                conversions,
                Decimal(worth),
                Decimal(left_out),
                Decimal(conversions_left_out),
                int(days),
            )
        if is_wanted:
            return cls(revenue, conversions, revenue, _ZERO, _ZERO, 0)
        return cls(revenue, conversions, _ZERO, revenue, conversions, 0)

    def plus(self, other: _Money) -> _Money:
        return _Money(
            self.revenue + other.revenue,
            self.conversions + other.conversions,
            self.worth + other.worth,
            self.left_out + other.left_out,
            self.conversions_left_out + other.conversions_left_out,
            max(self.oldest_rate_days, other.oldest_rate_days),
        )


_NOTHING = _Money(_ZERO, _ZERO, _ZERO, _ZERO, _ZERO, 0)


def coverage_of(found: Sequence[Sequence[Any]], currency: str, *, has_drops: bool) -> Coverage:
    """From the rows of ``query.sql`` and ``query_claims.sql`` that are no answer rows: of part 1 (part, place,
    [currency, why], [revenue, conversions, ...]), of part 2 the number of robots' hits, of part 3 what dropped hits
    claim (as part 1, with the reason).
    """
    told: dict[tuple[str, str], _Money] = defaultdict(lambda: _NOTHING)
    bot_hits: int | None = None
    for part, _, keys, sums in found:
        if part == 2:
            bot_hits = int(sums[0]) if has_drops else None
        elif part in (1, 3):
            code, why = keys
            place = code, why if part == 3 else _PART_OF.get(why, NOT_TOLD)
            told[place] = told[place].plus(_Money.of(sums, is_wanted=code == currency))
    codes = sorted({code for code, _ in told})
    by_part = {name: _sum(told[code, name] for code in codes) for name in PARTS}
    worth = {name: money.worth for name, money in by_part.items()}
    if any(len(sums) > _PLAIN for part, _, _, sums in found if part in (1, 3)):
        worth = _rounded(worth, currency)
    whole, heard = (sum((worth[name] for name in names), _ZERO) for names in (IN_BOOKS, PARTS))
    counted = sum((by_part[name].conversions for name in IN_BOOKS), _ZERO)
    attributed = worth[ATTRIBUTED]
    in_books = {code: _sum(told[code, name] for name in IN_BOOKS) for code in codes}
    of_all = {code: _sum(told[code, name] for name in PARTS) for code in codes}
    return Coverage(
        revenue=money_text(whole, currency),
        attributed_revenue=money_text(attributed, currency),
        unattributed_revenue=money_text(whole - attributed, currency),
        attributed_share=_share(attributed, whole),
        conversions=plain_number(counted),
        attributed_conversions=plain_number(by_part[ATTRIBUTED].conversions),
        unattributed_conversions=plain_number(counted - by_part[ATTRIBUTED].conversions),
        parts=tuple(
            CoveragePart(
                name,
                money_text(worth[name], currency),
                plain_number(money.conversions),
                _share(worth[name], heard),
            )
            for name, money in by_part.items()
            if name not in _RARE or worth[name] or money.conversions
        ),
        heard_revenue=money_text(heard, currency),
        heard_conversions=plain_number(sum((money.conversions for money in by_part.values()), _ZERO)),
        bot_hits=bot_hits,
        other_currencies=tuple(
            OtherCurrency(
                code,
                money_text(money.left_out, code),
                plain_number(money.conversions_left_out),
                money_text(of_all[code].left_out, code),
            )
            for code, money in in_books.items()
            if code != currency and (money.left_out or money.conversions_left_out or of_all[code].left_out)
        ),
        converted=tuple(
            ConvertedCurrency(
                code,
                money_text(money.revenue - money.left_out, code),
                money_text(_to_unit(money.worth, currency), currency),
                money.oldest_rate_days,
            )
            for code, money in in_books.items()
            if code != currency and money.worth
        ),
    )


def spend_of(found: Sequence[Sequence[Any]], currency: str) -> SpendCoverage:
    """From the rows of part 4: all spend."""
    by_code = {
        keys[0]: _Money.of(sums, is_wanted=keys[0] == currency) for part, _, keys, sums in found if part == 4
    }
    return SpendCoverage(
        money_text(_to_unit(_sum(by_code.values()).worth, currency), currency),
        tuple(
            BilledSpend(
                code,
                money_text(_to_unit(money.revenue, code), code),
                None if money.left_out else money_text(_to_unit(money.worth, currency), currency),
                None if money.left_out else money.oldest_rate_days,
            )
            for code, money in sorted(by_code.items())
            if money.revenue
        ),
    )


def _sum(all_: Iterable[_Money]) -> _Money:
    return reduce(_Money.plus, all_, _NOTHING)


def _to_unit(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(minor_unit(currency), ROUND_HALF_EVEN)


def _rounded(worth: Mapping[str, Decimal], currency: str) -> dict[str, Decimal]:
    """Converted amounts rounded: those in the books so that they add up to their rounded sum, by largest remainder; the
    others each by itself.
    """
    unit = minor_unit(currency)
    floors = {name: worth[name].quantize(unit, ROUND_FLOOR) for name in IN_BOOKS}
    missing = _to_unit(sum((worth[name] for name in IN_BOOKS), _ZERO), currency) - sum(floors.values(), _ZERO)
    by_rest = sorted(IN_BOOKS, key=lambda name: floors[name] - worth[name])
    for name in by_rest[: int(missing / unit)]:
        floors[name] += unit
    return {name: floors[name] if name in floors else _to_unit(worth[name], currency) for name in worth}


def _share(part: Decimal, whole: Decimal) -> Decimal | None:
    return plain_number((part / whole).quantize(RATIO_DIGITS)) if whole else None
