"""The log replayed into empty stores must give equal tables.

Equal means: the same hits, byte for byte; the same drops and dead letters; of the signed tables and of the ledger the
same sums for every fact. How many corrections led to a sum depends on where batches began and ended, and so do the
columns that name a batch or its cause: they are left out, with the reasons below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client

from sinks.tables import CHANNEL_METRICS_COLUMNS, SPEND_METRICS_COLUMNS, WRITTEN

_SHOWN = 3


@dataclass(frozen=True)
class Comparison:
    """How one table is compared: sums of ``sums`` for each combination of ``keys``."""

    table: str
    keys: tuple[str, ...]
    sums: tuple[str, ...] = ("1",)


def _without(columns: Sequence[str], *left_out: str) -> tuple[str, ...]:
    return tuple(name for name in columns if name not in left_out)


_BATCH = ("src_broker", "src_partition", "src_offset")
"""Rows that stand for many hits name the first offset of their batch, and batches have other borders each time."""
_CORRECTION = ("cause", "recorded_at")
"""Of an entry: which hit caused it. Two hits in one batch cause one entry, in two batches two."""
_MONEY = ("weight", "amount", "conversion_value")
_COUNTS = ("impressions", "clicks", "views", "installs")
"""Of spend: negative where a row takes figures back."""
_CLAIMED = ("platform_conversions", "platform_value")
_DECIMALS = (*_MONEY, "conversions", "revenue", "spend")

COMPARISONS = (
    Comparison("hits", WRITTEN["hits"]),
    Comparison("drops", _without(WRITTEN["drops"], "count", "src_offset"), ("count",)),  # counted by batch
    Comparison("dropped_conversions", WRITTEN["dropped_conversions"]),
    Comparison("dead_letters", _without(WRITTEN["dead_letters"], "attempts")),  # of that run
    Comparison("sessions", _without(WRITTEN["sessions"], "sign", *_BATCH), ("sign",)),
    Comparison("touchpoints", _without(WRITTEN["touchpoints"], "sign", *_BATCH), ("sign",)),
    Comparison("conversions", _without(WRITTEN["conversions"], "sign", *_CORRECTION), ("sign",)),
    Comparison("paths", _without(WRITTEN["paths"], "sign", "recorded_at"), ("sign",)),
    # The evidence of a link is the hit of the batch that made it.
    Comparison("identity_links", ("site", "visitor_id", "id"), ("sign",)),
    # Which entry of a change carries conversion_value is of no consequence: it is summed by model.
    Comparison("credits", _without(WRITTEN["credits"], *_MONEY, *_CORRECTION), ("weight", "amount")),
    Comparison("credits", ("site", "model", "conversion_id", "currency"), ("conversion_value",)),
    Comparison(
        "spend",
        _without(
            WRITTEN["spend"], "sign", "amount", *_COUNTS, *_CLAIMED, *_CORRECTION, "as_of", "imported_at"
        ),
        ("sign", "amount", *_COUNTS),
    ),
    Comparison("spend_metrics", SPEND_METRICS_COLUMNS[:7], SPEND_METRICS_COLUMNS[7:]),
    Comparison("channel_metrics", CHANNEL_METRICS_COLUMNS[:10], CHANNEL_METRICS_COLUMNS[10:]),
)


@dataclass
class Replayed:
    """What the comparison found."""

    compared: dict[str, int] = field(default_factory=dict)
    """Facts by table."""
    differences: dict[str, list[str]] = field(default_factory=dict)
    never_received: dict[str, int] = field(default_factory=dict)
    """Entries by table whose ``recorded_at`` is no instant at which a hit was received: the time of processing."""
    same_last_entry: float = 1.0
    """Share of conversions whose last entry is dated alike in both."""

    @property
    def faults(self) -> list[str]:
        """What is not equal."""
        said = [
            f"replay: {table} differs ({len(found)}): {'; '.join(found[:_SHOWN])}"
            for table, found in self.differences.items()
            if found
        ]
        return said + [
            f"{table}: {count} entries are dated otherwise than by a hit"
            for table, count in self.never_received.items()
            if count
        ]


def compare_databases(client: Client, first: str, second: str) -> Replayed:
    """Every table of two databases of one server."""
    replayed = Replayed()
    for comparison in COMPARISONS:
        name = comparison.table
        found = _differences(client, first, second, comparison)
        replayed.differences[name] = replayed.differences.get(name, []) + found
        replayed.compared[name] = max(replayed.compared.get(name, 0), _facts(client, first, comparison))
    for table in ("conversions", "credits"):
        replayed.never_received[table] = sum(
            _undated(client, database, table) for database in (first, second)
        )
    replayed.same_last_entry = _same_last_entry(client, first, second)
    return replayed


def _facts(client: Client, database: str, comparison: Comparison) -> int:
    return int(client.query(f"SELECT count() FROM ({_summed(database, comparison)})").result_rows[0][0])


def _differences(client: Client, first: str, second: str, comparison: Comparison) -> list[str]:
    """Facts whose sums differ. Compared by a hash of the keys, so that a million rows need little memory."""
    sides = " UNION ALL ".join(
        _summed(database, comparison, side) for database, side in ((first, ""), (second, "-"))
    )
    sums = ", ".join(f"sum(s{n}) AS d{n}" for n in range(len(comparison.sums)))
    unequal = " OR ".join(f"d{n} != 0" for n in range(len(comparison.sums)))
    rows = client.query(
        f"SELECT name, {sums} FROM ({sides}) GROUP BY name HAVING {unequal} ORDER BY name LIMIT 1000"
    ).result_rows
    shown = [_show(client, (first, second), comparison, row[0]) for row in rows[:_SHOWN]]
    return [*shown, *(f"fact {row[0]}" for row in rows[_SHOWN:])]


def _summed(database: str, comparison: Comparison, side: str = "") -> str:
    sums = ", ".join(f"{side}{_sum(name)} AS s{n}" for n, name in enumerate(comparison.sums))
    unequal = " OR ".join(f"s{n} != 0" for n in range(len(comparison.sums)))
    return (
        f"SELECT {_name(comparison)} AS name, {sums} FROM {database}.{comparison.table} AS t"
        f" GROUP BY name HAVING {unequal}"
    )


def _name(comparison: Comparison) -> str:
    keys = ", ".join(f"ifNull(toString(t.{key}), '(null)')" for key in comparison.keys)
    return f"cityHash64({keys})"


def _sum(name: str) -> str:
    if name in _DECIMALS:
        return f"sum(t.{name})"
    return f"toInt64(sum({name if name == '1' else f't.{name}'}))"


def _show(client: Client, databases: Sequence[str], comparison: Comparison, fact: int) -> str:
    said = []
    for database in databases:
        keys = ", ".join(f"toString(t.{key})" for key in comparison.keys)
        query = (
            f"SELECT {keys}, {', '.join(_sum(name) for name in comparison.sums)}"
            f" FROM {database}.{comparison.table} AS t WHERE {_name(comparison)} = {fact} GROUP BY ALL LIMIT 1"
        )
        rows = client.query(query).result_rows
        said.append(" ".join(str(part) for part in rows[0] if part != "")[:300] if rows else "nothing")
    return " / ".join(said)


def _undated(client: Client, database: str, table: str) -> int:
    query = (
        f"SELECT count() FROM {database}.{table}"
        f" WHERE recorded_at NOT IN (SELECT received_at FROM {database}.hits)"
    )
    return int(client.query(query).result_rows[0][0])


def _same_last_entry(client: Client, first: str, second: str) -> float:
    sides = " UNION ALL ".join(
        f"SELECT conversion_id, max(recorded_at) AS last FROM {database}.credits GROUP BY conversion_id"
        for database in (first, second)
    )
    query = (
        "SELECT avg(alike) FROM (SELECT conversion_id, uniqExact(last) = 1 AS alike"
        f" FROM ({sides}) GROUP BY conversion_id)"
    )
    return float(client.query(query).result_rows[0][0] or 1.0)
