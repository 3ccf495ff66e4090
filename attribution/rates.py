"""Exchange rates as text: what the European Central Bank publishes, and an installation's own. Pure.

A rate is how many units of a currency one euro buys, as the ECB writes it
(https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/).
"""

from __future__ import annotations

import csv
import io
import re
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from attribution.errors import Rejected
from attribution.money import currency_of

EURO = "EUR"
COLUMNS = ("day", "currency", "rate")
"""Of a file of own rates."""
_DIGITS = 8
_LIMIT = Decimal(10) ** 10
_NUMBER = re.compile(r"[0-9]{1,11}(\.[0-9]+)?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_NOT_THERE = ("", "N/A")


class Rate(NamedTuple):
    """Units of ``currency`` for one euro on ``day``."""

    currency: str
    day: date
    rate: Decimal


class RateProblem(NamedTuple):
    """Why a line of a file is no rate. The header is line 1."""

    line: int
    field: str
    message: str


def bank_rates(text: str, after: date | None = None) -> list[Rate]:
    """The rates of the ECB's history (a column for each currency, newest day first), those after a day only.

    In order of day and currency. Currencies that are no more are in it with the days that they had.
    """
    rows = csv.reader(io.StringIO(text))
    names = [name.strip() for name in next(rows, [])]
    found: list[Rate] = []
    for cells in rows:
        if not cells:
            continue
        day = date.fromisoformat(cells[0])
        if after is not None and day <= after:
            break
        found.extend(
            Rate(name, day, Decimal(cell))
            for name, cell in zip(names[1:], cells[1:], strict=False)
            if name and cell.strip() not in _NOT_THERE
        )
    return sorted(found, key=lambda one: (one.day, one.currency))


def own_rates(text: str) -> tuple[list[Rate], list[RateProblem]]:
    """The rates of a CSV file with the columns ``COLUMNS``, and what is wrong with its other lines."""
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    names = [name.strip().lower() for name in next(rows, [])]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        message = (
            f"The first line must name the columns {', '.join(COLUMNS)}; there is no {', '.join(missing)}."
        )
        return [], [RateProblem(1, missing[0], message)]
    places = [names.index(name) for name in COLUMNS]
    rates: list[Rate] = []
    problems: list[RateProblem] = []
    told: dict[tuple[str, date], Decimal] = {}
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            rate = _own_rate(*(cells[place].strip() if place < len(cells) else "" for place in places))
            if told.setdefault((rate.currency, rate.day), rate.rate) != rate.rate:
                raise Rejected("repeated", "Another line has another rate of that day and currency.", "rate")
            rates.append(rate)
        except Rejected as error:
            problems.append(RateProblem(rows.line_num, error.field, error.message))
    return rates, problems


def _own_rate(day: str, currency: str, rate: str) -> Rate:
    """Raises ``Rejected`` naming the column."""
    try:
        on = date.fromisoformat(day) if _DAY.fullmatch(day) else None
    except ValueError:
        on = None
    if on is None or not 1970 <= on.year <= 2105:
        raise Rejected("bad_day", "Write the day as 2026-10-01, from 1970 to 2105.", "day")
    code = currency_of(currency).code
    if code == EURO:
        raise Rejected("bad_currency", "A rate is units for one euro: leave the euro itself out.", "currency")
    value = Decimal(rate) if _NUMBER.fullmatch(rate) else Decimal(0)
    if not 0 < value < _LIMIT or value != round(value, _DIGITS):
        raise Rejected(
            "bad_rate",
            f"Write how many units one euro buys, such as 1.1172: above 0, at most {_DIGITS} decimals, a point and no"
            " separators.",
            "rate",
        )
    return Rate(code, on, value)
