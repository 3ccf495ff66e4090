"""The big system: brokers, two stores, several collectors and workers, each a production command of its own process.

Between any two parts lies a ``Link``: clients of the brokers are led there by the advertised addresses, everybody else
by the ``HEADWATER_*`` variables. Whoever asks from outside (readers, the checker) goes directly.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from redis.asyncio import Redis

from bench.chaos.brokers import Brokers, EmbeddedBroker, Kafka
from bench.chaos.disks import SpoolDisk
from bench.chaos.flawed import CLOCK_VARIABLE, set_clock
from bench.chaos.progress import Places, unfinished
from bench.chaos.proxy import Link
from bench.chaos.set_back import AppendOnlyFile
from runtime.embedded.probes import http_is_ok
from runtime.embedded.servers import ENGINE, VALKEY, EmbeddedServers
from runtime.place import Place
from runtime.supervisor import Process, Supervisor
from streams.exit_codes import ENDS_TO_BEGIN_AGAIN

DATABASE = "headwater"
_COMMAND = (sys.executable, "-m", "bench.chaos.flawed")
_READY_WITHIN_S = 90.0
_MAX_BACKOFF_S = 2.0


class Kind(StrEnum):
    """Which brokers."""

    embedded = "embedded"
    apache = "apache"


@dataclass(frozen=True)
class Shape:
    """How much of everything."""

    kafka: Kind = Kind.apache
    partitions: int = 4
    workers: int = 3
    collectors: int = 2
    batch_wait_ms: int = 150


class Cluster:
    """One system on ``data_dir``; a context manager that starts and stops it."""

    def __init__(self, data_dir: Path, shape: Shape) -> None:
        """Choose ports and hold the folder. Raises ``Misconfigured``, also where Apache Kafka cannot run."""
        self.shape = shape
        self.data_dir = data_dir.resolve()
        self.place = Place(data_dir)
        self._supervisor = Supervisor(self.place.logs, max_backoff_s=_MAX_BACKOFF_S)
        self._crew = Supervisor(self.place.logs, max_backoff_s=_MAX_BACKOFF_S)
        """Of the workers."""
        self._servers = EmbeddedServers(
            self.place, partitions=shape.partitions, names=[VALKEY, ENGINE], supervisor=self._supervisor
        )
        self.aof = AppendOnlyFile(self.data_dir / "valkey")
        self.brokers: Brokers = (
            Kafka(self.place) if shape.kafka is Kind.apache else EmbeddedBroker(self.place, shape.partitions)
        )
        self.site_key = f"site_{secrets.token_hex(8)}"
        self.collectors = [f"collector-{number}" for number in range(1, shape.collectors + 1)]
        self.workers = [f"worker-{number}" for number in range(1, shape.workers + 1)]
        self.links: dict[str, Link] = {link.name: link for link in self.brokers.links}
        self._redis_port = self.place.port(VALKEY)
        self._engine_port = self.place.port(ENGINE)
        for name in self.collectors:
            self._add_link(f"senders>{name}", self.place.port(name))
            self._add_link(f"{name}>valkey", self._redis_port)
        for name in self.workers:
            self._add_link(f"{name}>valkey", self._redis_port)
            self._add_link(f"{name}>engine", self._engine_port)
        self.disks: dict[str, SpoolDisk] = {}
        self._metrics_ports: dict[str, int] = {}
        self._stack = AsyncExitStack()

    def _add_link(self, name: str, target: int) -> None:
        self.links[name] = Link(name, self.place.port(f"link {name}"), target)

    async def __aenter__(self) -> Self:
        """Start everything. Raises ``ProcessFailed``."""
        try:
            for link in self.links.values():
                await self._stack.enter_async_context(link)
            for name in self.collectors:
                self.disks[name] = SpoolDisk(self._folder(name) / "spool")
                self._stack.callback(self.disks[name].remove)
            valkey, engine = self._servers.processes()
            await self._supervisor.start(
                replace(valkey, command=self._valkey_command(valkey)), engine, *self.brokers.processes()
            )
            await self._migrate(DATABASE)
            await self._supervisor.start(*(self._collector(name) for name in self.collectors))
            await self._crew.start(*(self.worker(name) for name in self.workers))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._crew.stop()
        await self._supervisor.stop()
        await self._stack.aclose()
        self.place.release()

    @property
    def collector_urls(self) -> list[str]:
        """Where senders send."""
        return [f"http://127.0.0.1:{self.links[f'senders>{name}'].port}" for name in self.collectors]

    @property
    def clickhouse(self) -> str:
        """The engine, directly."""
        return self._servers.clickhouse

    @property
    def redis(self) -> str:
        """Valkey, directly."""
        return self._servers.redis

    def names(self, part: str) -> list[str]:
        """The processes that are a ``part``: collector, worker, broker, valkey or engine."""
        by_part = {
            "collector": self.collectors,
            "worker": self.workers,
            "broker": self.brokers.names,
            VALKEY: [VALKEY],
            ENGINE: [ENGINE],
        }
        return list(by_part[part])

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name, of those that run."""
        return {**self._supervisor.pids, **self._crew.pids}

    def signal(self, name: str, number: signal.Signals) -> int | None:
        """Signal a process if it is there; its id."""
        pid = self.pids.get(name)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    def tail_of(self, name: str, lines: int = 12) -> str:
        """The end of a part's log."""
        with suppress(OSError):
            text = (self.place.logs / f"{name}.log").read_text(errors="replace")
            return "\n".join(line[:400] for line in text.splitlines()[-lines:])
        return ""

    def jump_clock(self, name: str, offset_ms: int) -> None:
        """Let the wall clock of a collector or worker be off by so much."""
        set_clock(self._clock(name), offset_ms)

    async def unfinished(self) -> list[str]:
        """What is still on its way, in words; nothing when all effects of all events are there."""
        spools = [self._folder(name) / "spool" for name in self.collectors]
        return await unfinished(Places(self.brokers.bootstrap, self.redis, self.shape.partitions, spools))

    async def start_afresh(self, database: str) -> None:
        """Other workers on empty stores: a new database, nothing in Valkey. The log stays. Raises ``ProcessFailed``."""
        await self._crew.stop()
        redis = Redis.from_url(self.redis)
        try:
            await redis.flushall()
        finally:
            await redis.aclose()
        await self._migrate(database)
        self._crew = Supervisor(self.place.logs, max_backoff_s=_MAX_BACKOFF_S)
        await self._crew.start(*(self.worker(name, database) for name in self.workers))

    async def _migrate(self, database: str) -> None:
        """Create topics and tables. Raises ``ProcessFailed``."""
        env = {"HEADWATER_DATABASE": database}
        await self._supervisor.run(self._part("migrate", "migrate", _at_once, env))

    def worker(self, name: str, database: str = DATABASE) -> Process:
        """A worker that the system has, or (by any other name) one more that goes its own ways."""
        port = self._metrics_ports[name] = self.place.port(name)
        env = {"HEADWATER_WORKER_METRICS_PORT": str(port), "HEADWATER_DATABASE": database}
        if f"{name}>valkey" in self.links:
            env["HEADWATER_REDIS"] = self._redis_url(self.links[f"{name}>valkey"].port)
            env["HEADWATER_CLICKHOUSE"] = _at_port(
                self.clickhouse, self._engine_port, self.links[f"{name}>engine"].port
            )
        env[CLOCK_VARIABLE] = str(self._clock(name))
        process = self._part(name, "work", lambda: http_is_ok(port, "/readyz"), env)
        return replace(process, tries_again_after=ENDS_TO_BEGIN_AGAIN)

    def metrics_port(self, worker: str) -> int:
        """Where a worker tells what it counts."""
        return self._metrics_ports[worker]

    def _collector(self, name: str) -> Process:
        port = self.place.port(name)
        env = {
            "HEADWATER_DATA_DIR": str(self._folder(name)),
            "HEADWATER_COLLECTOR_PORT": str(port),
            "HEADWATER_REDIS": self._redis_url(self.links[f"{name}>valkey"].port),
            CLOCK_VARIABLE: str(self._clock(name)),
        }
        return self._part(name, "collect", lambda: http_is_ok(port, "/readyz"), env)

    def _part(
        self, name: str, command: str, ready: Callable[[], Awaitable[bool]], env: Mapping[str, str]
    ) -> Process:
        common = {
            **self.brokers.env,
            "HEADWATER_KAFKA": self.brokers.bootstrap_of_clients,
            "HEADWATER_REDIS": self.redis,
            "HEADWATER_CLICKHOUSE": self.clickhouse,
            "HEADWATER_DATA_DIR": str(self.data_dir),
            "HEADWATER_SITES": self.site_key,
            "HEADWATER_PARTITIONS": str(self.shape.partitions),
            "HEADWATER_COLLECTOR_HOST": "127.0.0.1",
            "HEADWATER_RATE_PER_SECOND": "1000000",  # all senders have one address
            "HEADWATER_BATCH_WAIT_MS": str(self.shape.batch_wait_ms),
            "HEADWATER_COOKIE_SECURE": "false",
            "HEADWATER_LEARN_HOURS": "0",  # the oracle knows of no learnt table
            "PYTHONUNBUFFERED": "1",
        }
        return Process(
            name=name,
            command=lambda: [*_COMMAND, command],
            ready=ready,
            env={**common, **env},
            ready_within_s=_READY_WITHIN_S,
            stop_within_s=20.0,
        )

    def _valkey_command(self, valkey: Process) -> Callable[[], list[str]]:
        def command() -> list[str]:
            self.aof.before_start()
            return list(valkey.command())

        return command

    def _folder(self, name: str) -> Path:
        return self.data_dir / name

    def _clock(self, name: str) -> Path:
        path = self.data_dir / f"{name}.clock"
        if not path.exists():
            set_clock(path, 0)
        return path

    def _redis_url(self, port: int) -> str:
        return _at_port(self.redis, self._redis_port, port)


def _at_port(url: str, port: int, other: int) -> str:
    return url.replace(f"@127.0.0.1:{port}", f"@127.0.0.1:{other}")


async def _at_once() -> bool:
    return True
