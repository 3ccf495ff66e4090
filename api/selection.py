"""Which rows a question is about: names looked up, dates and filters as conditions. Pure; shared by every question.

Text from users ends up in server-side parameters only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from api.catalog import DIMENSIONS, OPERATORS, Dimension
from api.instants import parse_day
from api.requests import Filter
from attribution.errors import Rejected
from attribution.funnel import Funnel
from attribution.money import currency_of

END_OF_TIME = 2**32 - 1
"""Largest instant of ClickHouse's DateTime, in 2106."""
_SINCE = "hour >= toDateTime({from:UInt32}, 'UTC')"
_UNTIL = "hour < toDateTime({to:UInt32}, 'UTC')"
_TIMES = {
    "hour": ("%Y-%m-%dT%H:00:00Z", "2026-10-31T18:00:00Z (UTC)"),
    "day": ("%Y-%m-%d", "2026-10-31"),
    "week": ("%Y-%m-%d", "2026-10-26, its Monday"),
    "month": ("%Y-%m", "2026-10"),
}
"""Dimensions of time: what their values look like, and an example."""


@dataclass(frozen=True)
class Condition:
    """One filter as SQL."""

    dimension: Dimension
    sql: str


def check_names(field: str, names: Sequence[str], valid: Collection[str]) -> Sequence[str]:
    """``names``. Raises ``Rejected`` for the first that is not one of ``valid``, or is there twice."""
    for number, name in enumerate(names):
        check_name(field.removesuffix("s"), f"{field}.{number}", name, valid)
        if name in names[:number]:
            raise Rejected("duplicate_name", f"{name} is asked for twice.", f"{field}.{number}")
    return names


def check_name(what: str, field: str, name: str, valid: Collection[str]) -> None:
    """Raise ``Rejected`` unless ``name`` is one of ``valid``.

    The name itself is not repeated in the message.
    """
    choice = f"Choose from: {', '.join(valid)}."
    if name in valid:
        return
    raise Rejected(f"unknown_{what}", f"There is no such {what}. {choice}", field)


def wanted_currency(code: str) -> str:
    """ISO 4217, upper case. Raises ``Rejected`` naming the field."""
    try:
        return currency_of(code).code
    except Rejected as error:
        raise Rejected(error.reason, error.message, "currency") from error


def condition_of(number: int, given: Filter) -> Condition:
    """The filter ``number`` of a question; its values are the parameter ``f<number>``. Raises ``Rejected``."""
    name, operator, values = given
    check_name("dimension", f"filters.{number}.0", name, DIMENSIONS)
    check_name("operator", f"filters.{number}.1", operator, OPERATORS)
    if operator.startswith("contains") and "" in values:
        raise Rejected(
            "empty_value", "Every text contains the empty one; use is or is_not.", f"filters.{number}.2"
        )
    if name in _TIMES and not operator.startswith("contains"):
        _check_times(name, values, f"filters.{number}.2")
    dimension = DIMENSIONS[name]
    column = dimension.text.format(dimension.key)
    sql = OPERATORS[operator].format(column=column, parameter=f"f{number}")
    return Condition(dimension, f"({sql})" if dimension.of_traffic else f"(model = '' OR {sql})")


def _check_times(name: str, values: Sequence[str], field: str) -> None:
    """Raise ``Rejected`` for the first that no row can have: it would be answered with nothing."""
    pattern, example = _TIMES[name]
    for place, value in enumerate(values):
        try:
            found = dt.datetime.strptime(value, pattern)
        except ValueError:
            found = None
        if found is None or found.strftime(pattern) != value or (name == "week" and found.weekday()):
            raise Rejected("bad_value", f"Write a {name} as answers do: {example}.", f"{field}.{place}")


def parse_range(given: tuple[str | None, str | None] | None) -> tuple[int, int]:
    """First instant and the one after the last, epoch seconds. Raises ``Rejected``."""
    first, last = given or (None, None)
    since = parse_day(first, "date_range.0")
    until = parse_day(last, "date_range.1")
    if since and until and since > until:
        raise Rejected("bad_date_range", "The first day is after the last.", "date_range")
    return (
        _epoch(since) if since else 0,
        _epoch(until + dt.timedelta(days=1)) if until else END_OF_TIME,
    )


def hours_within(since: int, until: int) -> list[str]:
    """Conditions on the hour, none where the range is open: they would be looked at row by row."""
    return [*([_SINCE] if since else []), *([_UNTIL] if until < END_OF_TIME else [])]


def within(time: str) -> str:
    """Condition: the column ``time`` lies in the date range (DateTime64: see facts_detail.sql)."""
    return f"{time} >= toDateTime64({{from:UInt32}}, 3, 'UTC') AND {time} < toDateTime64({{to:UInt32}}, 3, 'UTC')"


def known_by(as_of: int | None) -> str:
    """Condition: the row was recorded by the instant that is the parameter ``as_of`` (epoch ms); ``None`` = now."""
    return "1" if as_of is None else "toUnixTimestamp64Milli(recorded_at) <= {as_of:Int64}"


def _epoch(day: dt.date) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp())


def stage_values(funnel: Funnel) -> dict[str, list[str]]:
    """The parameters that the dimension ``stage`` reads: conversion types, and beside each its stage."""
    pairs = [(event, stage.name) for stage in funnel.stages for event in stage.reached_by]
    return {"stage_types": [event for event, _ in pairs], "stage_names": [name for _, name in pairs]}


def all_of(*conditions: str) -> str:
    """All of them hold."""
    return " AND ".join(conditions)
