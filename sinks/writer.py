"""Rows into ClickHouse, exactly once in effect: one block per insert, under a token that names its content.

An insert is repeated with the same bytes and the same token until it is known to have worked. ClickHouse
drops the repetition in the table **and** makes up for a materialized view that the first attempt did not
reach; therefore a recovering worker repeats the insert even when it finds all rows in the table (see
``docs/delivery.md``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import msgspec
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from attribution.errors import Rejected, Transient
from attribution.learnt.tables import LearntTable
from attribution.spend.click_costs import LiveFigure, days_after, days_before
from attribution.spend.fact import MICROS
from attribution.spend.labels import TouchLabel
from sinks.checks import ask
from sinks.deliveries import StoredDelivery, deliveries_after
from sinks.engine_errors import explain_error
from sinks.learnt_rows import table_from
from sinks.names import qualify, quote_identifier
from sinks.tables import HAS_SOURCE
from sinks.visitors import NOWHERE, Place, hits_of_visitors, rows_that_stand

WRITE_SECONDS = 30.0
"""For a writer's client: how long one request may take, as ``timeout`` of ``connect``."""
DEADLINE_SECONDS = 15.0
"""For how long an insert is repeated; its last request may take ``WRITE_SECONDS`` more."""
MAX_ROWS = 1_000_000
"""Most rows of one insert: what surely stays one block (ClickHouse's own limit is 1,048,449)."""

_ONE_BLOCK: dict[str, Any] = {
    # Rows of one insert become visible together only if they are one block, hence one part.
    "max_insert_block_size": MAX_ROWS + 1,
    "min_insert_block_size_rows": MAX_ROWS + 1,
    "min_insert_block_size_bytes": 0,
    "input_format_parallel_parsing": 0,
    # No guessing: a null, a number or a list in a text column is an error of ours.
    "input_format_null_as_default": 0,
    "input_format_json_read_arrays_as_strings": 0,
    "input_format_json_read_objects_as_strings": 0,
    "input_format_json_read_numbers_as_strings": 0,
    "input_format_json_read_bools_as_strings": 0,
    "max_partitions_per_insert_block": 0,
}
_log = structlog.get_logger("headwater.sinks")


