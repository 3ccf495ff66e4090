"""How sums become the values of an answer: rounding comes last, after everything is summed and divided. Pure."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from attribution.money import CURRENCIES

RATIO_DIGITS = Decimal("0.000001")
_FINER = 2
"""Decimals beyond the minor unit of what one click costs: it is often less than a cent."""


def minor_unit(currency: str) -> Decimal:
    """0.01 for USD, 1 for JPY."""
    known = CURRENCIES.get(currency)
    return Decimal(1).scaleb(-(known.exponent if known else 2))


def money_text(amount: Decimal, currency: str) -> str:
    """``amount`` with the decimals of its currency; digits beyond them are kept rather than rounded away."""
    rounded = amount.quantize(minor_unit(currency))
    return f"{rounded if rounded == amount else amount.normalize():f}"


def rounded_money(amount: Decimal, currency: str) -> str:
    """``amount``, a sum of micros or converted, rounded half to even to the decimals of its currency."""
    return f"{amount.quantize(minor_unit(currency), ROUND_HALF_EVEN):f}"


def plain_number(amount: Decimal) -> Decimal:
    """``amount`` without zeros at the end: ``1.500000000`` is 1.5, ``100`` stays 100."""
    return Decimal(f"{amount.normalize():f}")


def ratio(value: Decimal | int, base: Decimal | int) -> Decimal | None:
    """With six decimals; ``None`` when the base is 0."""
    if not base:
        return None
    return plain_number((Decimal(value) / Decimal(base)).quantize(RATIO_DIGITS, ROUND_HALF_EVEN))


def money_each(value: Decimal, base: Decimal | int, currency: str) -> str | None:
    """Money for each of ``base``, in minor units; ``None`` when the base is 0."""
    return f"{(value / base).quantize(minor_unit(currency), ROUND_HALF_EVEN):f}" if base else None


def money_each_finely(value: Decimal, base: Decimal | int, currency: str) -> str | None:
    """As ``money_each`` with up to two decimals more, if it has them: 0.0234 USD, but 1.20 USD."""
    if not base:
        return None
    unit = minor_unit(currency)
    amount = (value / base).quantize(unit.scaleb(-_FINER), ROUND_HALF_EVEN)
    rounded = amount.quantize(unit)
    return f"{rounded if rounded == amount else amount.normalize():f}"
