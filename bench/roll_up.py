"""A roll-up as large as that of many hits, without the hits: ``channel_metrics`` filled by two INSERT ... SELECT.

Every session and every credited touch is drawn and counted in its cell (hour, channel, source, medium, campaign) as the
materialized views would have counted it. The draw is uniform over all cells, so the roll-up becomes as large as so many
hits can make it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from bench.traffic import BEGAN_AT, DAYS, HOUR_MS
from runtime.simulator.programmes import PROGRAMMES
from sinks.names import qualify

HITS_PER_SESSION = 2.5
_CAMPAIGNS = 8
"""Of each tagged programme."""
_HOURS = DAYS * 24
_SMALL_PARTS = 9
"""A live table has as many parts that are not merged yet (``runtime.embedded.engine_tuning``)."""


@dataclass(frozen=True)
class Scale:
    """How much a roll-up stands for, over ``DAYS`` days."""

    hits: int
    conversions: int


def cells() -> list[tuple[str, str, str, str]]:
    """(channel, source, medium, campaign) of all the simulated shop does; that of unattributed credit is the last."""
    found: dict[tuple[str, str, str, str], None] = {}
    for programme in PROGRAMMES:
        for arrival in programme.arrivals:
            source = arrival.source or urlsplit(arrival.referrer).hostname or "(direct)"
            for number in range(_CAMPAIGNS if arrival.campaign else 1):
                campaign = f"{arrival.campaign}_{number}" if arrival.campaign else ""
                found[(arrival.channel, source, arrival.medium or "(none)", campaign)] = None
    return [*found, ("(unattributed)", "", "", "")]


def fill(client: Client, database: str, scale: Scale, *, seed: int = 1) -> int:
    """Fill the empty ``channel_metrics`` of ``database``; how many rows it has then.

    Merges stop, with a large part and some small ones of the last hour, as a live table has them.
    """
    table = qualify(database, "channel_metrics")
    last_hour = BEGAN_AT // HOUR_MS + _HOURS - 1
    _draw(client, table, scale, seed, BEGAN_AT // HOUR_MS, _HOURS)
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    client.command(f"SYSTEM STOP MERGES {table}")
    for number in range(_SMALL_PARTS):
        _draw(client, table, Scale(100, 0), seed + 1 + number, last_hour, 1)
    return int(client.query(f"SELECT count() FROM {table}").result_rows[0][0])


def _draw(client: Client, table: str, scale: Scale, seed: int, first_hour: int, hours: int) -> None:
    channels, sources, mediums, campaigns = (list(column) for column in zip(*cells(), strict=True))
    common: dict[str, Any] = {
        **{"channels": channels, "sources": sources, "mediums": mediums, "campaigns": campaigns},
        **{"seed": seed, "first_hour": first_hour, "hours": hours},
    }
    counts = {"sessions": round(scale.hits / HITS_PER_SESSION), "conversions": scale.conversions}
    for name, parameter in (("sessions", "sessions"), ("credits", "conversions")):
        if counts[parameter]:
            text = Path(__file__).with_name(f"roll_up_{name}.sql").read_text()
            sql = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
            statement = Template(sql).substitute(channel_metrics=table)
            client.command(statement, parameters={**common, parameter: counts[parameter]})
