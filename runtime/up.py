"""``headwater up``: the whole system on one machine, as children of this process."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attribution.errors import Misconfigured
from runtime.embedded.apache_kafka import NODE_COUNTS
from runtime.embedded.probes import http_is_ok, is_port_free
from runtime.embedded.servers import BROKER, ENGINE, VALKEY, EmbeddedServers
from runtime.installation import SHARED
from runtime.place import Place
from runtime.settings import Settings
from runtime.supervisor import Process, ProcessFailed, Supervisor, together
from runtime.wiring import deals_of, funnel_of, pin_policy
from streams.exit_codes import ENDS_TO_BEGIN_AGAIN

EMBEDDED, APACHE = "embedded", "apache"
_START_WITHIN_S = 60.0
_COLLECTOR_STOPS, _OTHERS_STOP = 0, 1
_PARTITIONS = 2
"""Of a new place, or as many as workers: every partition costs the engine a few inserts per batch, however small."""


@dataclass(frozen=True)
class UpOptions:
    """What ``up`` can be told. Everything else comes from ``HEADWATER_*`` and reaches the children as it is."""

    data_dir: Path = Path(".headwater")
    collector_port: int | None = None
    """None: the port of the last time, else 8080, else any free one. A number: this one or nothing."""
    api_port: int | None = None
    """As ``collector_port``, with 8081."""
    workers: int = 1
    kafka: str = EMBEDDED
    """``embedded``, ``apache`` (Apache Kafka's own broker, needs Java), or the address of a Kafka cluster."""
    brokers: int = 1
    """Nodes of ``apache``: 1, or 3 with three copies of each record."""
    broker_max_bytes: int = 0
    """Memory at which the embedded broker begins anew; 0 = ``broker_limit`` of this machine."""
    env: Mapping[str, str] = field(default_factory=dict)
    """More environment for the children."""
    program: Sequence[str] = (sys.executable, "-m", "runtime.cli")
    """What is given the words ``migrate``, ``collect``, ``work``, ``serve``."""
    before_start: Callable[[str], None] | None = None
    """Called with the site key before any process starts, to write files that ``env`` names."""


class Up:
    """The running system, as a context manager: inside it everything is ready, after it everything has
    stopped.
    """

    def __init__(self, options: UpOptions) -> None:
        """Hold the data folder and choose ports. Raises ``Misconfigured``."""
        if options.workers < 1:
            raise Misconfigured(f"{options.workers} workers cannot work.", "Use --workers 1 or more.")
        self.notices: list[str] = []
        """What a person should know, one line each (a port other than the usual one)."""
        self._options = options
        self._place = Place(options.data_dir)
        try:
            self._settings = self._settle_partitions(Settings())
            own = self._settings.model_copy(update={"data_dir": self._place.data_dir})
            self._policy = pin_policy(own)
            deals_of(own)  # what is wrong there is said before anything starts
            funnel_of(own)
            self._check_brokers()
            self._supervisor = Supervisor(self._place.logs, on_change=self._announce)
            is_ours = options.kafka in (EMBEDDED, APACHE)
            self._servers = EmbeddedServers(
                self._place,
                partitions=self._settings.partitions,
                names=[VALKEY, ENGINE, *([BROKER] if is_ours else [])],
                supervisor=self._supervisor,
                apache_nodes=options.brokers if options.kafka == APACHE else 0,
                broker_max_bytes=options.broker_max_bytes
                or broker_limit(self._settings.spool_max_bytes, machine_memory()),
            )
            self._kafka = self._servers.kafka if is_ours else options.kafka
            self._site_key = self._place.secret("site_key", lambda: f"site_{secrets.token_hex(8)}")
            self._read_key = self._place.secret("read_key", lambda: f"read_{secrets.token_urlsafe(32)}")
            self._collector_port = self._choose_port("collector", options.collector_port, 8080)
            self._api_port = self._choose_port("api", options.api_port, 8081)
        except BaseException:
            self._place.release()
            raise
        self._is_ready = False

    @property
    def run(self) -> dict[str, Any]:
        """What ``run.json`` holds (contract, section 1), with the process ids of now."""
        return {
            "collector": f"http://127.0.0.1:{self._collector_port}",
            "api": f"http://127.0.0.1:{self._api_port}",
            "clickhouse": self._servers.clickhouse,
            "redis": self._servers.redis,
            "kafka": self._kafka,
            "site_key": self._site_key,
            "read_key": self._read_key,
            "settings": self._shared_settings(),
            "pids": {"up": os.getpid(), **self._supervisor.pids},
        }

    async def __aenter__(self) -> Self:
        """Start everything; return when all of it is ready. Raises ``ProcessFailed``, ``Misconfigured``."""
        try:
            self._place.withdraw()  # of a run that was killed
            if self._options.before_start is not None:
                self._options.before_start(self._site_key)
            await self._supervisor.start(*self._servers.processes())
            # The collector needs no tables; the others do.
            await together(
                self._supervisor.start(self._collector()),
                self._supervisor.run(self._part("migrate", "migrate")),
            )
            await self._supervisor.start(self._api(), *self._workers())
            self._is_ready = True
            self._announce()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self._is_ready = False
        self._place.withdraw()
        try:
            await self._supervisor.stop()
        finally:
            self._place.release()

    def _announce(self) -> None:
        if self._is_ready:
            self._place.announce(self.run)

    def _shared_settings(self) -> dict[str, Any]:
        """What the children run with, for the commands of other terminals."""
        given = {**self._environment(), **self._options.env}
        own = self._settings.model_dump(mode="json")
        return {name: given.get(f"HEADWATER_{name.upper()}", own[name]) for name in SHARED}

    def _settle_partitions(self, settings: Settings) -> Settings:
        """With the partitions that this place began with; a new place that is told nothing gets few of them."""
        told = settings.partitions if "partitions" in settings.model_fields_set else None
        settled = self._place.settle("partitions", told or max(_PARTITIONS, self._options.workers))
        if told not in (None, settled):
            raise Misconfigured(
                f"{self._place.data_dir} was begun with {settled} partitions, not {told}.",
                f"Set HEADWATER_PARTITIONS={settled} or nothing, or use another --data-dir.",
            )
        return settings.model_copy(update={"partitions": settled})

    def _check_brokers(self) -> None:
        """A place stays with the broker that it began with: what it acknowledged may be in that broker only."""
        kafka, brokers = self._options.kafka, self._options.brokers
        if kafka != APACHE and brokers != 1:
            raise Misconfigured(f"--brokers {brokers} needs Apache Kafka.", "Add --kafka apache.")
        if brokers not in NODE_COUNTS:
            raise Misconfigured(f"Apache Kafka with {brokers} nodes is not offered.", "Use --brokers 1 or 3.")
        if kafka not in (EMBEDDED, APACHE):
            if ":" not in kafka:
                raise Misconfigured(f"--kafka {kafka} is no address.", "Use embedded, apache, or HOST:PORT.")
            return
        wanted = brokers if kafka == APACHE else 0
        settled = self._place.settle("apache_nodes", wanted)
        if settled != wanted:
            begun = f"--kafka apache --brokers {settled}" if settled else "--kafka embedded"
            raise Misconfigured(
                f"{self._place.data_dir} was begun with another broker.",
                f"Use {begun}, or another --data-dir.",
            )

    def _choose_port(self, name: str, wanted: int | None, usual: int) -> int:
        if wanted:
            if not is_port_free(wanted):
                raise Misconfigured(
                    f"Port {wanted} is taken.", f"Free it, or use another --{name}-port (0 = any free port)."
                )
            return wanted
        port = self._place.port(name, preferred=usual if wanted is None else None)
        if wanted is None and port != usual:
            self.notices.append(f"The {name} listens on port {port}: {usual} was taken when it was chosen.")
        return port

    def _collector(self) -> Process:
        port = self._collector_port
        return self._part("collector", "collect", lambda: http_is_ok(port, "/readyz"), rank=_COLLECTOR_STOPS)

    def _api(self) -> Process:
        return self._part("api", "serve", lambda: http_is_ok(self._api_port, "/readyz"))

    def _workers(self) -> list[Process]:
        return [self._worker(number) for number in range(1, self._options.workers + 1)]

    def _worker(self, number: int) -> Process:
        name = "worker" if number == 1 else f"worker-{number}"
        port = self._place.port(name)
        env = {"HEADWATER_WORKER_METRICS_PORT": str(port)}
        process = self._part(name, "work", lambda: http_is_ok(port, "/readyz"), env)
        return replace(process, tries_again_after=ENDS_TO_BEGIN_AGAIN)

    def _part(
        self,
        name: str,
        command: str,
        ready: Callable[[], Awaitable[bool]] | None = None,
        env: Mapping[str, str] | None = None,
        rank: int = _OTHERS_STOP,
    ) -> Process:
        """One of our own processes, as it would run in production, with this place's addresses."""
        return Process(
            name=name,
            command=lambda: [*self._options.program, command],
            ready=ready or _at_once,
            env={**self._environment(), **(env or {}), **self._options.env},
            ready_within_s=_START_WITHIN_S,
            stop_within_s=20.0,
            stop_rank=rank,
        )

    def _environment(self) -> dict[str, str]:
        settings = self._settings
        sites = ",".join(filter(None, (self._site_key, settings.sites)))
        read_keys = ",".join(filter(None, (self._read_key, settings.read_keys.get_secret_value())))
        env = {
            "HEADWATER_DATA_DIR": str(self._place.data_dir),
            "HEADWATER_POLICY": str(self._policy),
            "HEADWATER_KAFKA": self._kafka,
            "HEADWATER_REDIS": self._servers.redis,
            "HEADWATER_CLICKHOUSE": self._servers.clickhouse,
            "HEADWATER_PARTITIONS": str(settings.partitions),
            "HEADWATER_SITES": sites,
            "HEADWATER_READ_KEYS": read_keys,
            "HEADWATER_COLLECTOR_HOST": "127.0.0.1",
            "HEADWATER_COLLECTOR_PORT": str(self._collector_port),
            "HEADWATER_API_HOST": "127.0.0.1",
            "HEADWATER_API_PORT": str(self._api_port),
            "PYTHONUNBUFFERED": "1",
        }
        if self._options.kafka == EMBEDDED:
            env["HEADWATER_KAFKA_IDEMPOTENT"] = "false"
            env["HEADWATER_KAFKA_REPLICATION"] = "1"
        if self._options.kafka == APACHE:
            env["HEADWATER_KAFKA_IDEMPOTENT"] = "true"
            env["HEADWATER_KAFKA_REPLICATION"] = str(self._options.brokers)
        if "cookie_secure" not in settings.model_fields_set:
            env["HEADWATER_COOKIE_SECURE"] = "false"  # plain HTTP on loopback
        return env


def machine_memory() -> int:
    """Bytes that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def broker_limit(spool_bytes: int, machine_bytes: int) -> int:
    """Memory at which the embedded broker begins anew, in bytes: a quarter of the machine's.

    Never less than it needs for all that may wait, or it would end before that is processed: what a full spool holds,
    about half as much for journals and triggers (measured, docs/performance.md), and itself.
    """
    return max(machine_bytes // 4, 2 * spool_bytes + (512 << 20))


OnReady = Callable[[Up], Awaitable[int | None]]


async def run_up(
    options: UpOptions, on_ready: OnReady | None = None, say: Callable[[str], None] = print
) -> int:
    """Run until SIGINT or SIGTERM, then stop cleanly; the exit code of the command.

    ``on_ready`` is awaited when all is ready; an exit code from it stops everything. Without it the URLs are said.
    A part that does not start is reported with the end of its log: 2 if a person must change something, else 1.
    Raises ``Misconfigured``.
    """
    work = asyncio.create_task(_run(options, on_ready, say))
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return 0
    except ProcessFailed as error:
        print(error, file=sys.stderr)
        return 2 if error.exit_code == 2 else 1
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _run(options: UpOptions, on_ready: OnReady | None, say: Callable[[str], None]) -> int:
    began = time.monotonic()
    async with Up(options) as up:
        for notice in up.notices:
            say(notice)
        if on_ready is None:
            say(welcome(up.run, time.monotonic() - began))
        elif (code := await on_ready(up)) is not None:
            return code
        await asyncio.Event().wait()
    raise AssertionError("unreachable: only a signal ends the wait")


def welcome(run: Mapping[str, Any], seconds: float) -> str:
    """What a person needs to begin with."""
    pixel = f"{run['collector']}/p.gif?site={run['site_key']}"
    return "\n".join(
        [
            f"Headwater is up after {seconds:.1f} s.",
            f"  pixel      {pixel}",
            f"  dashboard  {run['api']}/",
            f"  read key   {run['read_key']}",
            "Ctrl-C stops it; the next `headwater up` goes on where it stopped.",
        ]
    )


async def _at_once() -> bool:
    return True
