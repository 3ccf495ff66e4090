"""One worker process: the Faust app, a pump and a stage per owned partition, and the watch over them.

It dies rather than guesses: an unexpected error, a lost ownership or a broker with another cluster id ends the
process without moving a fence, and whoever starts it again (``headwater up``, systemd, Kubernetes) lets it take
over from the fence.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from faust.types import TP
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from attribution.policy import AttributionPolicy
from sinks.writer import RowWriter
from streams import metrics
from streams.app import FencedApp, check_hooks, create_app
from streams.audit import AuditConfig, start_audit
from streams.credit import CreditStage
from streams.fence import FenceStore
from streams.health import serve_health
from streams.kafka_admin import cluster_id
from streams.ownership import Ownership
from streams.patience import patiently
from streams.producer import Producer
from streams.pump import Pump, Stage
from streams.records import Record
from streams.stitch import StitchStage
from streams.stitch_batch import StitchRules
from streams.topics import CONVERSIONS, CREDITS, DEAD_LETTERS, HITS, VOLATILE_CLUSTER_PREFIX, partition_of

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.5
"""How long a running batch may go on when its partition is taken away. It must be shorter than the rebalance timeout
of ``create_app``, or the group goes on without this worker and has to meet once more."""
STOP_SECONDS = 20.0
EXIT_FAILED = 70
EXIT_BROKER_CHANGED = 75


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
    group: str = "headwater-worker"
    audit: AuditConfig | None = None
    """None = this worker takes no part in the self-audit."""


class Worker:
    """The running worker."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._redis = Redis.from_url(
            config.redis, retry=Retry(NoBackoff(), 0), socket_timeout=30, max_connections=200
        )
        self._fences = FenceStore(self._redis)
        self._writer = config.writer_factory()
        self._producer: Producer
        """Made by ``run``, as ``app``, once the broker is known."""
        self._broker = ""
        self._pumps: dict[TP, Pump] = {}
        self._ending: asyncio.Future[int] | None = None
        self._seeking = asyncio.Lock()
        self._is_ready = False
        """Assigned (maybe nothing: a stand-by) and every fence read."""
        self.app: FencedApp
        """Made by ``run``, once the broker is known."""

    async def run(self) -> int:
        """Work until ``stop`` or a reason to die; the exit code."""
        check_hooks()
        self._ending = asyncio.get_running_loop().create_future()
        self._broker = await cluster_id(self._config.kafka)
        self.app = self._create_app()
        self._producer = Producer(
            self._config.kafka,
            self._config.partitions,
            idempotent=self._config.kafka_idempotent,
            names=(CONVERSIONS, CREDITS, DEAD_LETTERS),
            broker=self._broker,
        )
        health = None
        if self._config.metrics_port:
            health = await serve_health("127.0.0.1", self._config.metrics_port, lambda: self._is_ready)
        watch = asyncio.create_task(self._watch())
        audit = start_audit(self._config.audit, self._redis, self._config.partitions)
        starting = asyncio.create_task(self._start_app())
        # Joining takes seconds, and for ever if the broker dies meanwhile: what `_watch` sees then must not wait.
        code = await self._ending
        watch.cancel()
        if audit is not None:
            audit.cancel()
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
        return len(self._pumps)

    def _create_app(self) -> FencedApp:
        group = self._config.group
        if self._broker.startswith(VOLATILE_CLUSTER_PREFIX):
            # A group for each life of the broker: workers of its last life, which find it before they find out that
            # it is another one, die in a group of their own, and nobody waits for their sessions to time out.
            group = f"{group}.{self._broker}"
        app = create_app(self._config.kafka, group, (HITS, CONVERSIONS), self._seek_to_fence, self._deliver)
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_before_shutdown.connect(self._on_shutdown)
        return app

    async def _start_app(self) -> None:
        """Join the group. The worker ends if that fails."""
        log.info("worker_joins", broker=self._broker)
        try:
            await patiently(self._producer.open, "producer")
            await self.app.start()
        except Exception as error:
            log.error("app_not_started", error=repr(error), exc_info=error)
            self._end(EXIT_FAILED)
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

    async def _seek_to_fence(self, assignment: set[TP]) -> dict[TP, int]:
        """Own the assigned partitions and say where each starts. What is owned already goes on as it was.

        One call at a time: Faust seeks after a rebalance and again when it fetches while the flow is off, and
        two take-overs of one partition would fence each other.
        """
        async with self._seeking:
            return await self._own(assignment)

    async def _own(self, assignment: set[TP]) -> dict[TP, int]:
        for tp in [tp for tp in self._pumps if tp not in assignment]:
            await self._pumps.pop(tp).close(FLUSH_SECONDS)
        positions: dict[TP, int] = {}
        for tp in assignment:
            if tp not in self._pumps:
                self._pumps[tp] = await self._take_over(tp)
            positions[tp] = self._pumps[tp].next_offset
        metrics.PARTITIONS.set(len(self._pumps))
        self._is_ready = True
        return positions

    async def _take_over(self, tp: TP) -> Pump:
        config = self._config
        fence = await self._fences.acquire(tp.topic, tp.partition)
        own = Ownership(self._broker, fence, self._writer, self._send)
        stage: Stage
        if tp.topic == HITS:
            rules = StitchRules(config.policy, config.default_currency, config.partitions)
            stage = StitchStage(own, rules)
        else:
            stage = CreditStage(own, config.policy, config.partitions)
        start, must_end_at = fence.found.start_on(self._broker)
        pump = Pump(
            tp.topic,
            tp.partition,
            self._broker,
            stage,
            next_offset=start,
            must_end_at=must_end_at,
            max_events=config.batch_max_hits if tp.topic == HITS else 1_000,
            wait_seconds=config.batch_wait_ms / 1000 if tp.topic == HITS else 0.02,
        )
        log.info(
            "took_over",
            topic=tp.topic,
            partition=tp.partition,
            epoch=fence.found.epoch,
            offset=start,
            must_end_at=must_end_at,
        )
        pump.start().add_done_callback(self._pump_done)
        return pump

    def _pump_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            log.error("stage_failed", task=task.get_name(), error=repr(error), exc_info=error)
            self._end(EXIT_FAILED)

    async def _deliver(self, topic: str, partition: int, record: Record) -> None:
        pump = self._pumps.get(TP(topic, partition))
        if pump is not None:
            await pump.put(record)

    async def _on_revoked(self, _app: FencedApp, _revoked: set[TP], **_: object) -> None:
        await self._close_pumps()

    async def _on_shutdown(self, _app: FencedApp, **_: object) -> None:
        await self._close_pumps()

    async def _close_pumps(self) -> None:
        async with self._seeking:
            self._is_ready = False
            pumps, self._pumps = list(self._pumps.values()), {}
            await asyncio.gather(*(pump.close(FLUSH_SECONDS) for pump in pumps))
            metrics.PARTITIONS.set(0)

    async def _watch(self) -> None:
        """Notice a new broker, a partition without progress, a crashed app."""
        while True:
            await asyncio.sleep(1.0)
            stuck = max((pump.is_stuck_since for pump in self._pumps.values()), default=0.0)
            metrics.STUCK.set(stuck)
            metrics.LAG.set(max((pump.lag_seconds for pump in self._pumps.values()), default=0.0))
            if self.app.crashed:
                log.error("app_crashed", reason=repr(self.app.crash_reason))
                self._end(EXIT_FAILED)
            try:
                broker = await cluster_id(self._config.kafka)
            except Exception as error:
                log.warning("broker_away", error=str(error))
                continue
            if broker != self._broker:
                log.warning("broker_changed", was=self._broker, now=broker)
                self._end(EXIT_BROKER_CHANGED)
