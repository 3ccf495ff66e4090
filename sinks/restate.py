"""What a restatement asks ClickHouse: which conversions, whose hits, and what has come of it.

Every method blocks and raises ``Transient`` or ``Misconfigured``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from sinks.checks import ask
from sinks.engine_errors import explain_error
from sinks.names import qualify
from sinks.queries import load_sql
from sinks.visitors import NOWHERE, Place, hits_of_visitors

FOREVER_MS = 7_258_118_400_000
"""2200-01-01: no conversion is dated later."""


@dataclass(frozen=True)
class Span:
    """Which conversions: of one site ("" = of all), converted in ``[since, until)``, epoch milliseconds."""

    site: str = ""
    since: int = 0
    until: int = FOREVER_MS


class Moved(NamedTuple):
    """What changed for one channel under one model."""

    model: str
    channel: str
    currency: str
    entries: int
    amount: Decimal
    weight: Decimal


class RestateReader:
    """Questions to the tables of one database."""

    def __init__(self, client: Client, database: str) -> None:
        self._client = client
        self._database = database

    def conversions(self, span: Span) -> int:
        """How many conversions stand in ``span``."""
        return int(self._ask("restate_total", asdict(span))[0][0])

    def conversions_after(
        self, span: Span, site: str, conversion_id: str, limit: int
    ) -> list[tuple[str, str]]:
        """The next (site, conversion id) of ``span`` in their own order."""
        place = {"from_site": site, "from_id": conversion_id, "limit": limit}
        return [(row[0], row[1]) for row in self._ask("restate_conversions", asdict(span) | place)]

    def hits(self, span: Span) -> int:
        """How many hits the visitors have who were there in ``span``, of whatever time."""
        return int(self._ask("restate_hits_total", asdict(span))[0][0])

    def hits_of(self, span: Span, slices: int, slice_: int) -> Iterator[tuple[Any, ...]]:
        """The hits of one slice of these visitors, visitor by visitor (columns as in ``sql/restate_hits.sql``)."""
        sql = load_sql("restate_hits", hits=qualify(self._database, "hits"))
        parameters = asdict(span) | {"slices": slices, "slice": slice_}
        try:
            with self._client.query_rows_stream(sql, parameters=parameters) as rows:
                yield from rows
        except Error as error:
            raise explain_error(error) from error

    def hits_of_visitors(
        self, visitors: Sequence[tuple[str, str]], but_from: Place = NOWHERE
    ) -> list[tuple[Any, ...]]:
        """As ``sinks.visitors.hits_of_visitors``."""
        return hits_of_visitors(self._client, self._database, visitors, but_from)

    def moved(self, policy_version: str, recorded_at: int) -> list[Moved]:
        """What a restatement has written so far, by model and channel."""
        parameters = {"policy_version": policy_version, "recorded_at": recorded_at}
        return [Moved(*row) for row in self._ask("restate_moved", parameters)]

    def changed(self, policy_version: str, recorded_at: int) -> int:
        """How many conversions it has credited otherwise."""
        parameters = {"policy_version": policy_version, "recorded_at": recorded_at}
        return int(self._ask("restate_changed", parameters)[0][0])

    def entries(self, policy_version: str, recorded_at: int) -> int:
        """How many entries it has written so far."""
        return sum(one.entries for one in self.moved(policy_version, recorded_at))

    def policy_versions(self, span: Span) -> dict[str, int]:
        """Under which policies the conversions of ``span`` stand, most first."""
        return {version: int(count) for version, count in self._ask("policy_versions", asdict(span))}

    def restatements(self) -> list[tuple[Any, ...]]:
        """The newest row of every restatement (columns as in ``sql/restatements.sql``)."""
        return [tuple(row) for row in self._ask("restatements", {})]

    def _ask(self, query: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        return ask(self._client, self._database, query, parameters)
