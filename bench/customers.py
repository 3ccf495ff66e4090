"""How quickly customers are told: new customers, CAC, LTV and payback by channel, over few and over many conversions.

Once with what the API keeps between questions, once as it stood, which is read from the rows each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client

from bench.headwater import Installation, until_ready
from bench.machine import Cores
from bench.query import Latency, Question, ask_in_turns
from bench.traffic import BEGAN_AT, DAYS
from runtime.processes import run_migrate
from sinks.names import qualify

BUYERS_PER_CONVERSION = 0.45
_FILL_WITHIN_S = 900
_TABLES = ("conversions", "credits", "identity_links", "fx_rates")
QUESTION = {
    "metrics": ["new_customers", "cac", "ltv", "payback_days"],
    "dimensions": ["channel"],
    "model": "linear",
    "currency": "EUR",
}
AS_OF = {"as_of": "2100-01-01"}
"""The same answer, but as of an instant nothing is kept."""


@dataclass(frozen=True)
class CustomersLatency:
    """Of one question about customers."""

    conversions: int
    entries: int
    """Of the model asked for."""
    kept: Latency
    """While nothing comes between two questions."""
    read: Latency
    """When everything is read from the rows."""


async def measure_customers(
    conversions: Sequence[int], cores: Cores, *, times: int, say: Callable[[str], None]
) -> list[CustomersLatency]:
    """Fill tables for each of ``conversions``, then ask all in turns. Raises ``BenchFailed``."""
    async with Installation.open(1) as house:
        names = [f"customers_{number}" for number in range(len(conversions))]
        entries = []
        for name, many in zip(names, conversions, strict=True):
            say(f"customers of {many:,} conversions")
            entries.append(await asyncio.to_thread(_prepare, house, name, many))
        with ExitStack() as parts:
            ports = [parts.enter_context(house.api(cores.measured, name)) for name in names]
            for port in ports:
                await until_ready(port, "/openapi.json", "the query API")
            say("the question about customers, in turns")
            asked = [_question(port, more) for more in ({}, AS_OF) for port in ports]
            found = await asyncio.to_thread(ask_in_turns, house, asked, times)
    many_of = len(conversions)
    return [
        CustomersLatency(one, rows, found[number], found[many_of + number])
        for number, (one, rows) in enumerate(zip(conversions, entries, strict=True))
    ]


def _question(port: int, more: dict[str, Any]) -> Question:
    return Question(port, "/v1/query", "rows", msgspec.json.encode({**QUESTION, **more}))


def _prepare(house: Installation, database: str, conversions: int) -> int:
    run_migrate(house.settings.model_copy(update={"database": database}))
    client = clickhouse_connect.get_client(
        dsn=house.servers.clickhouse, database=database, send_receive_timeout=_FILL_WITHIN_S
    )
    try:
        return fill_customers(client, database, conversions)
    finally:
        client.close()


def fill_customers(client: Client, database: str, conversions: int, *, seed: int = 1) -> int:
    """Fill the empty tables of ``database``; how many entries the model asked for has then."""
    buyers = {"buyers": max(1, round(conversions * BUYERS_PER_CONVERSION)), "from_ms": BEGAN_AT}
    parameters: dict[str, dict[str, int]] = {
        "conversions": {**buyers, "conversions": conversions, "seed": seed, "days": DAYS},
        "credits": {},
        "links": buyers,
    }
    tables = {name: qualify(database, name) for name in _TABLES}
    for name, its in parameters.items():
        text = Path(__file__).with_name(f"customers_{name}.sql").read_text()
        sql = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
        client.command(Template(sql).substitute(tables), parameters=its)
    client.command(
        f"INSERT INTO {tables['fx_rates']} (currency, day, rate, source) VALUES ('USD', '2020-01-01', 1.1, 'ecb')"
    )
    for name in ("conversions", "credits", "identity_links"):
        client.command(f"OPTIMIZE TABLE {tables[name]} FINAL")
    (entries,) = client.query(f"SELECT count() FROM {tables['credits']} WHERE model = 'linear'").result_rows[
        0
    ]
    return int(entries)
