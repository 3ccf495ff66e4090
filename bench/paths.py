"""How quickly ``GET /v1/paths`` answers: over few and over many conversions, and off the roll-up and without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from string import Template

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from bench.headwater import Installation, until_ready
from bench.machine import Cores
from bench.query import Latency, Question, ask_in_turns
from bench.traffic import BEGAN_AT, DAYS, HOUR_MS
from runtime.processes import run_migrate
from sinks.names import qualify

_SMALL_PARTS = 9
"""A live table has as many parts that are not merged yet."""
_IN_A_SMALL_PART = 100
_FILL_WITHIN_S = 900
_DAY_MS = 24 * HOUR_MS
_PAGE = "/v1/paths?limit=25"
"""What the page asks. Without a date range: all that there is."""
_FROM_ROWS = f"{_PAGE}&as_of=2100-01-01"
"""The same answer, but ``as_of`` is told by the rows alone."""


@dataclass(frozen=True)
class PathsLatency:
    """Of the page's question about paths."""

    conversions: int
    different: int
    """Paths, once repeats are collapsed."""
    rows: int
    """Of the roll-up."""
    latency: Latency
    from_rows: Latency
    """Of the same question asked of ``paths`` itself."""


async def measure_paths(
    conversions: Sequence[int], cores: Cores, *, times: int, say: Callable[[str], None]
) -> list[PathsLatency]:
    """Fill a table of paths for each of ``conversions``, then ask all in turns. Raises ``BenchFailed``."""
    async with Installation.open(1) as house:
        names = [f"paths_{number}" for number in range(len(conversions))]
        sizes = []
        for name, many in zip(names, conversions, strict=True):
            say(f"paths of {many:,} conversions")
            sizes.append(await asyncio.to_thread(_prepare, house, name, many))
        with ExitStack() as parts:
            ports = [parts.enter_context(house.api(cores.measured, name)) for name in names]
            for port in ports:
                await until_ready(port, "/openapi.json", "the query API")
            say("the page's question about paths, in turns")
            asked = [Question(port, path, "paths") for path in (_PAGE, _FROM_ROWS) for port in ports]
            found = await asyncio.to_thread(ask_in_turns, house, asked, times)
    many_of = len(conversions)
    return [
        PathsLatency(one, *size, found[number], found[many_of + number])
        for number, (one, size) in enumerate(zip(conversions, sizes, strict=True))
    ]


def _prepare(house: Installation, database: str, conversions: int) -> tuple[int, int]:
    run_migrate(house.settings.model_copy(update={"database": database}))
    client = clickhouse_connect.get_client(
        dsn=house.servers.clickhouse, database=database, send_receive_timeout=_FILL_WITHIN_S
    )
    try:
        return fill_paths(client, database, conversions)
    finally:
        client.close()


def fill_paths(client: Client, database: str, conversions: int, *, seed: int = 1) -> tuple[int, int]:
    """Fill the empty ``paths`` of ``database``: how many different paths, and rows of the roll-up, there are then.

    Merges stop, with a large part and some small ones of the last day, as a live table has them.
    """
    tables = [qualify(database, name) for name in ("paths", "path_metrics")]
    _draw(client, tables[0], conversions, seed, BEGAN_AT, DAYS)
    for table in tables:
        client.command(f"OPTIMIZE TABLE {table} FINAL")
        client.command(f"SYSTEM STOP MERGES {table}")
    for number in range(_SMALL_PARTS):
        _draw(client, tables[0], _IN_A_SMALL_PART, seed + 1 + number, BEGAN_AT + (DAYS - 1) * _DAY_MS, 1)
    (different,) = client.query(f"SELECT uniqExact(collapsed_hash) FROM {tables[0]}").result_rows[0]
    (rows,) = client.query(f"SELECT count() FROM {tables[1]}").result_rows[0]
    return int(different), int(rows)


def _draw(client: Client, table: str, conversions: int, seed: int, from_ms: int, days: int) -> None:
    text = Path(__file__).with_name("paths.sql").read_text()
    sql = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    parameters = {"conversions": conversions, "seed": seed, "from_ms": from_ms, "days": days}
    client.command(Template(sql).substitute(paths=table), parameters=parameters)
