"""The rates that convert money, as SQL: worked out by the statement that needs them, or found before and given to it.

To work them out is hardly anything to read and much to plan, in a statement of several levels twice or more. So they
are asked for alone, remembered as runs of days with the same rates, and given as parameters. Whether they still hold,
the statement that uses them tells: how many rows ``fx_rates`` has, to which rows are only added, and the first day that
it had money of.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from api.queries import load_sql
from sinks.names import qualify

Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]
MOST_DAYS = 20_000
"""Days, each counted for each currency: more are worked out where they are needed."""
MOST_RUNS = 1_000
"""More would make the statement long."""
_MOST_REMEMBERED = 64
"""Questions by currencies and days. Those of one page are one or two."""
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Rates:
    """Rates of some days, remembered."""

    first: int
    """The first day, since 1970."""
    rows: int
    """How many ``fx_rates`` had."""
    parameters: Mapping[str, Any]
    """Of ``rates_given.sql``: columns of runs."""

    def hold(self, rows: int, first_day: int) -> bool:
        """Whether they still are right: ``fx_rates`` has ``rows``, and there is money from ``first_day`` on."""
        return rows == self.rows and first_day >= self.first


class RateBook:
    """The rates of one database. Threads may share it: what is written is whole."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._known: dict[tuple[str, tuple[str, ...], int, int], Rates] = {}

    def rates(
        self, wanted: str, currencies: tuple[str, ...], span: tuple[int, int], ask: Ask, *, anew: bool
    ) -> Rates | None:
        """Between ``wanted`` and ``currencies`` in ``span``: the first day since 1970 (0 = the first that has anything)
        and the one after the last. ``None`` if these are too many. ``anew``: what is remembered does not hold.
        """
        key = wanted, currencies, *span
        rates = None if anew else self._known.get(key)
        if rates is None:
            rates = self._find(wanted, currencies, span, ask)
            if rates is not None:
                if len(self._known) >= _MOST_REMEMBERED:
                    self._known = {}
                self._known[key] = rates
        return rates

    def _find(
        self, wanted: str, currencies: tuple[str, ...], span: tuple[int, int], ask: Ask
    ) -> Rates | None:
        table = qualify(self._database, "fx_rates")
        days = {"fx_from": span[0], "fx_to": span[1]}
        # Counted first: a rate that is written meanwhile makes them be read again.
        ((rows, first),) = ask(load_sql("rates_state", fx_rates=table, first=_first(self._database)), days)
        if (span[1] - first) * len(currencies) > MOST_DAYS:
            return None
        sql = _rates(self._database, "{fx_from:UInt32}")
        found = ask(sql, {**days, "fx_from": first, "currency": wanted, "currencies": list(currencies)})
        runs = _runs(found)
        if len(runs) > MOST_RUNS:
            return None
        names = ("fx_currency", "fx_from_rate", "fx_to_rate", "fx_since", "fx_begins", "fx_ends")
        return Rates(first, rows, {name: [run[place] for run in runs] for place, name in enumerate(names)})


def rates_sql(database: str) -> str:
    """A statement: what converts money of each currency and day into the currency asked for."""
    return _rates(database, _first(database))


def given_sql() -> str:
    """The same rows from ``Rates.parameters``."""
    return load_sql("rates_given")


def _first(database: str) -> str:
    return load_sql("rates_from", all_metrics=qualify(database, "all_metrics"))


def _rates(database: str, first: str) -> str:
    return load_sql(
        "rates",
        by_day=load_sql("rates_by_day", fx_rates=qualify(database, "fx_rates"), first=first),
    )


def _runs(found: Sequence[Sequence[Any]]) -> list[tuple[str, Decimal, Decimal, int, int, int]]:
    """Rows of ``rates.sql`` (currency, day, two rates, the day of the older one), days with the same of all in one:
    currency, rates, since, and the first day and the one after the last.
    """
    runs: list[tuple[str, Decimal, Decimal, int, int, int]] = []
    for currency, day, from_rate, to_rate, since in sorted(found, key=lambda row: (row[0], row[1])):
        number = (day - _EPOCH).days
        same = currency, from_rate, to_rate, (since - _EPOCH).days
        if runs and runs[-1][:4] == same and runs[-1][5] == number:
            runs[-1] = (*same, runs[-1][4], number + 1)
        else:
            runs.append((*same, number, number + 1))
    return runs
