"""The hits of single visitors, what their timelines are made of, and the rows that stand of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from sinks.checks import ask

HIT_FIELDS = (
    *("event_id", "site", "visitor_id", "occurred_at", "received_at", "event", "clock_skew_ms", "time_flag"),
    *("url", "referrer", "title", "user_id", "email_sha256", "value", "currency", "order_id", "consent"),
    *("gpc", "dnt", "user_agent", "ip", "country", "props"),
)
"""Columns of ``sql/visitor_hits.sql`` and ``sql/restate_hits.sql``: what a hit said, without judgement."""


class Place(NamedTuple):
    """An offset of a log."""

    broker: str
    partition: int
    offset: int


NOWHERE = Place("", 0, 0)
"""Before nothing: of every log there is something before it."""


def hits_of_visitors(
    client: Client, database: str, visitors: Sequence[tuple[str, str]], but_from: Place = NOWHERE
) -> list[tuple[Any, ...]]:
    """The stored hits of ``visitors``, (site, visitor_id), by ``HIT_FIELDS``.

    ``but_from``: those of its log and partition at that offset or behind it are left out. Blocks. Raises ``Transient``
    or ``Misconfigured``.
    """
    if not visitors:
        return []
    parameters = {
        "sites": [site for site, _ in visitors],
        "visitors": [visitor_id for _, visitor_id in visitors],
    }
    return [tuple(row) for row in ask(client, database, "visitor_hits", parameters | _but_from(but_from))]


def rows_that_stand(
    client: Client, database: str, table: str, starts: Sequence[tuple[int, str]], but_from: Place
) -> list[tuple[Any, ...]]:
    """What stands in ``table`` (``sessions`` or ``touchpoints``) and was begun by one of ``starts``.

    ``starts``: (epoch ms, id that a session or touchpoint would have) of hits. Rows as they are written, without sign
    and source; those that ``but_from`` names are left out. Blocks. Raises ``Transient`` or ``Misconfigured``.
    """
    if not starts:
        return []
    parameters = {
        "hours": sorted({at // 3_600_000 * 3600 for at, _ in starts}),
        "ids": [one for _, one in starts],
    }
    found = ask(client, database, f"standing_{table}", parameters | _but_from(but_from))
    return [tuple(tuple(part) if isinstance(part, list) else part for part in row) for row in found]


def _but_from(place: Place) -> dict[str, Any]:
    return {"broker": place.broker, "partition": place.partition, "first": place.offset}
