"""What becomes of customers: who is one, by which conversion, and what all of theirs have brought since.

SQL knows neither persons nor firsts, which are of all time whatever is asked. So a question reads all conversions as
numbers, tells who bought what (``attribution.bulk.customers``), and what the first conversion of each is; groups list
the conversions that they have a share of, and of these the first ones count. Whole numbers throughout: nothing is
rounded before everything is summed.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.catalog import LIFETIME, PAYBACK
from api.people import Numbers, People
from api.plan import Plan
from api.queries import load_sql
from api.rates import rates_sql
from api.selection import known_by
from attribution.bulk.customers import About, customers_of
from attribution.bulk.persons import Flags, Names, places_in
from attribution.bulk.persons import Numbers as Whole
from attribution.errors import Rejected
from attribution.persons import IdentityRules
from sinks.names import qualify

MOST_CONVERSIONS = 1_000_000
"""Rows of ``conversions`` whose customers are told: about 0.8 GB of memory while a question is answered."""
DIGITS = 18
"""Decimals of money here: as many as converted money has (``measures.in_currency``)."""
_STORED_DIGITS = 4
_MOST_ROWS_EACH = 4
"""Of one conversion: ids that senders told of it, and instants at which it was booked, on average."""
_DAY_MS = 86_400_000
_NO_RATE = "toDecimal64(0, 8)"
_OWN = "toDecimal64(1, 8)"

Exact = NDArray[np.object_]
"""Whole numbers of any size."""


class Brought(NamedTuple):
    """Bookings of customers, one after the other; beside each customer where his begin."""

    starts: Whole
    ages: Whole
    """Whole days since the customer was acquired; 0 before."""
    amounts: Exact
    """Of the currency asked for, in 1/10^``DIGITS``; 0 where no rate is known."""


class Known(NamedTuple):
    """All customers."""

    firsts: Names
    """The conversion that made each a customer, by hash, in order."""
    without_person: int
    """How many are a conversion that nobody can be found for."""
    worths: Exact
    """What each has brought to date, as ``Brought.amounts``; empty unless asked for."""
    are_rated: Flags
    """The money of the first conversion is counted: in the currency asked for, or converted to it."""
    brought: Brought


class Customers:
    """The customers of one database. Threads may share it; one reads at a time."""

    def __init__(self, database: str, rules: IdentityRules, people: People, numbers: Numbers) -> None:
        self._database = database
        self._rules = rules
        self._people = people
        self._numbers = numbers
        self._reading = threading.Lock()

    def known(self, plan: Plan) -> Known:
        """Everybody who is a customer, and what they brought if that is asked for.

        Raises ``Rejected`` (``not_available``) when there is more than can be read, as ``People.persons`` does.
        """
        with self._reading:
            conversions = self._ask("customers_conversions", plan, MOST_CONVERSIONS, 4)
            names, visitors, at_ms, is_worth = conversions.T
            by_name = np.argsort(names)
            about = self._about(plan, visitors, names, by_name)
            who = customers_of(about, self._people.joined(as_of=plan.as_of), self._rules)
            # Conversions are in order of time: the first of a customer is the earliest that is worth anything.
            worth = np.flatnonzero(is_worth)
            its, first = np.unique(who[worth], return_index=True)
            acquired = worth[first]
            order = np.argsort(names[acquired])
            acquired, its = acquired[order], its[order]
            is_told = np.bincount(about.conversions, minlength=len(names)) > 0
            known = Known(
                names[acquired],
                int(((visitors == 0) & ~is_told)[acquired].sum()),
                np.zeros(0, dtype=object),
                np.zeros(0, dtype=np.bool_),
                Brought(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, dtype=object)),
            )
            if not plan.customers & {LIFETIME, PAYBACK}:
                return known
            money = self._ask("customers_money", plan, _MOST_ROWS_EACH * MOST_CONVERSIONS, 5)
            # Of each conversion the number of its customer; -1 = none of theirs is worth anything now.
            numbers = np.full(len(names), -1, dtype=np.int64)
            numbers[its] = np.arange(len(its))
            place, is_there = places_in(names[by_name], money[:, 0])
            customer = np.where(is_there, numbers[who[by_name[place]]], -1) if len(names) else place - 1
            return _with_money(
                known, money[customer >= 0], customer[customer >= 0], at_ms.view(np.int64)[acquired]
            )

    def _about(self, plan: Plan, visitors: Names, conversions: Names, by_name: Whole) -> About:
        names, ids = self._ask("customers_told", plan, _MOST_ROWS_EACH * MOST_CONVERSIONS, 2).T
        place, is_there = places_in(conversions[by_name], names)
        is_there &= ~np.isin(ids, self._people.told_blocked())
        return About(visitors, by_name[place[is_there]], ids[is_there])

    def _ask(self, name: str, plan: Plan, most: int, columns: int) -> Names:
        sql = self._money_sql(plan) if name == "customers_money" else self._sql(name, "conversions", plan)
        # What customers brought is of all time: so are the rates.
        always = {"fx_from": 0, "fx_to": plan.parameters.get("fx_horizon", 0), "most": most + 1}
        found = self._numbers(sql, most + 1, {**plan.parameters, **always}).reshape(-1, columns)
        if len(found) > most:
            raise Rejected(
                "not_available",
                f"Customers are told of up to {MOST_CONVERSIONS:,} conversions, with {_MOST_ROWS_EACH} ids and bookings"
                " each on average; here are more. Ask for conversions.",
                "metrics",
            )
        return found

    def _sql(self, name: str, table: str, plan: Plan) -> str:
        return load_sql(name, **{table: qualify(self._database, table)}, known=known_by(plan.as_of))

    def _money_sql(self, plan: Plan) -> str:
        rows = self._sql("customers_booked", "credits", plan)
        if plan.converts:
            rows = load_sql("converted", rows=rows, rates=rates_sql(self._database))
            return load_sql("customers_money", rows=rows, to_rate="to_rate", from_rate="from_rate")
        counted = f"if(of_currency = {{currency:String}}, {_OWN}, {_NO_RATE})"
        return load_sql("customers_money", rows=rows, to_rate=counted, from_rate=_OWN)


def _with_money(known: Known, money: Names, customer: Whole, acquired_ms: Whole) -> Known:
    """``known`` with what customers brought: ``money`` as of ``customers_money.sql``, beside each row its customer."""
    by_customer = np.argsort(customer, kind="stable")
    names, at_ms, amount, to, from_ = money[by_customer].T
    customer = customer[by_customer]
    scale = 10 ** (DIGITS - _STORED_DIGITS)
    amounts = amount.view(np.int64).astype(object) * scale
    differs = to != from_
    amounts[differs] = amounts[differs] * to[differs].astype(object) // from_[differs].astype(object)
    count = len(known.firsts)
    worths = np.zeros(count, dtype=object)
    np.add.at(worths, customer, amounts)
    are_rated = np.zeros(count, dtype=np.bool_)
    are_rated[customer[(to > 0) & (names == known.firsts[customer])]] = True
    ages = np.maximum((at_ms.view(np.int64) - acquired_ms[customer]) // _DAY_MS, 0)
    starts = np.searchsorted(customer, np.arange(count + 1))
    return known._replace(worths=worths, are_rated=are_rated, brought=Brought(starts, ages, amounts))
