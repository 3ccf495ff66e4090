"""A store for the tests of queries and explanations: the tables of one database, filled by hand."""

from __future__ import annotations

import json
import random
from typing import Any

from clickhouse_connect.driver.client import Client
from sinks_rows import NOON, row

from api.answers import QueryAnswer
from api.changes import ChangesAnswer, ChangesRequest
from api.explain import Explanation
from api.funnel import FunnelAnswer, FunnelRequest
from api.path_report import PathsAnswer, PathsRequest
from api.requests import parse_body, parse_query
from api.service import QueryService
from attribution.funnel import DEFAULT_FUNNEL, Funnel
from attribution.policy import AttributionPolicy
from sinks.tables import WRITTEN
from sinks.writer import RowWriter


class Store:
    """The tables of one database, filled by hand."""

    def __init__(
        self,
        client: Client,
        database: str,
        policy: AttributionPolicy | None = None,
        funnel: Funnel = DEFAULT_FUNNEL,
    ) -> None:
        self._client, self._database = client, database
        self._writer = RowWriter(client, database)
        self._service = QueryService(client, database, policy or AttributionPolicy(), funnel=funnel)

    def put(
        self, table: str, *rows: dict[str, Any], token: str = "", columns: tuple[str, ...] | None = None
    ) -> None:
        """Insert rows; a repeated token is a repeated insert. ``columns``: only these, as a former version did."""
        if table == "credits":
            # Of a ledger, ``cause`` says which entries are a conversion's first.
            rows = tuple({"cause": "conversion", **given} for given in rows)
        tuples = [row(table, **given) for given in rows]
        if columns is not None:
            places = [WRITTEN[table].index(name) for name in columns]
            tuples = [tuple(one[place] for place in places) for one in tuples]
        self._writer.insert(table, columns or WRITTEN[table], tuples, token or f"{random.random()}")

    def put_rows(self, table: str, rows: list[Any], token: str) -> None:
        """Insert rows as a stage makes them; they may be written out."""
        if rows:
            self._writer.insert(table, WRITTEN[table], rows, token)

    def merge(self) -> None:
        """Let the roll-up forget which rows cancelled each other."""
        self._client.command(f"OPTIMIZE TABLE {self._database}.channel_metrics FINAL")

    def ask(self, metrics: str, by: str = "", **given: Any) -> QueryAnswer:
        body = {"metrics": metrics.split(), "dimensions": by.split(), **given}
        return self._service.query(parse_query(json.dumps(body).encode()))

    def rows(self, metrics: str, by: str = "", **given: Any) -> list[list[Any]]:
        return self.ask(metrics, by, **given).rows

    def changes(self, **given: Any) -> ChangesAnswer:
        return self._service.changes(parse_body(ChangesRequest, json.dumps(given).encode()))

    def paths(self, request: PathsRequest) -> PathsAnswer:
        return self._service.paths(request)

    def funnel(self, **given: Any) -> FunnelAnswer:
        return self._service.funnel(FunnelRequest.model_validate(given))

    def explain(self, reference: str) -> Explanation:
        return self._service.explain(reference)


def session(session_id: str, **given: Any) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "visitor_id": f"visitor of {session_id}",
        "started_at": NOON,
        "ended_at": NOON,
        **given,
    }


def credit(channel: str, amount: str, weight: str = "1", **given: Any) -> dict[str, Any]:
    return {
        "model": "linear",
        "channel": channel,
        "amount": amount,
        "weight": weight,
        "currency": "USD",
        **given,
    }
