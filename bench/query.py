"""How quickly questions are answered: those of the page at ``/``, over HTTP, one after the other.

The page's table comes from the roll-up, whose size does not follow the hits: it is asked of roll-ups that stand for few
and for many hits, in turns. The page's second question, visitors, counts the sessions of a real run.
"""

from __future__ import annotations

import asyncio
import statistics
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import clickhouse_connect
import msgspec

from bench.headwater import READ_KEY, BenchFailed, Installation, until_ready
from bench.machine import Cores, cpu_seconds
from bench.roll_up import Scale, fill
from runtime.embedded.servers import ENGINE
from runtime.processes import run_migrate

TABLE = {
    "metrics": ["hits", "sessions", "conversions", "revenue", "cr", "aov"],
    "dimensions": ["channel"],
    "model": "linear",
    "basis": "conversion",
    "order_by": [["revenue", "desc"]],
}
"""What the page asks first. Without a date range: all that there is."""
VISITORS = {"metrics": ["visitors"], "dimensions": ["channel"]}
"""What it asks then."""
_WARM_UP = 5
_AT_A_TIME = 10
_FILL_WITHIN_S = 900


@dataclass(frozen=True)
class Latency:
    """Milliseconds from request to answer, and the engine's processor time for one answer."""

    p50_ms: float
    p95_ms: float
    engine_cpu_ms: float


@dataclass(frozen=True)
class Question:
    """What is asked of a query API."""

    port: int
    path: str
    rows: str
    """Name of a list of the answer that is not empty."""
    body: bytes | None = None
    """Of a POST; ``None`` = GET."""


@dataclass(frozen=True)
class ScaleLatency:
    """Of the page's table over one roll-up."""

    scale: Scale
    rows: int
    """Of ``channel_metrics``."""
    latency: Latency


async def measure_visitors(house: Installation, cores: Cores, *, times: int) -> Latency:
    """Ask for the visitors of a run, on the core that the worker had."""
    with house.api(cores.measured) as port:
        await until_ready(port, "/openapi.json", "the query API")
        (latency,) = await asyncio.to_thread(ask_in_turns, house, [_query(port, VISITORS)], times)
    return latency


async def measure_scales(
    scales: Sequence[Scale], cores: Cores, *, times: int, say: Callable[[str], None]
) -> list[ScaleLatency]:
    """Fill a roll-up for each of ``scales`` in one engine, then ask all of them in turns. Raises ``BenchFailed``."""
    async with Installation.open(1) as house:
        names = [f"scale_{number}" for number in range(len(scales))]
        rows = []
        for name, scale in zip(names, scales, strict=True):
            say(f"roll-up of {scale.hits:,} hits and {scale.conversions:,} conversions")
            rows.append(await asyncio.to_thread(_prepare, house, name, scale))
        with ExitStack() as parts:
            ports = [parts.enter_context(house.api(cores.measured, name)) for name in names]
            for port in ports:
                await until_ready(port, "/openapi.json", "the query API")
            say("the page's table, in turns")
            asked = [_query(port, TABLE) for port in ports]
            latencies = await asyncio.to_thread(ask_in_turns, house, asked, times)
    return [ScaleLatency(*one) for one in zip(scales, rows, latencies, strict=True)]


def _query(port: int, question: dict[str, Any]) -> Question:
    return Question(port, "/v1/query", "rows", msgspec.json.encode(question))


def _prepare(house: Installation, database: str, scale: Scale) -> int:
    run_migrate(house.settings.model_copy(update={"database": database}))
    client = clickhouse_connect.get_client(
        dsn=house.servers.clickhouse, database=database, send_receive_timeout=_FILL_WITHIN_S
    )
    try:
        return fill(client, database, scale)
    finally:
        client.close()


def ask_in_turns(house: Installation, questions: Sequence[Question], times: int) -> list[Latency]:
    """Ask each of ``questions`` ``times`` times. Raises ``BenchFailed``."""
    engine = house.servers.pids[ENGINE]
    took: dict[Question, list[float]] = {question: [] for question in questions}
    used = dict.fromkeys(questions, 0.0)
    for question in questions:
        for _ in range(_WARM_UP):
            _ask(question)
    # Several at a time: processor time is told in hundredths of a second.
    for _ in range(max(1, times // _AT_A_TIME)):
        for question in questions:
            before = cpu_seconds(engine)
            took[question] += [_ask(question) for _ in range(_AT_A_TIME)]
            used[question] += cpu_seconds(engine) - before
    return [
        Latency(
            statistics.median(took[question]) * 1000,
            statistics.quantiles(took[question], n=20, method="inclusive")[18] * 1000,
            used[question] / len(took[question]) * 1000,
        )
        for question in questions
    ]


def _ask(question: Question) -> float:
    request = urllib.request.Request(
        f"http://127.0.0.1:{question.port}{question.path}",
        data=question.body,
        headers={"Authorization": f"Bearer {READ_KEY}", "Content-Type": "application/json"},
    )
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        rows = msgspec.json.decode(answer.read())[question.rows]
    if not rows:
        raise BenchFailed("the page's question has no answer")
    return time.perf_counter() - began
