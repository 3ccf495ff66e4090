"""Exact money: integers in minor units of an ISO 4217 currency. No floats anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import lcm

import msgspec

from attribution.errors import Rejected
from attribution.tables import read_rows

MAX_MAJOR_UNITS = 10**12
"""Largest absolute amount, in major units. With four decimals it still fits ``Decimal(18, 4)``."""

_MAX_TEXT = 100
_DIGITS_OF_A_DOUBLE = 15
_NOISE = ("00000", "99999")
"""How the digits beyond the minor unit begin when they are the rounding error of a double."""
_DECIMAL = re.compile(r"([+-]?)(?=[0-9.])([0-9]*)(?:\.([0-9]*))?", re.ASCII)


class Currency(msgspec.Struct, frozen=True):
    """One ISO 4217 currency."""

    code: str
    exponent: int
    """Digits of the minor unit: 2 for USD (cents), 0 for JPY, 3 for KWD."""
    name: str


CURRENCIES: dict[str, Currency] = {
    code: Currency(code, int(exponent), name) for code, exponent, name in read_rows("currencies.tsv")
}


def currency_of(code: str) -> Currency:
    """The currency named ``code`` (case and outer blanks do not matter). Raises ``Rejected('unknown_currency')``."""
    currency = CURRENCIES.get(code) or CURRENCIES.get(code.strip().upper())
    if currency is None:
        raise Rejected("unknown_currency", "Send an ISO 4217 currency code such as USD or EUR.", "currency")
    return currency


def parse_amount(text: str, currency: str, *, field: str = "value", allow_negative: bool = False) -> int:
    """Minor units of ``text``, a number in plain decimal notation such as ``12.50``.

    Raises ``Rejected`` with reason ``unknown_currency``, ``bad_money``, ``negative_money`` or
    ``money_out_of_range`` (more than 10^12 major units). Zeros beyond the currency's decimals are fine, other
    digits there are refused rather than rounded: rounding would be inventing money. Only the noise of binary
    floating point is taken for what it is: JavaScript says 0.1 + 0.2 = 0.30000000000000004, which is 0.30.
    """
    unit = currency_of(currency)
    stripped = text.strip()
    match = _DECIMAL.fullmatch(stripped) if len(stripped) <= _MAX_TEXT else None
    if match is None or not (match[2] or match[3]):
        raise Rejected(
            "bad_money",
            "Send the amount as a plain decimal number such as 12.50, without signs or words.",
            field,
        )
    sign, whole, fraction = match[1], match[2], match[3] or ""
    beyond = fraction[unit.exponent :]
    if beyond.strip("0") and not (_is_computed(whole, fraction) and beyond.startswith(_NOISE)):
        raise Rejected(
            "bad_money",
            f"{unit.code} has {unit.exponent} decimals; send no more than that (zeros at the end are fine).",
            field,
        )
    minor = int((whole or "0") + fraction[: unit.exponent].ljust(unit.exponent, "0"))
    if beyond.startswith("9"):
        minor += 1
    if minor > MAX_MAJOR_UNITS * 10**unit.exponent:
        raise Rejected(
            "money_out_of_range", f"Amounts above {MAX_MAJOR_UNITS} {unit.code} are not believed.", field
        )
    if sign != "-" or minor == 0:
        return minor
    if not allow_negative:
        raise Rejected("negative_money", "Send an amount of zero or more; a refund is its own event.", field)
    return -minor


@lru_cache(maxsize=8192)
def _is_computed(whole: str, fraction: str) -> bool:
    """So many digits are written by a computer that added doubles, never by a person."""
    return len((whole + fraction).lstrip("0")) >= _DIGITS_OF_A_DOUBLE


@lru_cache(maxsize=8192)
def format_amount(minor: int, currency: str) -> str:
    """Decimal notation of ``minor``: ``format_amount(-5, "USD") == "-0.05"``. Raises ``Rejected``."""
    exponent = currency_of(currency).exponent
    if exponent == 0:
        return str(minor)
    digits = str(abs(minor)).rjust(exponent + 1, "0")
    return f"{'-' if minor < 0 else ''}{digits[:-exponent]}.{digits[-exponent:]}"


def share(total: int, weights: Sequence[Fraction]) -> list[int]:
    """``total`` shared by ``weights`` in whole units: largest remainder, ties to the earliest.

    The sum is exactly ``total`` and every share lies within one unit of its exact value. A negative total is
    shared as the mirror image of the positive one, so taking back a credit takes back the same units.
    Weights are zero or more and sum to 1 (else ``ValueError``); if all are zero, nobody gets anything.
    Source of the rule: definitions C5 (d).
    """
    denominator = lcm(*[weight.denominator for weight in weights])
    parts = [weight.numerator * (denominator // weight.denominator) for weight in weights]
    if not any(parts):
        return [0] * len(parts)
    if sum(parts) != denominator or min(parts) < 0:
        raise ValueError("weights must be zero or more and sum to 1")
    return share_by_parts(total, parts)


def share_by_parts(total: int, parts: Sequence[int]) -> list[int]:
    """``share`` by weights that are to each other as ``parts`` are: zero or more, not all of them zero."""
    count, size = len(parts), abs(total)
    if parts.count(parts[0]) == count:
        whole, left = divmod(size, count)
        shares = [whole + 1] * left + [whole] * (count - left)
        return shares if total >= 0 else [-amount for amount in shares]
    denominator = sum(parts)
    shares, remainders = [], []
    for part in parts:
        whole, rest = divmod(size * part, denominator)
        shares.append(whole)
        remainders.append(rest)
    left = size - sum(shares)
    if left:
        for index in sorted(range(count), key=remainders.__getitem__, reverse=True)[:left]:
            shares[index] += 1
    return shares if total >= 0 else [-amount for amount in shares]
