"""Does the system work again? Only what a customer sees counts: purchases sent now, one a partition, are credited."""

from __future__ import annotations

import asyncio
import time

from clickhouse_connect.driver.client import Client

from attribution.errors import HeadwaterError
from bench.chaos.load import Senders
from bench.chaos.traffic import Traffic

_POLL_S = 0.1


async def seconds_until_credited(
    traffic: Traffic, senders: Senders, client: Client, database: str, *, within: float
) -> float:
    """How long it takes. Raises ``HeadwaterError`` when they are not all credited ``within`` so many seconds."""
    began = time.monotonic()
    probes = traffic.probes()
    await senders.send(probes, by_pixel=False)
    wanted = ", ".join(f"'{probe.visitor_id}'" for probe in probes)
    query = f"SELECT uniqExact(visitor_id) FROM {database}.credits WHERE visitor_id IN ({wanted})"
    found = 0
    while time.monotonic() - began < within:
        try:
            found = (await asyncio.to_thread(client.query, query)).result_rows[0][0]
        except Exception:  # the engine may be the one that is away; the deadline tells
            found = 0
        if found == len(probes):
            return time.monotonic() - began
        await asyncio.sleep(_POLL_S)
    raise HeadwaterError(f"Not recovered within {within:g} s: {found} of {len(probes)} purchases credited")
