"""What `headwater doctor` and the tests ask of the stored data: do the books balance, do the roll-ups agree?

Each check is one SQL file that answers the rows that are wrong; none means all is well. They read everything unless
given a range: ``headwater doctor`` asks for all, the self-audit for one slice at a time (``sinks.audit``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from sinks.engine_errors import explain_error
from sinks.names import qualify
from sinks.queries import load_sql
from sinks.tables import CONVERSIONS_COLUMNS, PATHS_COLUMNS, SESSIONS_COLUMNS, TABLES, TOUCHPOINTS_COLUMNS

T = TypeVar("T")
_NOT_FACTS = frozenset(
    {"site", "sign", "cause", "recorded_at", "src_broker", "src_partition", "src_offset"}
    # Of touchpoints. Rows of the first version have none, those that take them back do.
    | {"kind"}
)
"""Columns that differ between a fact and its withdrawal."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in words for a person."""

    subject: str
    """What it is about: an id, or the cell of a report."""
    detail: str
    """Both sides as they were read."""
    gap: str = ""
    """The difference alone, where ``detail`` also changes while rows are being written; "" = ``detail``."""


@dataclass(frozen=True)
class Hours:
    """Hours ``[low, high)`` of event time, epoch seconds. By default all that a ``DateTime`` can hold."""

    low: int = 0
    high: int = 2**32 - 1


@dataclass(frozen=True)
class Ids:
    """Conversion ids ``[low, high)``. By default all."""

    low: str = ""
    high: str = "\U0010ffff"


