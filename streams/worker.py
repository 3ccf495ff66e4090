"""One worker process: the Faust app, a pump and a stage per owned partition, and the watch over them.

It dies rather than guesses: an unexpected error, a lost ownership or a broker with another cluster id ends the
process without moving a fence, and whoever starts it again (``headwater up``, systemd, Kubernetes) lets it take
over from the fence.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from faust.types import TP
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from attribution.deals.settings import DealSettings
from attribution.errors import Misconfigured
from attribution.policy import AttributionPolicy
from attribution.spend.click_costs import ClickCostRules
from sinks.writer import RowWriter
from streams import metrics
from streams.app import FencedApp, check_hooks, create_app
from streams.audit import AuditConfig, start_audit
from streams.exit_codes import EXIT_BROKER_CHANGED, EXIT_FAILED, EXIT_MISCONFIGURED
from streams.fence import TIMELINE_SECONDS, FenceStore
from streams.health import serve_health
from streams.journal import JOURNAL_OF
from streams.journal_log import KafkaJournals
from streams.kafka_admin import cluster_id
from streams.learning import LearnConfig, start_learning
from streams.learnt import LearntBook
from streams.membership import is_member
from streams.partitions import Partitions
from streams.patience import patiently
from streams.producer import Producer
from streams.putting_away import keep_putting_away
from streams.recent import DEFAULT_BYTES, RecentTimelines
from streams.redis_link import LargeCommandConnection
from streams.room import BATCHES, Room
from streams.rules import StitchRules
from streams.takeover import KINDS, Tools
from streams.topics import (
    CONVERSIONS,
    CREDITS,
    DEAD_LETTERS,
    VOLATILE_CLUSTER_PREFIX,
    partition_of,
)
from streams.touch_book import LOOK_EVERY_SECONDS, TouchBook
from streams.watchdog import STUCK_AFTER_SECONDS, Watchdog

log = structlog.get_logger(__name__)

STOP_SECONDS = 20.0
STOP_FLUSH_SECONDS = 10.0
"""How long a running batch may go on when the worker is told to stop: nobody waits for its partitions yet."""


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker needs to know. ``writer_factory`` makes a ClickHouse writer (called in this process)."""

    kafka: str
    kafka_idempotent: bool
    redis: str
    partitions: int
    policy: AttributionPolicy
    default_currency: str
    batch_max_hits: int
    batch_wait_ms: int
    metrics_port: int
    writer_factory: Callable[[], RowWriter]
    deals: DealSettings = field(default_factory=DealSettings)
    click_costs: ClickCostRules = field(default_factory=ClickCostRules)
    timelines_max_bytes: int = DEFAULT_BYTES
    """Recent visitors' timelines in memory, all partitions together."""
    timeline_seconds: int = TIMELINE_SECONDS
    """So long without a hit does a visitor's timeline stay in Redis."""
    group: str = "headwater-worker"
    audit: AuditConfig | None = None
    """None = this worker takes no part in the self-audit."""
    learn: LearnConfig | None = None
    """None = this worker lets no child learn."""
    touches_every_seconds: float = LOOK_EVERY_SECONDS
    """How often touches are looked for that spend stands beside."""
    stuck_after_seconds: float = STUCK_AFTER_SECONDS
    """The process ends when something that is to be done shows no sign of life for so long."""


