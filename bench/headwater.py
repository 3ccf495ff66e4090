"""A Headwater of the benchmark's own: embedded servers in a temporary folder, a worker that is started late."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import clickhouse_connect
from pydantic import SecretStr
from redis import Redis

from bench.machine import cpu_seconds_with_children, start, stop
from bench.traffic import SITE, Traffic
from runtime.embedded.probes import free_port, http_is_ok
from runtime.embedded.servers import EmbeddedServers
from runtime.place import Place
from runtime.processes import run_migrate
from runtime.settings import Settings
from streams.topics import dirty_key, outbox_key

READ_KEY = "read_bench"


class BenchFailed(Exception):
    """A figure could not be measured, or the system that gave it was wrong."""


@dataclass(frozen=True)
class Progress:
    """How far a pipeline has come."""

    events: int
    """Input events whose effect is visible."""
    is_settled: bool
    """Everything that follows from them is visible as well."""


async def until_ready(port: int, path: str, what: str) -> None:
    """Wait until ``GET path`` answers 200. Raises ``BenchFailed`` after a minute and a half."""
    deadline = time.monotonic() + 90
    while not await http_is_ok(port, path):
        if time.monotonic() > deadline:
            raise BenchFailed(f"{what} does not answer {path} on port {port}")
        await asyncio.sleep(0.02)


class Installation:
    """Servers with empty topics and tables. Use ``async with Installation.open(partitions)``."""

    def __init__(
        self, servers: EmbeddedServers, folder: Path, partitions: int, *, apache: bool = False
    ) -> None:
        self.servers = servers
        self.folder = folder
        self.settings = Settings(
            data_dir=folder / "data",
            kafka=servers.kafka,
            kafka_idempotent=apache,
            redis=servers.redis,
            clickhouse=servers.clickhouse,
            partitions=partitions,
            sites=SITE,
            read_keys=SecretStr(READ_KEY),
        )
        self.redis: Redis = Redis.from_url(servers.redis)
        self._client: Any = None

    @classmethod
    @asynccontextmanager
    async def open(cls, partitions: int, *, apache: bool = False) -> AsyncIterator[Installation]:
        """Start the servers, create topics and tables; stop and forget everything at the end.

        With ``apache`` the broker is Apache Kafka; raises ``Misconfigured`` where it cannot be had.
        """
        nodes = 1 if apache else 0
        with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder, Place(Path(folder)) as place:
            async with EmbeddedServers(place, partitions=partitions, apache_nodes=nodes) as servers:
                house = cls(servers, Path(folder), partitions, apache=apache)
                await asyncio.to_thread(run_migrate, house.settings)
                house._client = await asyncio.to_thread(
                    clickhouse_connect.get_client, dsn=servers.clickhouse, database=house.settings.database
                )
                try:
                    yield house
                finally:
                    house.redis.close()

    @contextmanager
    def worker(self, core: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """One worker process on ``core``, and the port that tells when it is ready."""
        port = free_port(set())
        with self._part("work", core, {"HEADWATER_WORKER_METRICS_PORT": str(port)}) as process:
            yield process, port

    @contextmanager
    def collector(self, core: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """One collector process on ``core`` and its port. It limits nobody's rate: one client is all there is."""
        port = free_port(set())
        env = {"HEADWATER_COLLECTOR_PORT": str(port), "HEADWATER_RATE_PER_SECOND": "0"}
        with self._part("collect", core, env) as process:
            yield process, port

    @contextmanager
    def api(self, core: int, database: str = "") -> Iterator[int]:
        """One query API on ``core``, of the installation's database or another one: its port."""
        port = free_port(set())
        env = {"HEADWATER_API_PORT": str(port)} | ({"HEADWATER_DATABASE": database} if database else {})
        with self._part("serve", core, env):
            yield port

    @property
    def env(self) -> dict[str, str]:
        """What the environment of every process of this installation says."""
        settings = self.settings
        return {
            "HEADWATER_DATA_DIR": str(settings.data_dir),
            "HEADWATER_KAFKA": settings.kafka,
            "HEADWATER_KAFKA_IDEMPOTENT": str(settings.kafka_idempotent).lower(),
            "HEADWATER_REDIS": settings.redis,
            "HEADWATER_CLICKHOUSE": settings.clickhouse,
            "HEADWATER_PARTITIONS": str(settings.partitions),
            "HEADWATER_SITES": SITE,
            "HEADWATER_LEARN_HOURS": "0",
            "HEADWATER_READ_KEYS": READ_KEY,
        }

    @contextmanager
    def _part(self, command: str, core: int, more: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        with open(self.folder / f"{command}.log", "wb") as log:
            process = start([sys.executable, "-m", "runtime.cli", command], core, {**self.env, **more}, log)
            try:
                yield process
            finally:
                stop(process)

    def ask(self, sql: str) -> list[Any]:
        """The first row of a query on the installation's database."""
        return list(self._client.query(sql).result_rows[0])

    def command(self, sql: str) -> None:
        """Carry out a statement on the installation's database, however long it takes."""
        self._client.command(sql, settings={"max_execution_time": 0})

    def servers_cpu(self) -> float:
        """Processor seconds that broker, Valkey and engine have used so far."""
        return sum(cpu_seconds_with_children(pid) for pid in self.servers.pids.values())

    async def seen(self, hits: int, orders: int) -> Progress:
        """Hits that are rows or counted drops; settled when all of these are and every order stands credited."""
        events = await asyncio.to_thread(
            self.ask, "SELECT (SELECT count() FROM hits) + (SELECT sum(count) FROM drops)"
        )
        if events[0] < hits:
            return Progress(int(events[0]), False)
        (credited,) = await asyncio.to_thread(self.ask, "SELECT sum(sign) FROM conversions")
        partitions = range(self.settings.partitions)
        waiting = sum(self.redis.hlen(dirty_key(p)) + self.redis.hlen(outbox_key(p)) for p in partitions)
        return Progress(int(events[0]), credited == orders and waiting == 0)

    def check(self, traffic: Traffic) -> None:
        """Compare everything that was kept with what was sent. Raises ``BenchFailed``."""
        expected = {
            "SELECT count(), uniqExact(event_id) FROM hits": [traffic.kept, traffic.kept],
            "SELECT sum(count) FROM drops": [len(traffic.hits) - traffic.kept],
            "SELECT count() FROM dead_letters": [0],
            "SELECT sum(hits), sum(page_views) FROM channel_metrics WHERE model = ''": [
                traffic.kept,
                traffic.kept - traffic.orders,
            ],
            "SELECT min(r), max(r) FROM (SELECT sum(amount) AS r FROM credits GROUP BY model)": [
                Decimal(traffic.revenue) / 100,
                Decimal(traffic.revenue) / 100,
            ],
        }
        for sql, want in expected.items():
            found = self.ask(sql)
            if found != want:
                raise BenchFailed(f"{sql}: expected {want}, found {found}")
