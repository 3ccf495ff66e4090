"""Stored deliveries of CRMs, shops and networks, page by page."""

from __future__ import annotations

from typing import Any, NamedTuple

from clickhouse_connect.driver.client import Client

from sinks.checks import ask
from sinks.visitors import NOWHERE, Place


class StoredDelivery(NamedTuple):
    """A row of ``sql/stored_deliveries.sql``."""

    site: str
    source: str
    scheme: str
    keys: tuple[str, ...]
    received_at: int
    """Epoch milliseconds, UTC."""
    outcome: str
    """What became of it when it came (``streams.deal_batch.Outcome``)."""
    is_body_foreign: bool
    """Its body is not what its sender documents, the collector found."""
    headers: str
    body_base64: str
    broker: str
    partition: int
    offset: int
    position: int

    @property
    def place(self) -> tuple[int, str, int, int]:
        """Where it stands in the order of arrival."""
        return (self.received_at, self.broker, self.offset, self.position)


BEGINNING = (-1, "", 0, 0)
"""The place before all deliveries."""


def deliveries_after(
    client: Client,
    database: str,
    of: tuple[str, str],
    place: tuple[int, str, int, int],
    limit: int,
    but_from: Place = NOWHERE,
) -> list[StoredDelivery]:
    """The next deliveries of (site, source; "" = all) behind ``place``, at most ``limit``.

    ``but_from``: those of its log and partition at that offset or behind it are left out. Blocks. Raises ``Transient``
    or ``Misconfigured``.
    """
    at, broker, offset, position = place
    parameters: dict[str, Any] = {
        **{"site": of[0], "source": of[1], "limit": limit},
        **{"from_at": at, "from_broker": broker, "from_offset": offset, "from_position": position},
        **{"broker": but_from.broker, "partition": but_from.partition, "first": but_from.offset},
    }
    rows = ask(client, database, "stored_deliveries", parameters)
    return [
        StoredDelivery._make((*row[:3], tuple(row[3]), *row[4:6], bool(row[6]), *row[7:])) for row in rows
    ]
