"""Fact 4: our worker, whose offsets stand in Redis beside the effects, loses nothing and counts nothing twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from aiokafka import AIOKafkaProducer

from attribution.hit import Hit, encode_envelope
from bench.facts.group import reached
from bench.facts.offsets import Fact
from bench.headwater import BenchFailed, Installation
from bench.machine import pick_cores
from bench.traffic import BEGAN_AT, SITE
from runtime.embedded.probes import http_is_ok
from sinks.checks import run_checks
from sinks.client import connect
from streams.topics import HITS, partition_of

EVENTS = 5_500
PARTITIONS = 2
_PAUSE_SECONDS = 0.003
_JOIN_SECONDS = 120.0
_SEEN_SECONDS = 300.0


class _Crew:
    """Workers that join and leave."""

    def __init__(self, house: Installation, stack: ExitStack) -> None:
        self._house = house
        self._stack = stack
        self._workers: list[subprocess.Popen[bytes]] = []
        cores = pick_cores()
        self._cores = (cores.measured, cores.others)

    async def join(self) -> None:
        core = self._cores[len(self._workers) % 2]
        process, port = self._stack.enter_context(self._house.worker(core))
        self._workers.append(process)
        if not await reached(lambda: http_is_ok(port, "/readyz"), _JOIN_SECONDS):
            log = (self._house.folder / "work.log").read_text()
            raise BenchFailed(f"a worker did not join:\n{log[-2_000:]}")

    async def end(self, number: signal.Signals) -> None:
        """The worker that joined first leaves, one way or the other."""
        process = next(worker for worker in self._workers if worker.poll() is None)
        process.send_signal(number)
        await asyncio.to_thread(process.wait, 60)


async def own_fence() -> Fact:
    """5,500 events in 2 partitions; meanwhile one SIGKILL, two SIGTERM, three joins."""
    async with Installation.open(PARTITIONS, apache=True) as house:
        with ExitStack() as stack:
            crew = _Crew(house, stack)
            await crew.join()
            await crew.join()
            acts: list[Callable[[], Awaitable[None]]] = [
                crew.join,
                lambda: crew.end(signal.SIGKILL),
                crew.join,
                lambda: crew.end(signal.SIGTERM),
                crew.join,
                lambda: crew.end(signal.SIGTERM),
            ]
            producing = asyncio.create_task(_produce(house.settings.kafka))
            for act in acts:
                await act()
            await producing

            async def all_seen() -> bool:
                return (await house.seen(EVENTS, 0)).events >= EVENTS

            await reached(all_seen, _SEEN_SECONDS)
        rows, events, counted = house.ask(
            "SELECT count(), uniqExact(event_id), (SELECT sum(hits) FROM channel_metrics WHERE model = '') FROM hits"
        )
        client = connect(house.settings.clickhouse, house.settings.database)
        failed = [check.name for check in run_checks(client, house.settings.database) if not check.passed]
    counts = f"{EVENTS - events} missing, {rows - events} duplicates, {counted} in the roll-up"
    seen = f"{counts}; failed checks: {', '.join(failed) or 'none'}"
    return Fact(
        4,
        "our worker: 1 SIGKILL, 2 SIGTERM, 3 joins",
        seen,
        (rows, events, counted, failed) == (EVENTS,) * 3 + ([],),
    )


async def _produce(kafka: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True) as producer:
        for number in range(EVENTS):
            visitor = f"v{number % 500}"
            at = BEGAN_AT + number * 1_000
            hit = Hit(
                event_id=f"e{number}",
                site=SITE,
                visitor_id=visitor,
                occurred_at=at,
                received_at=at,
                url="https://shop.example/?utm_source=google&utm_medium=cpc",
            )
            partition = partition_of(visitor, PARTITIONS)
            await producer.send(HITS, encode_envelope([hit]), key=visitor.encode(), partition=partition)
            await asyncio.sleep(_PAUSE_SECONDS)
        await producer.flush()
