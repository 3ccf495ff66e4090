"""Rates that are found once and given to statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from api.rates import MOST_DAYS, RateBook

ONE, TWO = Decimal(1), Decimal(2)


def day(number: int) -> dt.date:
    return dt.date(1970, 1, 1) + dt.timedelta(days=number)


class Engine:
    """Answers the two statements of a rate book, and counts them."""

    def __init__(self, rates: Sequence[tuple[str, dt.date, Decimal, Decimal, dt.date]]) -> None:
        self.rates = rates
        self.asked = 0

    def __call__(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        self.asked += 1
        return self.rates if "from_rate" in sql else [(len(self.rates), parameters["fx_from"] or 10)]


def test_days_with_the_same_rates_are_one_run() -> None:
    engine = Engine(
        [
            ("GBP", day(11), ONE, TWO, day(10)),
            ("EUR", day(10), ONE, TWO, day(10)),
            ("GBP", day(10), ONE, TWO, day(10)),
            ("GBP", day(12), TWO, TWO, day(12)),
            ("GBP", day(14), TWO, TWO, day(12)),
        ]
    )
    rates = RateBook("db").rates("USD", ("EUR", "GBP", "USD"), (0, 20), engine, anew=False)
    assert rates is not None
    assert list(zip(*rates.parameters.values(), strict=True)) == [
        ("EUR", ONE, TWO, 10, 10, 11),
        ("GBP", ONE, TWO, 10, 10, 12),
        ("GBP", TWO, TWO, 12, 12, 13),
        ("GBP", TWO, TWO, 12, 14, 15),
    ]
    assert rates.hold(5, 10)
    assert not rates.hold(6, 10), "a rate was added"
    assert not rates.hold(5, 9), "there is money of an earlier day"


def test_rates_are_asked_for_once_until_they_do_not_hold() -> None:
    engine, book = Engine([("EUR", day(10), ONE, TWO, day(10))]), RateBook("db")
    asked = []
    for anew in (False, False, True):
        book.rates("USD", ("EUR", "USD"), (0, 20), engine, anew=anew)
        asked.append(engine.asked)
    assert asked == [2, 2, 4]


def test_too_many_days_are_not_given() -> None:
    book = RateBook("db")
    assert book.rates("USD", ("EUR", "USD"), (1, MOST_DAYS), Engine([]), anew=False) is None