class Worker:
    """The running worker."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._redis = Redis.from_url(
            config.redis,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=10,
            socket_timeout=30,
            max_connections=200,
            connection_class=LargeCommandConnection,  # a TLS address brings its own
        )
        self._fences = FenceStore(self._redis, timeline_seconds=config.timeline_seconds)
        self._learnt = LearntBook(self._fences)
        self._writer = config.writer_factory()
        self._broker = ""
        self._ending: asyncio.Future[int] | None = None
        self._partitions: Partitions | None = None
        # Made by ``run``, once the broker is known.
        self._producer: Producer
        self.app: FencedApp

    async def run(self) -> int:
        """Work until ``stop`` or a reason to die; the exit code."""
        check_hooks()
        ending = self._ending = asyncio.get_running_loop().create_future()
        self._broker = await cluster_id(self._config.kafka)
        self._producer = Producer(
            self._config.kafka,
            self._config.partitions,
            idempotent=self._config.kafka_idempotent,
            names=(CONVERSIONS, CREDITS, DEAD_LETTERS, *(JOURNAL_OF[topic] for topic in KINDS)),
            broker=self._broker,
        )
        partitions = self._partitions = Partitions(
            self._tools(),
            batch_max_hits=self._config.batch_max_hits,
            batch_wait_seconds=self._config.batch_wait_ms / 1000,
            on_failure=self._failed,
        )
        self.app = self._create_app(partitions)
        watchdog = Watchdog(
            partitions, self._config.kafka, lambda: is_member(self.app), self._config.stuck_after_seconds
        )
        watchdog.start()
        try:
            return await self._work(partitions, watchdog, ending)
        finally:
            watchdog.stop()

    async def _work(self, partitions: Partitions, watchdog: Watchdog, ending: asyncio.Future[int]) -> int:
        health = None
        if self._config.metrics_port:
            health = await serve_health("127.0.0.1", self._config.metrics_port, partitions, watchdog)
        looking = asyncio.create_task(self._learnt.run(), name="learnt")
        watch = asyncio.create_task(self._watch(partitions, watchdog))
        audit = start_audit(self._config.audit, self._redis, self._config.partitions)
        learning = start_learning(self._config.learn, self._redis)
        putting_away = asyncio.create_task(keep_putting_away(self._fences), name="putting away")
        starting = asyncio.create_task(self._start_app(watchdog))
        # Joining takes seconds, and for ever if the broker dies meanwhile: what `_watch` sees then must not wait.
        code = await ending
        watch.cancel()
        looking.cancel()
        watchdog.stop()
        for task in (audit, learning, putting_away):
            if task is not None:
                task.cancel()
        if code != 0:
            log.error("worker_dies", exit_code=code)
            os._exit(code)  # no clean-up may move an offset or wait for a stuck part
        async with asyncio.timeout(STOP_SECONDS):
            await starting
            await self.app.stop()
        if health is not None:
            await health.cleanup()
        await self._producer.close()
        await self._redis.aclose()
        return 0

    @property
    def owned_partitions(self) -> int:
        """How many partitions this worker processes now."""
        return len(self._partitions) if self._partitions is not None else 0

    def _tools(self) -> Tools:
        config = self._config
        return Tools(
            self._broker,
            self._fences,
            KafkaJournals(config.kafka, self._producer),
            self._writer,
            self._send,
            StitchRules(config.policy, config.default_currency, config.partitions, config.click_costs),
            RecentTimelines(config.timelines_max_bytes),
            Room(BATCHES * config.batch_max_hits),
            self._learnt,
            TouchBook(config.touches_every_seconds),
            deals=config.deals,
        )

    def _create_app(self, partitions: Partitions) -> FencedApp:
        group = self._config.group
        if self._broker.startswith(VOLATILE_CLUSTER_PREFIX):
            # A group for each life of the broker: workers of its last life, which find it before they find out that
            # it is another one, die in a group of their own, and nobody waits for their sessions to time out.
            group = f"{group}.{self._broker}"
        app = create_app(self._config.kafka, group, tuple(KINDS), partitions.own, partitions.deliver)

        async def on_revoked(_app: FencedApp, _revoked: set[TP], **_: object) -> None:
            await partitions.close()

        async def on_shutdown(_app: FencedApp, **_: object) -> None:
            await partitions.close(STOP_FLUSH_SECONDS)

        app.on_partitions_revoked.connect(on_revoked)
        app.on_before_shutdown.connect(on_shutdown)
        return app

    async def _start_app(self, watchdog: Watchdog) -> None:
        """Join the group. The worker ends if that fails."""
        log.info("worker_joins", broker=self._broker)
        try:
            await patiently(self._producer.open, "producer")
            await self._learnt.look()  # before the first conversion
            watchdog.is_joining = True
            await self.app.start()
        except Exception as error:
            self._failed("start", error)
        else:
            log.info("worker_started", broker=self._broker, policy=self._config.policy.version)

    def stop(self) -> None:
        """Ask for a clean end: running batches finish."""
        self._end(0)

    def _end(self, code: int) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(code)

    async def _send(self, topic: str, key: bytes, value: bytes) -> None:
        """Returns when the broker has it. Raises ``Transient`` when the same call may work later."""
        partition = partition_of(key.decode("utf-8", "replace"), self._config.partitions)
        await self._producer.send(topic, key, value, partition)

    def _failed(self, what: str, error: BaseException) -> None:
        """The worker ends; what is wrong with the settings gets an exit code of its own."""
        log.error("worker_failed", what=what, error=repr(error), exc_info=error)
        self._end(EXIT_MISCONFIGURED if isinstance(error, Misconfigured) else EXIT_FAILED)

    async def _watch(self, partitions: Partitions, watchdog: Watchdog) -> None:
        """Notice a new broker and a crashed app."""
        while True:
            await asyncio.sleep(1.0)
            metrics.LAG.set(partitions.lag_seconds)
            metrics.BUFFERED.set(partitions.buffered_bytes)
            if self.app.crashed:
                log.error("app_crashed", reason=repr(self.app.crash_reason))
                self._end(EXIT_FAILED)
            try:
                broker = await cluster_id(self._config.kafka)
            except Exception as error:
                log.warning("broker_away", error=str(error))
                continue
            watchdog.broker_seen()
            if broker != self._broker:
                log.warning("broker_changed", was=self._broker, now=broker)
                self._end(EXIT_BROKER_CHANGED)
