"""Exchange rates as text: what is read, and what is wrong with the rest."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from attribution.rates import Rate, bank_rates, own_rates
from sinks.rates import packaged_rates

HISTORY = """Date,USD,JPY,CYP,
2026-10-30,1.1172,175.68,N/A,
2026-10-29,1.113,175.92,N/A,
1999-01-04,1.1789,133.73,0.58231,
"""


def test_the_banks_history_is_read_in_order_and_without_gaps() -> None:
    assert bank_rates(HISTORY) == [
        Rate("CYP", date(1999, 1, 4), Decimal("0.58231")),
        Rate("JPY", date(1999, 1, 4), Decimal("133.73")),
        Rate("USD", date(1999, 1, 4), Decimal("1.1789")),
        Rate("JPY", date(2026, 10, 29), Decimal("175.92")),
        Rate("USD", date(2026, 10, 29), Decimal("1.113")),
        Rate("JPY", date(2026, 10, 30), Decimal("175.68")),
        Rate("USD", date(2026, 10, 30), Decimal("1.1172")),
    ]


def test_only_what_is_newer_is_read() -> None:
    assert {rate.day for rate in bank_rates(HISTORY, date(2026, 10, 29))} == {date(2026, 10, 30)}
    assert bank_rates(HISTORY, date(2026, 10, 30)) == []


def test_the_packaged_history_is_the_banks() -> None:
    """Of 1999-01-04, the first day of the euro, and without a rate that would not fit the table."""
    rates = bank_rates(packaged_rates())
    assert Rate("USD", date(1999, 1, 4), Decimal("1.1789")) in rates[:40]
    assert {"USD", "GBP", "CHF", "JPY", "TRY"} <= {rate.currency for rate in rates if rate.day.year == 2025}
    assert all(0 < rate.rate < 10**10 and rate.rate == round(rate.rate, 8) for rate in rates)


def test_own_rates_are_read_by_the_names_of_their_columns() -> None:
    text = "\ufeffRate,Day,note,Currency\n1.10,2026-10-01,booked,usd\n\n0.00012345,2026-10-01,,GBP\n"
    rates, problems = own_rates(text)
    assert not problems
    assert rates == [
        Rate("USD", date(2026, 10, 1), Decimal("1.10")),
        Rate("GBP", date(2026, 10, 1), Decimal("0.00012345")),
    ]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("2026-13-01,USD,1.1", "day"),
        ("20261001,USD,1.1", "day"),
        ("1969-12-31,USD,1.1", "day"),
        ("2026-10-01,XXZ,1.1", "currency"),
        ("2026-10-01,EUR,1", "currency"),
        ("2026-10-01,USD,0", "rate"),
        ("2026-10-01,USD,-1.1", "rate"),
        ("2026-10-01,USD,1,1", "rate"),
        ("2026-10-01,USD,1e3", "rate"),
        ("2026-10-01,USD,NaN", "rate"),
        ("2026-10-01,USD,1.123456789", "rate"),
        ("2026-10-01,USD,10000000000", "rate"),
        ("2026-10-01,USD", "rate"),
        ("2026-10-01,GBP,0.9", "rate"),
    ],
)
def test_a_line_that_is_no_rate_is_named_with_its_column(line: str, field: str) -> None:
    if field == "rate" and line.endswith("1,1"):
        line = '2026-10-01,USD,"1,1"'
    rates, problems = own_rates(f"day,currency,rate\n2026-10-01,GBP,0.8\n{line}\n")
    assert [(one.line, one.field) for one in problems] == [(3, field)]
    assert [rate.currency for rate in rates] == ["GBP"]


def test_a_file_without_the_columns_says_which_are_missing() -> None:
    _, problems = own_rates("date,currency,rate\n2026-10-01,USD,1.1\n")
    assert [(one.line, one.field) for one in problems] == [(1, "day")]
    assert own_rates("")[1][0].line == 1
