"""The writer's in-memory twin: same promise as ``RowWriter``, for tests of the stages without a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from attribution.learnt.tables import LearntTable
from attribution.spend.labels import TouchLabel
from sinks.learnt_rows import table_from
from sinks.tables import WRITTEN

Row = tuple[Any, ...]


class MemoryWriter:
    """Keeps rows by table; a token counts once per table. ``tests/contract`` holds it against the real
    one.
    """

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {}
        self._tokens: set[tuple[str, str]] = set()

    def insert(
        self, table: str, columns: tuple[str, ...], rows: Sequence[Row | msgspec.Raw], token: str
    ) -> None:
        """Keep ``rows`` unless ``token`` was used for the table before."""
        if rows and (table, token) not in self._tokens:
            self._tokens.add((table, token))
            self.tables.setdefault(table, []).extend(
                tuple(msgspec.json.decode(row) if isinstance(row, msgspec.Raw) else row) for row in rows
            )

    def count_rows(
        self, table: str, src_broker: str, src_partition: int, from_offset: int, to_offset: int
    ) -> int:
        """How many rows come from the given offsets, both ends included."""
        names = WRITTEN[table]
        broker, partition, offset = (names.index(n) for n in ("src_broker", "src_partition", "src_offset"))
        return sum(
            row[broker] == src_broker
            and row[partition] == src_partition
            and from_offset <= row[offset] <= to_offset
            for row in self.tables.get(table, [])
        )

    def find_policy(self, version: str) -> str | None:
        """The policy of that version, as JSON."""
        return next((str(row[1]) for row in self.tables.get("policies", []) if row[0] == version), None)

    def find_learnt_table(self, version: str) -> LearntTable | None:
        """The learnt table of that version."""
        return table_from(row for row in self.tables.get("learnt_models", []) if row[0] == version)

    def touch_labels(self) -> list[TouchLabel]:
        """How many touches of each site name a campaign, by their labels."""
        sums: Counter[Row] = Counter()
        for row in self.dicts("touchpoints"):
            if row["campaign"]:
                sums[tuple(row[name] for name in TouchLabel._fields[:-1])] += row["sign"]
        return [TouchLabel(*(*labels, touches)) for labels, touches in sums.items() if touches > 0]

    def click_visitors(self, clicks: Sequence[str]) -> list[tuple[str, str, str, str, int]]:
        """Who landed with each of ``clicks`` first."""
        first: dict[tuple[str, str, str], tuple[int, str, int]] = {}
        for row in self.dicts("hits"):
            if row["click_id"] and row["click_id"] in clicks:
                place = (row["site"], row["click_id_param"], row["click_id"])
                landed = (row["occurred_at"], row["visitor_id"], row["received_at"])
                first[place] = min(first.get(place, landed), landed)
        return [(*place, visitor, heard_at) for place, (_, visitor, heard_at) in first.items()]

    def dicts(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table by column name."""
        return [dict(zip(WRITTEN[table], row, strict=True)) for row in self.tables.get(table, [])]