class RowWriter:
    """Inserts batches into the tables of one database. Blocking; threads may share it."""

    def __init__(
        self,
        client: Client,
        database: str,
        *,
        deadline: float = DEADLINE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``deadline``: seconds after which an insert that keeps failing is given up as ``Transient``."""
        quote_identifier(database)
        self._client = client
        self._database = database
        self._deadline = deadline
        self._sleep = sleep
        self._clock = clock
        self._encoder = msgspec.json.Encoder()

    def insert(
        self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...] | msgspec.Raw], token: str
    ) -> None:
        """Insert ``rows`` at once or not at all: tuples, or JSON arrays that are written out already.

        ``token`` must name their content: other rows under a token
        that was used before are silently dropped by ClickHouse. No rows: nothing happens.

        Raises ``Rejected`` (the rows can never be stored), ``Transient`` (not known to be stored; repeat with
        the same rows and token) or ``Misconfigured`` (tables missing, account refused).
        """
        if not rows:
            return
        if not token:
            raise Rejected("no_token", "An insert needs a deduplication token.", "token")
        if len(rows) > MAX_ROWS:
            raise Rejected("too_many_rows", f"At most {MAX_ROWS} rows fit into one insert.", "rows")
        self.insert_encoded(table, columns, self._encode(rows), token)

    def insert_encoded(self, table: str, columns: tuple[str, ...], lines: bytes, token: str) -> None:
        """As ``insert``, for rows already encoded as JSON arrays, one a line (at most ``MAX_ROWS`` lines)."""
        target = qualify(self._database, table)
        settings = {**_ONE_BLOCK, "insert_deduplication_token": token}
        give_up = self._clock() + self._deadline
        pause = 0.05
        attempt = 1
        while True:
            try:
                self._client.raw_insert(
                    target,
                    column_names=columns,
                    insert_block=lines,
                    fmt="JSONCompactEachRow",
                    settings=settings,
                )
                return
            except Error as error:
                reason = explain_error(error)
                if not isinstance(reason, Transient) or self._clock() + pause >= give_up:
                    raise reason from error
                _log.warning(
                    "insert repeated", table=table, token=token, attempt=attempt, reason=str(reason)[:300]
                )
            self._sleep(pause)
            pause = min(pause * 2, 2.0)
            attempt += 1

    def count_rows(
        self, table: str, src_broker: str, src_partition: int, from_offset: int, to_offset: int
    ) -> int:
        """How many rows of ``table`` come from offsets ``from_offset..to_offset`` (both included) of a
        partition.

        Raises ``Transient`` or ``Misconfigured``.
        """
        if table not in HAS_SOURCE:
            raise Rejected("no_source_columns", f"{table} does not say where its rows come from.", "table")
        try:
            rows = self._client.query(
                f"SELECT count() FROM {qualify(self._database, table)}"  # noqa: S608
                " WHERE src_broker = {broker:String} AND src_partition = {partition:UInt16}"
                " AND src_offset BETWEEN {first:UInt64} AND {last:UInt64}",
                parameters={
                    "broker": src_broker,
                    "partition": src_partition,
                    "first": from_offset,
                    "last": to_offset,
                },
            ).result_rows
        except Error as error:
            raise explain_error(error) from error
        return int(rows[0][0])

    def find_policy(self, version: str) -> str | None:
        """The attribution policy of ``version`` as JSON, if any worker ever had it. Raises as ``count_rows`` does."""
        rows = ask(self._client, self._database, "policy", {"version": version})
        return str(rows[0][0]) if rows else None

    def find_learnt_table(self, version: str) -> LearntTable | None:
        """The learnt table of ``version``, if it was ever stored. Raises as ``count_rows`` does."""
        return table_from(ask(self._client, self._database, "learnt_table", {"version": version}))

    def touch_labels(self) -> list[TouchLabel]:
        """How many touches of each site name a campaign, by their labels. Raises as ``count_rows`` does."""
        return [TouchLabel(*row) for row in ask(self._client, self._database, "touch_labels", {})]

    def click_visitors(self, clicks: Sequence[str]) -> list[tuple[str, str, str, str, int]]:
        """(site, click parameter, click id, the visitor who landed with it first, when that was heard, epoch ms) of
        those of ``clicks`` that landed. Raises as ``count_rows`` does.
        """
        rows = ask(self._client, self._database, "click_visitors", {"clicks": list(clicks)})
        return [
            (str(site), str(param), str(click), str(name), int(at)) for site, param, click, name, at in rows
        ]

    def click_cost_days(self) -> list[tuple[str, str, date, int]]:
        """(site, network, day, hits) of all days on which clicks said what they cost. Raises as ``count_rows`` does."""
        return [
            (str(site), str(network), day, int(hits))
            for site, network, day, hits in ask(self._client, self._database, "click_cost_days", {})
        ]

    def click_costs(self, site: str, ad_network: str, day: date) -> tuple[list[LiveFigure], list[date]]:
        """What the clicks of a day cost, and the later days on which some of them came again.

        Raises as ``count_rows`` does.
        """
        place = {"site": site, "network": ad_network, "day": day.isoformat()}
        since, until = days_before(day).isoformat(), days_after(day).isoformat()
        found = ask(self._client, self._database, "click_costs_of_day", {**place, "since": since})
        later = ask(self._client, self._database, "click_costs_later", {**place, "until": until})
        return [
            LiveFigure(campaign_id, campaign, currency, int(cost * MICROS), int(clicks), int(heard_at))
            for campaign_id, campaign, currency, cost, clicks, heard_at in found
        ], [one for (one,) in later]

    def hits_of_visitors(
        self, visitors: Sequence[tuple[str, str]], but_from: Place = NOWHERE
    ) -> list[tuple[Any, ...]]:
        """As ``sinks.visitors.hits_of_visitors``."""
        return hits_of_visitors(self._client, self._database, visitors, but_from)

    def rows_that_stand(
        self, table: str, starts: Sequence[tuple[int, str]], but_from: Place
    ) -> list[tuple[Any, ...]]:
        """As ``sinks.visitors.rows_that_stand``."""
        return rows_that_stand(self._client, self._database, table, starts, but_from)

    def deliveries_after(
        self, of: tuple[str, str], place: tuple[int, str, int, int], limit: int, but_from: Place = NOWHERE
    ) -> list[StoredDelivery]:
        """As ``sinks.deliveries.deliveries_after``."""
        return deliveries_after(self._client, self._database, of, place, limit, but_from)

    def _encode(self, rows: Sequence[tuple[Any, ...] | msgspec.Raw]) -> bytes:
        try:
            return self._encoder.encode_lines(rows)
        except (TypeError, ValueError, OverflowError) as error:
            # UnicodeEncodeError (a lone surrogate) is a ValueError.
            raise Rejected("not_encodable", f"A row cannot be written as JSON: {error}") from error
