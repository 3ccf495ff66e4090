"""What a run has left behind: Redis bytes per visitor, and how quickly the dashboard's question is answered."""

from __future__ import annotations

import asyncio
import statistics
import time
import urllib.request
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from bench.headwater import READ_KEY, BenchFailed, Installation, until_ready
from bench.machine import Cores
from bench.traffic import Traffic

DASHBOARD = {
    "metrics": ["hits", "visitors", "sessions", "conversions", "revenue", "cr", "aov"],
    "dimensions": ["channel"],
    "model": "linear",
    "basis": "conversion",
    "order_by": [["revenue", "desc"]],
}
"""What the page at ``/`` asks."""


@dataclass(frozen=True)
class Memory:
    """Bytes of Redis per visitor, all of them with about five touches and eight hits."""

    timeline: float
    """``MEMORY USAGE`` of a timeline's key, its overhead included: mean of the sample."""
    growth: float
    """Growth of ``used_memory`` over the whole run, conversions included, divided by the visitors."""
    visitors: int


@dataclass(frozen=True)
class Latency:
    """Milliseconds from request to answer of the dashboard's question."""

    p50_ms: float
    p95_ms: float
    hits: int
    conversions: int


def used_memory(house: Installation) -> int:
    """Bytes that Redis says it uses."""
    info: Any = house.redis.info("memory")
    return int(info["used_memory"])


def measure_memory(house: Installation, traffic: Traffic, used_before: int, *, sample: int) -> Memory:
    """Look at up to ``sample`` timelines. Raises ``BenchFailed`` when there are none."""
    keys = list(islice(house.redis.scan_iter(match="t{h*", count=1000), sample))
    if not keys:
        raise BenchFailed("no timelines in Redis")
    pipeline: Any = house.redis.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("MEMORY", "USAGE", key, "SAMPLES", "0")
    sizes = pipeline.execute()
    growth = (used_memory(house) - used_before) / traffic.visitors
    return Memory(statistics.fmean(sizes), growth, traffic.visitors)


async def measure_query(house: Installation, traffic: Traffic, cores: Cores, *, times: int) -> Latency:
    """Ask the query API one question after the other, on the core that the worker had."""
    with house.api(cores.measured) as port:
        await until_ready(port, "/openapi.json", "the query API")
        took = await asyncio.to_thread(lambda: [_ask(port) for _ in range(times + 5)][5:])
    cuts = statistics.quantiles(took, n=20, method="inclusive")
    return Latency(statistics.median(took) * 1000, cuts[18] * 1000, traffic.kept, traffic.orders)


def _ask(port: int) -> float:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/query",
        data=msgspec.json.encode(DASHBOARD),
        headers={"Authorization": f"Bearer {READ_KEY}", "Content-Type": "application/json"},
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:
        rows = msgspec.json.decode(answer.read())["rows"]
    if not rows:
        raise BenchFailed("the dashboard's question has no answer")
    return time.perf_counter() - began
