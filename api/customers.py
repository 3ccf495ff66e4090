"""What becomes of customers: who is one, by which conversion, and what all of theirs have brought since.

SQL knows neither persons nor firsts, which are of all time whatever is asked. So a question reads all conversions as
numbers, tells who bought what (``attribution.bulk.customers``), and what the first conversion of each is; groups list
the conversions that they have a share of, and of these the first ones count. Whole numbers throughout: nothing is
rounded before everything is summed.

What is told of now is kept until conversions, links, entries of the model or rates have come, which each question asks.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np

from api.catalog import LIFETIME, PAYBACK
from api.exact import Exact, Parts, parts_of
from api.people import Numbers, People, Rows
from api.plan import Plan
from api.queries import load_sql
from api.rates import rates_sql
from api.selection import known_by
from attribution.bulk.customers import About, customers_of, standing
from attribution.bulk.persons import Flags, Joined, Names, places_in
from attribution.bulk.persons import Numbers as Whole
from attribution.errors import Rejected
from attribution.persons import IdentityRules
from sinks.names import qualify

MOST_CONVERSIONS = 1_000_000
"""Conversions whose customers are told: about 0.8 GB of memory while a question is answered."""
DIGITS = 18
"""Decimals of money here: as many as converted money has (``measures.in_currency``)."""
MOST_KEPT = 4
"""Models and currencies of which it is kept what customers brought: about 30 MB each of a million conversions."""
_STORED_DIGITS = 4
_MOST_ROWS_EACH = 4
"""Of one conversion: rows, ids that senders told of it, and instants at which it was booked, on average."""
_DAY_MS = 86_400_000
_NO_RATE = "toDecimal64(0, 8)"
_OWN = "toDecimal64(1, 8)"


class Brought(NamedTuple):
    """Bookings of customers, one after the other; beside each customer where his begin."""

    starts: Whole
    ages: Whole
    """Whole days since the customer was acquired; 0 before."""
    amounts: Parts
    """Of the currency asked for, in 1/10^``DIGITS``; 0 where no rate is known."""


class Known(NamedTuple):
    """All customers."""

    firsts: Names
    """The conversion that made each a customer, by hash, in order."""
    without_person: int
    """How many are a conversion that nobody can be found for."""
    are_rated: Flags
    """The money of the first conversion is counted: in the currency asked for, or converted to it. Empty without
    ``brought``."""
    brought: Brought | None
    """``None`` unless asked for."""


class _Bought(NamedTuple):
    """Who bought what."""

    firsts: Names
    without_person: int
    acquired_ms: Whole
    """Beside each of ``firsts`` when that was, epoch milliseconds."""
    conversions: Names
    """All that stand, in order."""
    customers: Whole
    """Beside each the place of its customer in ``firsts``; -1 = nothing of his is worth anything now."""


class Customers:
    """The customers of one database. Threads may share it; one reads at a time."""

    def __init__(
        self, database: str, rules: IdentityRules, people: People, rows: Rows, numbers: Numbers
    ) -> None:
        self._database = database
        self._rules = rules
        self._people = people
        self._rows = rows
        self._numbers = numbers
        self._reading = threading.Lock()
        self._kept: tuple[Hashable, Joined, _Bought] | None = None
        self._money: OrderedDict[Hashable, tuple[Hashable, Known]] = OrderedDict()
        """By what was asked for, what was kept of ``self._kept``; what was asked for last is last."""

    def known(self, plan: Plan) -> Known:
        """Everybody who is a customer, and what they brought if that is asked for.

        Raises ``Rejected`` (``not_available``) when there is more than can be read, as ``People.persons`` does.
        """
        with self._reading:
            bought = self._read(plan) if plan.as_of is not None else self._bought_now(plan)
            if not plan.customers & {LIFETIME, PAYBACK}:
                nothing = np.zeros(0, dtype=np.bool_)
                return Known(bought.firsts, bought.without_person, nothing, None)
            if plan.as_of is not None:
                return self._with_money(plan, bought)
            return self._with_money_now(plan, bought)

    def _bought_now(self, plan: Plan) -> _Bought:
        # Asked before anything is read: what comes in between is read again by the next question, never missed by it.
        state = self._state("customers_state", {}, "conversions")
        joined = self._people.joined()
        if self._kept is not None and self._kept[0] == state and self._kept[1] is joined:
            return self._kept[2]
        self._money.clear()
        self._kept = None
        bought = self._read(plan, joined)
        self._kept = (state, joined, bought)
        return bought

    def _with_money_now(self, plan: Plan, bought: _Bought) -> Known:
        names = ("model", "currency", "currencies", "fx_horizon")
        asked = (plan.converts, *(str(plan.parameters.get(name)) for name in names))
        state = self._state("customers_money_state", plan.parameters, "credits")
        if plan.converts:
            state += self._state("customers_rates_state", {}, "fx_rates", "all_metrics")
        kept = self._money.pop(asked, None)
        known = kept[1] if kept is not None and kept[0] == state else self._with_money(plan, bought)
        self._money[asked] = (state, known)
        if len(self._money) > MOST_KEPT:
            self._money.popitem(last=False)
        return known

    def _state(self, name: str, parameters: Mapping[str, Any], *tables: str) -> tuple[Any, ...]:
        sql = load_sql(name, **{table: qualify(self._database, table) for table in tables})
        return tuple(self._rows(sql, dict(parameters))[0])

    def _read(self, plan: Plan, joined: Joined | None = None) -> _Bought:
        rows = self._ask("customers_conversions", plan, _MOST_ROWS_EACH * MOST_CONVERSIONS, 5)
        in_time, by_name = standing(rows[:, 0], rows[:, 1:4], rows[:, 4].view(np.int64))
        if len(in_time) > MOST_CONVERSIONS:
            raise _too_many()
        place_of = np.zeros(len(rows), dtype=np.int64)
        place_of[in_time] = np.arange(len(in_time))
        by_name = place_of[by_name]
        names, visitors, at_ms, worths = rows[in_time, :4].T.copy()
        del rows
        about = self._about(plan, visitors, names, by_name)
        who = customers_of(about, joined or self._people.joined(as_of=plan.as_of), self._rules)
        # Conversions are in order of time: the first of a customer is the earliest that is worth anything.
        worth = np.flatnonzero(worths.view(np.int64) > 0)
        first = np.full(len(who), -1, dtype=np.int64)
        first[who[worth[::-1]]] = worth[::-1]
        its = np.flatnonzero(first >= 0)
        acquired = first[its]
        order = np.argsort(names[acquired])
        acquired, its = acquired[order], its[order]
        is_told = np.bincount(about.conversions, minlength=len(names)) > 0
        numbers = np.full(len(names), -1, dtype=np.int64)
        numbers[its] = np.arange(len(its))
        return _Bought(
            names[acquired],
            int(((visitors == 0) & ~is_told)[acquired].sum()),
            at_ms.view(np.int64)[acquired],
            names[by_name],
            numbers[who[by_name]],
        )

    def _about(self, plan: Plan, visitors: Names, conversions: Names, by_name: Whole) -> About:
        names, ids = self._ask("customers_told", plan, _MOST_ROWS_EACH * MOST_CONVERSIONS, 2).T
        place, is_there = places_in(conversions[by_name], names)
        is_there &= ~np.isin(ids, self._people.told_blocked())
        return About(visitors, by_name[place[is_there]], ids[is_there])

    def _with_money(self, plan: Plan, bought: _Bought) -> Known:
        money = self._ask("customers_money", plan, _MOST_ROWS_EACH * MOST_CONVERSIONS, 5)
        place, is_there = places_in(bought.conversions, money[:, 0])
        customer = np.full(len(money), -1, dtype=np.int64)
        customer[is_there] = bought.customers[place[is_there]]
        return _brought(bought, money[customer >= 0], customer[customer >= 0])

    def _ask(self, name: str, plan: Plan, most: int, columns: int) -> Names:
        sql = self._money_sql(plan) if name == "customers_money" else self._sql(name, "conversions", plan)
        # What customers brought is of all time: so are the rates.
        always = {"fx_from": 0, "fx_to": plan.parameters.get("fx_horizon", 0), "most": most + 1}
        found = self._numbers(sql, most + 1, {**plan.parameters, **always}).reshape(-1, columns)
        if len(found) > most:
            raise _too_many()
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


def _too_many() -> Rejected:
    return Rejected(
        "not_available",
        f"Customers are told of up to {MOST_CONVERSIONS:,} conversions, with {_MOST_ROWS_EACH} rows, ids and bookings"
        " each on average; here are more. Ask for conversions.",
        "metrics",
    )


def _brought(bought: _Bought, money: Names, customer: Whole) -> Known:
    """Customers with what they brought: ``money`` as of ``customers_money.sql``, beside each row its customer."""
    by_customer = np.argsort(customer, kind="stable")
    names, at_ms, amount, to, from_ = money[by_customer].T
    customer = customer[by_customer]
    count = len(bought.firsts)
    are_rated = np.zeros(count, dtype=np.bool_)
    are_rated[customer[(to > 0) & (names == bought.firsts[customer])]] = True
    ages = np.maximum((at_ms.view(np.int64) - bought.acquired_ms[customer]) // _DAY_MS, 0)
    starts = np.searchsorted(customer, np.arange(count + 1))
    amounts = _amounts(amount.view(np.int64), to, from_)
    return Known(bought.firsts, bought.without_person, are_rated, Brought(starts, ages, amounts))


def _amounts(stored: Whole, to: Names, from_: Names) -> Parts:
    """``stored`` (in 1/10,000) times ``to`` / ``from_``, cut off at 1/10^``DIGITS``."""
    scale = 10 ** (DIGITS - _STORED_DIGITS)
    differs = to != from_
    own = (scale, np.where(differs, 0, stored))
    if not differs.any():
        return (own,)
    converted: Exact = np.zeros(len(stored), dtype=object)
    exact = stored[differs].astype(object) * scale * to[differs].astype(object)
    converted[differs] = exact // from_[differs].astype(object)
    return (own, *parts_of(converted))