ALL_HOURS, ALL_IDS = Hours(), Ids()
_HOURS_OF = (
    "toStartOfHour({0}) >= toDateTime({{low:UInt32}}, 'UTC')"
    " AND toStartOfHour({0}) < toDateTime({{high:UInt32}}, 'UTC')"
)
_IDS = "conversion_id >= {low:String} AND conversion_id < {high:String}"
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Check:
    """The outcome of one check. ``findings`` holds the first ones only (see ``limit``)."""

    name: str
    promise: str
    """What holds when there are no findings."""
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Nothing was found."""
        return not self.findings


@dataclass(frozen=True)
class DeadLetters:
    """Dead letters of one topic and reason."""

    topic: str
    reason: str
    letters: int
    replayed: int
    last_at: str
    """UTC, ``YYYY-MM-DD hh:mm:ss.mmm``."""


def run_checks(client: Client, database: str, *, limit: int = 100, at_rest_seconds: int = 60) -> list[Check]:
    """Every check of the stored data, each with at most ``limit`` findings.

    Raises ``Transient`` or ``Misconfigured``.
    """
    return [
        check_books(client, database, limit=limit),
        check_uncredited(client, database, limit=limit, at_rest_seconds=at_rest_seconds),
        check_roll_up(client, database, limit=limit),
        check_roll_up_paths(client, database, limit=limit),
        check_roll_up_spend(client, database, limit=limit),
        check_spend_signs(client, database, limit=limit),
        *check_signs(client, database, limit=limit),
        check_duplicate_hits(client, database, limit=limit),
    ]


def check_books(client: Client, database: str, *, ids: Ids = ALL_IDS, limit: int = 100) -> Check:
    """The credit of every conversion and model equals its value at every instant of booking (invariant I2)."""

    def tell(row: Sequence[Any]) -> Finding:
        conversion_id, model, currencies, weight, amount, value = row
        return Finding(
            f"{conversion_id} {model}",
            f"weight {weight:f}, credited {amount:f} of {value:f} {'/'.join(currencies)}",
        )

    promise = "credit equals the value of every conversion under every model, at every instant of booking"
    found = _ask(client, database, "books", tell, limit=limit, low=ids.low, high=ids.high)
    return Check("books", promise, found)


def check_uncredited(
    client: Client, database: str, *, ids: Ids = ALL_IDS, limit: int = 100, at_rest_seconds: int = 60
) -> Check:
    """Conversions that stand are credited, withdrawn ones are not; judged ``at_rest_seconds`` after they
    changed.
    """

    def tell(row: Sequence[Any]) -> Finding:
        return Finding(row[0], f"stands {row[1]} times in conversions, {row[2]} times in credits")

    bounds: dict[str, Any] = {"low": ids.low, "high": ids.high, "at_rest_seconds": at_rest_seconds}
    found = _ask(client, database, "uncredited", tell, limit=limit, **bounds)
    return Check("uncredited", "every conversion that stands is credited, and no other", found)


def check_roll_up(client: Client, database: str, *, limit: int = 100) -> Check:
    """``channel_metrics`` equals a recount of ``hits``, ``sessions`` and ``credits``."""
    traffic = check_roll_up_traffic(client, database, limit=limit)
    credits = check_roll_up_credits(client, database, limit=limit)
    promise = "channel_metrics equals a recount from hits, sessions and credits"
    return Check("roll_up", promise, (*traffic.findings, *credits.findings)[:limit])


def check_roll_up_traffic(
    client: Client,
    database: str,
    *,
    hours: Hours = ALL_HOURS,
    longest_session_seconds: int = _DAY_SECONDS,
    limit: int = 100,
) -> Check:
    """The traffic cells of ``channel_metrics`` equal a recount of ``hits`` and ``sessions``.

    A session counts in each hour it touches, so those that began up to ``longest_session_seconds`` before are read.
    """
    bounds: dict[str, Any] = {
        "low": hours.low,
        "high": hours.high,
        "sessions_low": max(0, hours.low - longest_session_seconds),
    }
    found = _ask(client, database, "roll_up_traffic", _tell_cell, limit=limit, **bounds)
    return Check("roll_up_traffic", "channel_metrics equals a recount of hits and sessions", found)


def check_roll_up_credits(client: Client, database: str, *, model: str = "", limit: int = 100) -> Check:
    """The credit cells of ``channel_metrics`` equal a recount of ``credits``; "" = under every model."""
    found = _ask(client, database, "roll_up_credits", _tell_cell, limit=limit, model=model)
    return Check("roll_up_credits", "channel_metrics equals a recount of credits", found)


def check_roll_up_paths(client: Client, database: str, *, limit: int = 100) -> Check:
    """``path_metrics`` equals a recount of ``paths``."""

    def tell(row: Sequence[Any]) -> Finding:
        *key, kept, recounted, revenue_kept, revenue_recounted = row
        return Finding(
            " / ".join(key),
            f"conversions {kept} for {recounted}, revenue {revenue_kept:f} for {revenue_recounted:f}",
        )

    found = _ask(client, database, "roll_up_paths", tell, limit=limit)
    return Check("roll_up_paths", "path_metrics equals a recount of paths", found)


_SPEND_CELL = ("impressions", "clicks", "views", "installs", "spend")


def check_roll_up_spend(client: Client, database: str, *, limit: int = 100) -> Check:
    """``spend_metrics`` equals a recount of ``spend``."""
    found = _ask(client, database, "roll_up_spend", partial(_tell_figures, _SPEND_CELL), limit=limit)
    return Check("roll_up_spend", "spend_metrics equals a recount of spend", found)


def check_spend_signs(client: Client, database: str, *, limit: int = 100) -> Check:
    """Every figure of spend stands 0 or 1 times."""

    def tell(row: Sequence[Any]) -> Finding:
        return Finding(f"{row[0]} {row[1]}", f"its figures stand {row[3]} times ({row[2]})")

    found = _ask(client, database, "spend_signs", tell, limit=limit)
    return Check("signs_spend", "every row of spend stands 0 or 1 times", found)


_CELL = ("hits", "page views", "impressions", "sessions", "conversions", "revenue")


def _tell_cell(row: Sequence[Any]) -> Finding:
    return _tell_figures(_CELL, row)


def _tell_figures(names: Sequence[str], row: Sequence[Any]) -> Finding:
    key, figures = row[: -2 * len(names)], row[-2 * len(names) :]
    pairs = list(zip(names, figures[::2], figures[1::2], strict=True))
    return Finding(
        " / ".join(str(part) for part in key),
        ", ".join(f"{name} {_plain(kept)} for {_plain(recounted)}" for name, kept, recounted in pairs),
        ", ".join(
            f"{name} {_plain(kept - recounted)}" for name, kept, recounted in pairs if kept != recounted
        ),
    )


def _plain(figure: int | Decimal) -> str:
    """Without exponent: a decimal zero would be 0E-9."""
    return f"{figure:f}" if isinstance(figure, Decimal) else str(figure)


def check_signs(client: Client, database: str, *, limit: int = 100) -> list[Check]:
    """Sessions, touchpoints, conversions and their paths stand 0 or 1 times; one check each."""
    return [
        *check_timed_signs(client, database, limit=limit),
        *check_conversion_signs(client, database, limit=limit),
    ]


def check_timed_signs(
    client: Client, database: str, *, hours: Hours = ALL_HOURS, limit: int = 100
) -> list[Check]:
    """Sessions and touchpoints stand 0 or 1 times. The id of either tells its instant, so hours cut no id in two."""
    return [
        _check_signs(client, database, name, id_column, columns, _HOURS_OF.format(instant), hours, limit)
        for name, id_column, columns, instant in (
            ("sessions", "session_id", SESSIONS_COLUMNS, "started_at"),
            ("touchpoints", "touchpoint_id", TOUCHPOINTS_COLUMNS, "touched_at"),
        )
    ]


def check_conversion_signs(
    client: Client, database: str, *, ids: Ids = ALL_IDS, limit: int = 100
) -> list[Check]:
    """Conversions, and the path of each, stand 0 or 1 times."""
    return [
        _check_signs(client, database, table, "conversion_id", columns, _IDS, ids, limit)
        for table, columns in (("conversions", CONVERSIONS_COLUMNS), ("paths", PATHS_COLUMNS))
    ]


def check_duplicate_hits(
    client: Client, database: str, *, hours: Hours = ALL_HOURS, limit: int = 100
) -> Check:
    """No ``event_id`` of a visitor is kept twice (invariant I3). Copies are told within ``hours`` only."""

    def tell(row: Sequence[Any]) -> Finding:
        return Finding(f"{row[0]} {row[1]}", f"kept {row[2]} times")

    found = _ask(client, database, "duplicate_hits", tell, limit=limit, low=hours.low, high=hours.high)
    return Check("duplicate_hits", "every hit is kept once", found)


def count_dead_letters(client: Client, database: str, *, limit: int = 1000) -> list[DeadLetters]:
    """Dead letters by topic and reason, most first. Raises ``Transient`` or ``Misconfigured``."""
    return list(_ask(client, database, "dead_letters", lambda row: DeadLetters(*row), limit=limit))


def _check_signs(
    client: Client,
    database: str,
    table: str,
    id_column: str,
    columns: tuple[str, ...],
    range_: str,
    bounds: Hours | Ids,
    limit: int,
) -> Check:
    def tell(row: Sequence[Any]) -> Finding:
        return Finding(row[0], f"stands {row[1]} times; its versions between {row[2]} and {row[3]} times")

    places = {
        "table": qualify(database, table),
        "id": id_column,
        "facts": ", ".join(name for name in columns if name not in _NOT_FACTS),
        "range": range_,
    }
    found = _ask(
        client, database, "signs", tell, places=places, limit=limit, low=bounds.low, high=bounds.high
    )
    return Check(f"signs_{table}", f"every row of {table} stands 0 or 1 times", found)


def _ask(
    client: Client,
    database: str,
    query: str,
    tell: Callable[[Sequence[Any]], T],
    *,
    places: dict[str, str] | None = None,
    **parameters: int | str,
) -> tuple[T, ...]:
    return tuple(tell(row) for row in ask(client, database, query, parameters, places))


def ask(
    client: Client,
    database: str,
    query: str,
    parameters: Mapping[str, Any],
    places: Mapping[str, str] | None = None,
) -> Sequence[Sequence[Any]]:
    """The rows that ``sql/<query>.sql`` answers about ``database``. Raises ``Transient`` or ``Misconfigured``."""
    tables = {name: qualify(database, name) for name in TABLES}
    try:
        rows: Sequence[Sequence[Any]] = client.query(
            load_sql(query, **{**tables, **(places or {})}), parameters=dict(parameters)
        ).result_rows
    except Error as error:
        raise explain_error(error) from error
    return rows
