"""No lost cent: whatever the amount and the weights."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import Rejected
from attribution.money import CURRENCIES, format_amount, parse_amount, share

_parts = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)


@given(st.integers(-(10**14), 10**14), _parts)
def test_shares_add_up_and_lie_within_one_unit(total: int, parts: list[int]) -> None:
    weights = [Fraction(part, sum(parts)) for part in parts]
    shares = share(total, weights)
    assert sum(shares) == total
    assert all(abs(given_ - total * weight) < 1 for given_, weight in zip(shares, weights, strict=True))
    assert shares == [-amount for amount in share(-total, weights)]
    assert all(amount == 0 for amount, part in zip(shares, parts, strict=True) if part == 0)


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_of_equal_weights_the_earlier_never_gets_less(total: int, count: int) -> None:
    shares = share(total, [Fraction(1, count)] * count)
    assert shares == sorted(shares, reverse=True)


@given(st.integers(-(10**12), 10**12), st.sampled_from(sorted(CURRENCIES)))
def test_written_amounts_are_read_back(minor: int, currency: str) -> None:
    assert parse_amount(format_amount(minor, currency), currency, allow_negative=True) == minor


@given(st.text(max_size=120), st.text(max_size=5) | st.sampled_from(["USD", "JPY"]))
def test_any_text_is_read_or_rejected(text: str, currency: str) -> None:
    try:
        outcome = "read" if 0 <= parse_amount(text, currency) <= 10**16 else "out of bounds"
    except Rejected as rejected:
        outcome = rejected.reason
    assert outcome in {"read", "bad_money", "unknown_currency", "negative_money", "money_out_of_range"}
