"""The tables of what was learnt, in ClickHouse. Every function blocks and raises ``Transient`` or ``Misconfigured``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clickhouse_connect.driver.client import Client

from attribution.learnt.tables import LearntTable
from sinks.checks import ask
from sinks.learnt_rows import rows_of
from sinks.memory import MemoryWriter
from sinks.tables import LEARNT_MODELS_COLUMNS
from sinks.writer import RowWriter


def write_table(writer: RowWriter | MemoryWriter, table: LearntTable) -> None:
    """One block under the table's version: all of it or nothing, and once however often it is learnt again."""
    writer.insert("learnt_models", LEARNT_MODELS_COLUMNS, rows_of(table), table.version)


def effects_of(client: Client, database: str, versions: Iterable[str]) -> list[dict[str, Any]]:
    """What the tables of ``versions`` say, a row for each site and channel, the largest share first."""
    names = (
        "model",
        "version",
        "site",
        "channel",
        "effect",
        "share",
        "low",
        "high",
        "error",
        "markov_order",
        "worth",
    )
    facts = ("from_at", "to_at", "journeys", "conversions", "learnt_at")
    rows = ask(client, database, "learnt_effects", {"versions": list(versions)})
    return [dict(zip((*names, *facts), row, strict=True)) for row in rows]
