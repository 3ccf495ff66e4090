"""Freshness: from the collector's answer to the moment at which ``channel_metrics`` shows the hit.

First the whole system is given as much as it takes, which tells what it sustains here; then half of that, and
among it a marker every 100 ms: a pixel with a campaign of its own, looked for in ``channel_metrics``.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect

from bench.headwater import BenchFailed
from bench.traffic import DAY_MS, DAYS, body_of, build_traffic
from runtime.collector_client import Intake, open_intake
from runtime.up import Up, UpOptions

BATCH = 100
_AT_ONCE = 4
_MARKER_S = 0.1
_LOOK_S = 0.05
_DEADLINE_S = 30.0
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"


@dataclass(frozen=True)
class Freshness:
    """Milliseconds from answer to visible, and the load under which they were measured."""

    p50_ms: float
    p99_ms: float
    markers: int
    sustained: float
    """Hits per second that the whole system took from HTTP to ``channel_metrics``, all on these cores."""
    load: float
    """Hits per second while the markers were sent."""


async def measure_freshness(*, burst_hits: int, seconds: float) -> Freshness:
    """Start a whole system (``headwater up``), find what it sustains, then measure at half of that."""
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder:
        env = {"HEADWATER_LEARN_HOURS": "0"}
        options = UpOptions(data_dir=Path(folder), collector_port=0, api_port=0, env=env)
        async with Up(options) as up:
            looker = _Looker(up.run)
            async with open_intake(up.run["collector"], up.run["site_key"]) as intake:
                sender = _Sender(intake, burst_hits, seconds)
                sustained = await _sustained(sender, looker, burst_hits)
                delays, load = await _markers(sender, intake, looker, sustained / 2, seconds)
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    return Freshness(cuts[49] * 1000, cuts[98] * 1000, len(delays), sustained, load)


class _Sender:
    """Posts the batches of one stream of hits, in order."""

    def __init__(self, intake: Intake, burst_hits: int, seconds: float) -> None:
        began_at = time.time_ns() // 1_000_000 - (DAYS + 2) * DAY_MS
        hits = build_traffic(burst_hits + int(seconds * 20_000), began_at=began_at).hits
        self._intake = intake
        self._batches: Iterator[list[dict[str, Any]]] = (
            [body_of(hit) for hit in hits[begin : begin + BATCH]] for begin in range(0, len(hits), BATCH)
        )
        self.sent = 0

    async def post(self) -> None:
        """One batch; returns when it is acknowledged. Raises ``BenchFailed`` when hits are refused or run out."""
        batch = next(self._batches, None)
        if batch is None:
            raise BenchFailed("the prepared hits ran out: this machine is faster than planned for")
        refused = [refusal for refusal in await self._intake.batch(batch) if refusal is not None]
        if refused:
            raise BenchFailed(f"the collector refuses hits: {refused[0]}")
        self.sent += len(batch)


class _Looker:
    """Reads ``channel_metrics`` as a dashboard's server would: one site, a range of hours."""

    def __init__(self, run: Any) -> None:
        self._site = run["site_key"]
        self._client = clickhouse_connect.get_client(dsn=run["clickhouse"], database="headwater")

    async def hits(self) -> int:
        """Hits visible, those refused as robots or duplicates included."""
        sql = (
            "SELECT (SELECT sum(hits) FROM channel_metrics WHERE model = '') + (SELECT sum(count) FROM drops)"
        )
        return int((await asyncio.to_thread(self._client.query, sql)).result_rows[0][0])

    async def campaigns(self, prefix: str) -> set[str]:
        """Campaigns of this hour's and the last hour's traffic that begin with ``prefix``."""
        sql = (
            "SELECT DISTINCT campaign FROM channel_metrics WHERE site = {site:String} AND model = '' AND basis = ''"
            " AND hour >= now('UTC') - INTERVAL 2 HOUR AND startsWith(campaign, {prefix:String})"
        )
        parameters = {"site": self._site, "prefix": prefix}
        rows = (await asyncio.to_thread(self._client.query, sql, parameters)).result_rows
        return {str(row[0]) for row in rows}


async def _sustained(sender: _Sender, looker: _Looker, hits: int) -> float:
    """Hits per second over a burst, from the first request to the last hit visible."""
    began = time.monotonic()

    async def carry() -> None:
        while sender.sent < hits:
            await sender.post()

    await asyncio.gather(*(carry() for _ in range(_AT_ONCE)))
    deadline = time.monotonic() + 120
    while await looker.hits() < sender.sent:
        if time.monotonic() > deadline:
            raise BenchFailed("the burst was not visible within two minutes")
        await asyncio.sleep(0.1)
    return sender.sent / (time.monotonic() - began)


async def _markers(
    sender: _Sender, intake: Intake, looker: _Looker, rate: float, seconds: float
) -> tuple[list[float], float]:
    """Seconds from answer to visible of each marker, and the rate that was really sent."""
    prefix = f"marker-{time.time_ns():x}-"
    answered: dict[str, float] = {}
    seen: dict[str, float] = {}
    began, before = time.monotonic(), sender.sent
    is_over = asyncio.Event()

    async def load() -> None:
        for number in itertools.count(1):
            await sender.post()
            pause = began + number * BATCH / rate - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            if is_over.is_set():
                return

    async def mark() -> None:
        number = 0
        while time.monotonic() - began < seconds:
            number += 1
            name = f"{prefix}{number:05d}"
            url = f"https://shop.example/?utm_source=marker&utm_medium=email&utm_campaign={name}"
            fields = {"visitor_id": name, "event_id": name, "url": url}
            await intake.pixel(fields, _AGENT)
            answered[name] = time.monotonic()
            await asyncio.sleep(_MARKER_S)

    async def look() -> None:
        while not is_over.is_set() or answered.keys() - seen.keys():
            found = await looker.campaigns(prefix)
            now = time.monotonic()
            for name in found:
                seen.setdefault(name, now)
            if is_over.is_set() and now - began > seconds + _DEADLINE_S:
                raise BenchFailed(f"{len(answered) - len(seen)} markers never became visible")
            await asyncio.sleep(_LOOK_S)

    looking, loading = asyncio.create_task(look()), asyncio.create_task(load())
    await mark()
    rate_sent = (sender.sent - before) / (time.monotonic() - began)
    is_over.set()
    await asyncio.gather(loading, looking)
    return [max(0.0, seen[name] - at) for name, at in answered.items()], rate_sent
