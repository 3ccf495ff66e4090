"""What `headwater doctor` and the tests ask of the stored data: do the books balance, do the roll-ups agree?

Each check is one SQL file that answers the rows that are wrong; none means all is well. They read everything
and are meant for a person or an audit job, not for every start (that is ``sinks.windows.check_windows``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from sinks.engine_errors import explain_error
from sinks.names import qualify
from sinks.queries import load_sql
from sinks.tables import CONVERSIONS_COLUMNS, SESSIONS_COLUMNS, TABLES, TOUCHPOINTS_COLUMNS

T = TypeVar("T")
_NOT_FACTS = frozenset({"site", "sign", "cause", "recorded_at", "src_broker", "src_partition", "src_offset"})
"""Columns that differ between a fact and its withdrawal."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in words for a person."""

    subject: str
    """What it is about: an id, or the cell of a report."""
    detail: str


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
        *check_signs(client, database, limit=limit),
        check_duplicate_hits(client, database, limit=limit),
    ]


def check_books(client: Client, database: str, *, limit: int = 100) -> Check:
    """The credit of every conversion and model equals its value (invariant I2)."""

    def tell(row: Sequence[Any]) -> Finding:
        conversion_id, model, currencies, weight, amount, value = row
        return Finding(
            f"{conversion_id} {model}",
            f"weight {weight:f}, credited {amount:f} of {value:f} {'/'.join(currencies)}",
        )

    promise = "credit equals the value of every conversion under every model"
    return Check("books", promise, _ask(client, database, "books", tell, limit=limit))


def check_uncredited(client: Client, database: str, *, limit: int = 100, at_rest_seconds: int = 60) -> Check:
    """Conversions that stand are credited, withdrawn ones are not; judged ``at_rest_seconds`` after they
    changed.
    """

    def tell(row: Sequence[Any]) -> Finding:
        return Finding(row[0], f"stands {row[1]} times in conversions, {row[2]} times in credits")

    found = _ask(client, database, "uncredited", tell, limit=limit, at_rest_seconds=at_rest_seconds)
    return Check("uncredited", "every conversion that stands is credited, and no other", found)


def check_roll_up(client: Client, database: str, *, limit: int = 100) -> Check:
    """``channel_metrics`` equals a recount of ``hits``, ``sessions`` and ``credits``."""

    def tell(row: Sequence[Any]) -> Finding:
        *key, hits, page_views, impressions, sessions, kept, recounted, revenue, revenue_recounted = row
        return Finding(
            " / ".join(str(part) for part in key),
            f"off by {hits} hits, {page_views} page views, {impressions} impressions, {sessions} sessions;"
            f" conversions {kept:f} for {recounted:f}, revenue {revenue:f} for {revenue_recounted:f}",
        )

    promise = "channel_metrics equals a recount from hits, sessions and credits"
    return Check("roll_up", promise, _ask(client, database, "roll_up", tell, limit=limit))


def check_signs(client: Client, database: str, *, limit: int = 100) -> list[Check]:
    """Sessions, touchpoints and conversions stand 0 or 1 times; one check each."""
    return [
        _check_signs(client, database, "sessions", "session_id", SESSIONS_COLUMNS, limit),
        _check_signs(client, database, "touchpoints", "touchpoint_id", TOUCHPOINTS_COLUMNS, limit),
        _check_signs(client, database, "conversions", "conversion_id", CONVERSIONS_COLUMNS, limit),
    ]


def check_duplicate_hits(client: Client, database: str, *, limit: int = 100) -> Check:
    """No ``event_id`` of a visitor is kept twice (invariant I3)."""

    def tell(row: Sequence[Any]) -> Finding:
        return Finding(f"{row[0]} {row[1]}", f"kept {row[2]} times")

    found = _ask(client, database, "duplicate_hits", tell, limit=limit)
    return Check("duplicate_hits", "every hit is kept once", found)


def count_dead_letters(client: Client, database: str, *, limit: int = 1000) -> list[DeadLetters]:
    """Dead letters by topic and reason, most first. Raises ``Transient`` or ``Misconfigured``."""
    return list(_ask(client, database, "dead_letters", lambda row: DeadLetters(*row), limit=limit))


def _check_signs(
    client: Client, database: str, table: str, id_column: str, columns: tuple[str, ...], limit: int
) -> Check:
    def tell(row: Sequence[Any]) -> Finding:
        return Finding(row[0], f"stands {row[1]} times; its versions between {row[2]} and {row[3]} times")

    places = {
        "table": qualify(database, table),
        "id": id_column,
        "facts": ", ".join(name for name in columns if name not in _NOT_FACTS),
    }
    found = _ask(client, database, "signs", tell, places=places, limit=limit)
    return Check(f"signs_{table}", f"every row of {table} stands 0 or 1 times", found)


def _ask(
    client: Client,
    database: str,
    query: str,
    tell: Callable[[Sequence[Any]], T],
    *,
    places: dict[str, str] | None = None,
    **parameters: int,
) -> tuple[T, ...]:
    tables = {name: qualify(database, name) for name in TABLES}
    try:
        rows = client.query(
            load_sql(query, **{**tables, **(places or {})}), parameters=parameters
        ).result_rows
    except Error as error:
        raise explain_error(error) from error
    return tuple(tell(row) for row in rows)
