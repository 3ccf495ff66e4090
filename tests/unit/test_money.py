"""Amounts are read, written and shared without losing or inventing a minor unit."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import Rejected
from attribution.money import (
    CURRENCIES,
    currency_of,
    format_amount,
    parse_amount,
    share,
    share_by_parts,
)


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.50", "USD", 1250),
        ("12.5", "USD", 1250),
        ("12", "USD", 1200),
        (" 12.50 ", "usd", 1250),
        ("+3", "EUR", 300),
        (".5", "EUR", 50),
        ("5.", "EUR", 500),
        ("0012.00", "EUR", 1200),
        ("12.500000", "USD", 1250),
        ("0", "USD", 0),
        ("-0.00", "USD", 0),
        ("1200", "JPY", 1200),
        ("1200.00", "JPY", 1200),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("1000000000000", "USD", 10**14),
    ],
)
def test_decimal_notation_becomes_minor_units(text: str, currency: str, minor: int) -> None:
    assert parse_amount(text, currency) == minor


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "+", "-", "NaN", "nan", "Infinity", "-inf", "1e5", "1E-2", "0x10", "1_000", "1,000.00", "1.2.3",
     "12 50", "$12", "12USD", "--1", "١٢", "\uff11\uff12", "1\n2", "<script>", "1" * 101, "\x00", "½"],
)  # fmt: skip
def test_everything_else_is_bad_money(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_amount(text, "USD", field="price")
    assert (caught.value.reason, caught.value.field) == ("bad_money", "price")


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("0.30000000000000004", "USD", 30),  # 0.1 + 0.2
        ("59.970000000000006", "USD", 5997),
        ("29.849999999999998", "USD", 2985),  # 3 * 9.95
        ("434.99999999999994", "JPY", 435),
        ("0.99999999999999989", "USD", 100),
        ("1234567.3000000001", "EUR", 123456730),
        ("3.3000000000000003", "KWD", 3300),
    ],
)
def test_the_noise_of_floating_point_is_not_money(text: str, currency: str, minor: int) -> None:
    """A shop's script adds prices as doubles; its purchases must not be lost for that."""
    assert parse_amount(text, currency) == minor


@pytest.mark.parametrize("text", ["1.005", "1.0000001", "12345678901.130001", "0.30000400000000004"])
def test_other_digits_are_no_noise(text: str) -> None:
    with pytest.raises(Rejected, match="decimals"):
        parse_amount(text, "USD")


@pytest.mark.parametrize(("text", "currency"), [("1.005", "USD"), ("0.5", "JPY"), ("1.2345", "KWD")])
def test_too_many_decimals_are_refused_not_rounded(text: str, currency: str) -> None:
    with pytest.raises(Rejected, match="decimals") as caught:
        parse_amount(text, currency)
    assert caught.value.reason == "bad_money"


@pytest.mark.parametrize("currency", ["", "US", "USDT", "XXX", "XAU", "123", "\x00", "EURO"])
def test_unknown_currency_is_refused(currency: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_amount("1", currency)
    assert (caught.value.reason, caught.value.field) == ("unknown_currency", "currency")


@pytest.mark.parametrize("text", ["1000000000000.01", "9" * 40, "-1000000000001"])
def test_amounts_beyond_a_million_million_are_not_believed(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_amount(text, "USD", allow_negative=True)
    assert caught.value.reason == "money_out_of_range"


def test_negative_money_needs_permission() -> None:
    with pytest.raises(Rejected) as caught:
        parse_amount("-1.00", "USD")
    assert caught.value.reason == "negative_money"
    assert parse_amount("-1.00", "USD", allow_negative=True) == -100


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(1250, "USD", "12.50"), (5, "USD", "0.05"), (-5, "USD", "-0.05"), (0, "EUR", "0.00"), (1200, "JPY", "1200"),
     (-7, "JPY", "-7"), (1, "KWD", "0.001"), (-12345, "CLF", "-1.2345")],
)  # fmt: skip
def test_minor_units_become_decimal_notation(minor: int, currency: str, text: str) -> None:
    assert format_amount(minor, currency) == text


def test_the_table_holds_active_currencies_with_their_decimals() -> None:
    assert {currency_of(code).exponent for code in ("JPY", "KRW", "VND", "XOF", "ISK", "CLP", "UGX")} == {0}
    assert {currency_of(code).exponent for code in ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")} == {3}
    assert {
        currency_of(code).exponent for code in ("USD", "EUR", "MRU", "MGA", "XCG", "ZWG", "SLE", "VED")
    } == {2}
    assert len(CURRENCIES) > 160


def test_a_third_each_gives_the_odd_cent_to_the_earliest() -> None:
    third = Fraction(1, 3)
    assert share(100, [third] * 3) == [34, 33, 33]
    assert share(200, [third] * 3) == [67, 67, 66]


def test_the_largest_remainder_comes_before_the_earliest() -> None:
    assert share(10, [Fraction(1, 8), Fraction(7, 8)]) == [1, 9]
    assert share(1, [Fraction(2, 5), Fraction(1, 5), Fraction(2, 5)]) == [1, 0, 0]


def test_taking_back_is_the_mirror_image_of_giving() -> None:
    weights = [Fraction(2, 5), Fraction(1, 10), Fraction(1, 10), Fraction(2, 5)]
    assert share(-9_999, weights) == [-amount for amount in share(9_999, weights)]


def test_nobody_gets_anything_when_all_weights_are_zero() -> None:
    assert share(100, []) == []
    assert share(100, [Fraction(0)] * 3) == [0, 0, 0]
    assert share(100, [Fraction(1)]) == [100]


@pytest.mark.parametrize("weights", [[Fraction(1, 2)], [Fraction(3, 2), Fraction(-1, 2)], [Fraction(2)]])
def test_weights_that_do_not_share_the_whole_are_an_error(weights: list[Fraction]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        share(100, weights)


@given(
    total=st.integers(-(10**12), 10**12),
    parts=st.lists(st.integers(0, 9) | st.integers(0, 2**62), min_size=1, max_size=12).filter(any),
)
def test_parts_of_any_size_are_shared_by_largest_remainder(total: int, parts: list[int]) -> None:
    """Told anew here, in fractions: every share is rounded down, and the odd units go to the largest remainders."""
    exact = [Fraction(abs(total) * part, sum(parts)) for part in parts]
    expected = [int(amount) for amount in exact]
    left = abs(total) - sum(expected)
    for index in sorted(range(len(parts)), key=lambda index: (expected[index] - exact[index], index))[:left]:
        expected[index] += 1
    assert share_by_parts(total, parts) == [-amount if total < 0 else amount for amount in expected]
