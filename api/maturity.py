"""How much of what touches will bring has arrived: read off older touches, of which all has. Pure but for ``ask``.

The curve is the share of attributed revenue that had arrived by each age of the touch, over the touches of a year that
are older than the longest lookback. A group's maturity is its revenue divided by what it would be if each hour's
revenue were divided by the share that arrives by that hour's age (the chain-ladder idea of actuaries).
One curve for all channels: a channel that takes longer than the others is less mature than it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from api.answers import ArrivedShare, Maturity
from api.instants import instant_text
from api.measures import in_currency
from api.numbers import RATIO_DIGITS, plain_number
from api.plan import Plan
from api.queries import load_sql
from api.rates import rates_sql
from attribution.policy import DAY_MS, AttributionPolicy
from sinks.names import qualify

MIN_CONVERSIONS = 100
"""Conversions that old touches must have brought, lest chance be taken for a rule."""
MIN_SHARE = 0.05
"""Younger touches, of whose revenue less than this has arrived, are not projected: the error would be too large."""
_COHORT_DAYS = 365
_HOURS = 48
"""Ages are whole hours up to here, then whole days."""
_TOLD_DAYS = (1, 2, 7, 14, 30, 60, 90, 180, 365)

Ask = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]


def maturity_of(
    plan: Plan, database: str, policy: AttributionPolicy, at_ms: int, ask: Ask
) -> tuple[Maturity, list[float]]:
    """What is known of how revenue arrives, and the share that has arrived by each place of ``arrived`` (see
    ``sql/arrived.sql``): nothing but 0 if that is too little to say anything.

    ``at_ms``: the instant of the answer, epoch milliseconds.
    """
    window = -(-max(policy.conversion_lookbacks_ms.values()) // DAY_MS)
    until = at_ms - window * DAY_MS
    since = until - _COHORT_DAYS * DAY_MS
    places = window + _HOURS - 2
    money = "sum(p_money)"
    rows = load_sql(
        "arrived",
        credits=qualify(database, "credits"),
        where=plan.curve_where,
        by_money=", of_currency, of_day" if plan.converts else "",
        of_money=", CAST(currency, 'String') AS of_currency, toDate(booked_at, 'UTC') AS of_day"
        if plan.converts
        else "",
        wanted="1" if plan.converts else "currency = {currency:String}",
    )
    if plan.converts:
        rows = load_sql("converted", rows=rows, rates=rates_sql(database))
        money = f"sum({in_currency('p_money')})"
    sql = load_sql("arrived_by_age", rows=rows, money=money)
    # The rates of all days that these conversions can have.
    told = {"fx_from": since // DAY_MS} if plan.converts else {}
    parameters = {**plan.parameters, **told, "cohort_from": since, "cohort_to": until, "places": places}
    amounts = [0.0] * places
    conversions = Decimal(0)
    for place, amount, count in ask(sql, parameters):
        amounts[int(place) - 1] += float(amount)
        conversions += Decimal(count)
    total = sum(amounts)
    refused = ""
    if conversions < MIN_CONVERSIONS or total <= 0:
        refused = (
            f"Touches that are older than {window} days, so that all they bring has arrived, brought"
            f" {plain_number(conversions.quantize(RATIO_DIGITS))} conversions with revenue; from {MIN_CONVERSIONS} on a"
            " share of what is still to come can be told."
        )
    arrived: list[float] = []
    sum_so_far = 0.0
    for amount in amounts:
        sum_so_far += amount
        arrived.append(0.0 if refused else sum_so_far / total)
    known = [round(share, 6) if share >= MIN_SHARE else 0.0 for share in arrived]
    return (
        Maturity(
            conversions=plain_number(conversions.quantize(RATIO_DIGITS)),
            touched_from=instant_text(since),
            touched_until=instant_text(until),
            window_days=window,
            arrived=()
            if refused
            else tuple(
                ArrivedShare(days, plain_number(Decimal(arrived[_place(days) - 1]).quantize(RATIO_DIGITS)))
                for days in _TOLD_DAYS
                if _place(days) <= places
            ),
            refused=refused or None,
        ),
        known,
    )


def _place(days: int) -> int:
    hours = 24 * days
    return hours if hours < _HOURS else _HOURS - 2 + days
