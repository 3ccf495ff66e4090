"""A worker that is stuck ends, is replaced, and everything is there once; one that waits for a store does neither.

Real servers, a real worker process (``stuck_worker.py``) under the supervisor that ``headwater up`` uses.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client
from conftest import PARTITIONS, ServerThread
from structlog.testing import capture_logs

from attribution.hit import Hit, encode_envelope
from bench.chaos import stuck_worker
from bench.chaos.proxy import Link, Weather
from runtime.embedded.servers import BROKER
from runtime.supervisor import Process, Supervisor
from sinks.checks import run_checks
from sinks.client import connect
from sinks.migrate import migrate
from streams.exit_codes import EXIT_FAILED, EXIT_STUCK
from streams.topics import HITS, partition_of

T0 = 1_760_000_000_000
PROGRAM = Path(stuck_worker.__file__)
EMBEDDED = pytest.mark.parametrize("broker_kind", ["embedded"], indirect=True)


class Work:
    """One supervised worker and what it is to do."""

    def __init__(self, supervisor: Supervisor, client: Client, database: str, kafka: str, log: Path) -> None:
        self.supervisor, self.client, self.database, self.kafka, self.log = (
            supervisor,
            client,
            database,
            kafka,
            log,
        )
        self.sent = 0

    async def send(self, visitors: int) -> None:
        """A page view and a purchase of so many new visitors."""
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        await producer.start()
        try:
            for number in range(self.sent, self.sent + visitors):
                visitor = f"v{number}"
                seen = Hit(
                    event_id="see", site="s", visitor_id=visitor, occurred_at=T0, received_at=T0,
                    url="https://shop.example/?utm_source=linkedin&utm_medium=paid-social",
                )  # fmt: skip
                bought = Hit(
                    event_id="buy", site="s", visitor_id=visitor, occurred_at=T0 + 1, received_at=T0 + 1,
                    event="purchase", value="10.01", currency="USD", order_id=f"o{number}",
                )  # fmt: skip
                partition = partition_of(visitor, PARTITIONS)
                value = encode_envelope([seen, bought])
                await producer.send_and_wait(HITS, value=value, key=visitor.encode(), partition=partition)
        finally:
            await producer.stop()
        self.sent += visitors

    def count(self, table: str) -> int:
        return int(self.client.query(f"SELECT count() FROM {self.database}.{table}").result_rows[0][0])

    async def finished(self, seconds: float = 60.0) -> None:
        """Wait until every conversion is credited; then everything must be there once."""
        await until(lambda: self.count("conversions") >= self.sent, "all conversions", seconds)
        await until(lambda: self.count("hits") >= 2 * self.sent, "all hits", seconds)
        assert self.count("hits") == 2 * self.sent
        assert self.count("conversions") == self.sent
        # The tables of a batch are inserted side by side: entries may come a moment after their conversions.
        await until(lambda: not self.failing_checks(), "sound books", seconds)

    def failing_checks(self) -> list[str]:
        return [check.name for check in run_checks(self.client, self.database) if not check.passed]

    def said(self, event: str) -> list[dict[str, str]]:
        """What the workers' log says under that name."""
        lines = [line for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]
        return [found for line in lines if (found := msgspec.json.decode(line)).get("event") == event]


async def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not reached within {seconds} s: {what}"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def working(
    tmp_path: Path, kafka: str, redis: str, clickhouse: str, client: Client, database: str, **env: str
) -> AsyncIterator[Work]:
    """A supervised worker on these servers. ``client`` need not go the way of ``clickhouse``."""
    migrate(client, database)
    supervisor = Supervisor(tmp_path / "logs")
    process = Process(
        "worker",
        lambda: [sys.executable, str(PROGRAM), "work"],
        ready=_at_once,
        env={
            "HEADWATER_KAFKA": kafka,
            "HEADWATER_KAFKA_IDEMPOTENT": "false",
            "HEADWATER_REDIS": redis,
            "HEADWATER_CLICKHOUSE": clickhouse,
            "HEADWATER_DATABASE": database,
            "HEADWATER_AUDIT_SECONDS": "0",
            "STUCK_ONCE": str(tmp_path / "once"),
            **env,
        },
    )
    try:
        await supervisor.start(process)
        yield Work(supervisor, client, database, kafka, tmp_path / "logs" / "worker.log")
    finally:
        await supervisor.stop()


async def _at_once() -> bool:
    return True


@pytest.mark.parametrize(
    ("how", "code", "who", "waits_for"),
    [
        ("stage", EXIT_STUCK, HITS, "batch "),
        ("loop", EXIT_STUCK, "event loop", "main thread"),
        ("interpreter", 1, "", ""),
        ("take-over", EXIT_STUCK, "headwater.", "take-over"),
        ("pump", EXIT_FAILED, "", ""),
        ("call", EXIT_STUCK, HITS, ": clickhouse "),
        ("join", EXIT_STUCK, "consumer group", "to be a member"),
        ("fetcher", EXIT_STUCK, HITS, "which the log has and the consumer does not deliver"),
    ],
)
@EMBEDDED
async def test_a_stuck_worker_ends_is_replaced_and_everything_is_there_once(
    how: str, code: int, who: str, waits_for: str, tmp_path: Path, fresh_broker: str, empty_valkey: str, engine: str,
    fresh_database: str,
) -> None:  # fmt: skip
    """Whatever it is stuck in, the process ends by itself and says why, with the stacks."""
    client = connect(engine, fresh_database)
    with capture_logs() as logs:
        servers = (tmp_path, fresh_broker, empty_valkey, engine, client, fresh_database)
        async with working(*servers, STUCK_HOW=how, STUCK_AFTER="5", STUCK_CALL="6") as work:
            await work.send(20)
            await until(lambda: work.supervisor.restarts("worker") == 1, "the first worker has ended", 45)
            await work.finished()
            assert work.supervisor.restarts("worker") == 1
    assert [entry["exit_code"] for entry in logs if entry["event"] == "process died"] == [code]
    found = work.said("worker_stuck")
    assert len(found) == (1 if code == EXIT_STUCK else 0)
    if found:
        assert found[0]["who"].startswith(who)
        assert waits_for in found[0]["waits_for"]
        assert b"_never" in work.log.read_bytes() or how in ("loop", "fetcher", "call")
    if code != EXIT_FAILED:
        assert b"most recent call first" in work.log.read_bytes()


async def test_a_consumer_that_delivers_nothing_is_noticed_on_every_broker(
    tmp_path: Path, fresh_broker: str, empty_valkey: str, engine: str, fresh_database: str
) -> None:
    """The log is asked past the consumer; what it says must be understood on Apache Kafka, too."""
    client = connect(engine, fresh_database)
    servers = (tmp_path, fresh_broker, empty_valkey, engine, client, fresh_database)
    async with working(*servers, STUCK_HOW="fetcher", STUCK_AFTER="8") as work:
        await work.send(5)
        await until(lambda: work.supervisor.restarts("worker") == 1, "the first worker has ended", 60)
        await work.finished()
    assert [found["who"].rpartition(" ")[0] for found in work.said("worker_stuck")] == [HITS]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


AWAY_SECONDS = 12.0
LIMIT_SECONDS = 4.0


async def test_a_worker_outlives_every_store_that_is_away_for_longer_than_the_limit(
    tmp_path: Path, empty_valkey: str, engine: str, fresh_database: str
) -> None:
    """Ending it would help nobody: Valkey and ClickHouse refuse, or take and never answer; the broker is frozen."""
    client = connect(engine, fresh_database)
    redis, clickhouse = urlsplit(empty_valkey), urlsplit(engine)
    assert redis.port is not None
    assert clickhouse.port is not None
    ways = {"redis": (free_port(), redis.port), "clickhouse": (free_port(), clickhouse.port)}
    behind = (
        empty_valkey.replace(f":{redis.port}", f":{ways['redis'][0]}"),
        engine.replace(f":{clickhouse.port}", f":{ways['clickhouse'][0]}"),
    )
    with ServerThread(tmp_path / "broker", BROKER) as servers:
        links = {name: Link(name, *way) for name, way in ways.items()}
        for link in links.values():
            await link.__aenter__()
        async with working(
            tmp_path, servers.kafka, *behind, client, fresh_database, STUCK_AFTER=str(LIMIT_SECONDS)
        ) as work:
            pid = work.supervisor.pids["worker"]
            await work.send(10)
            await work.finished()
            for name, way in ways.items():
                await links[name].__aexit__()
                await work.send(10)
                await asyncio.sleep(AWAY_SECONDS)
                assert work.count("conversions") < work.sent
                links[name] = Link(name, *way)
                await links[name].__aenter__()
                await work.finished()
                async with links[name].weather(Weather.hole):
                    await work.send(10)
                    await asyncio.sleep(AWAY_SECONDS)
                    assert work.count("conversions") < work.sent
                await work.finished(90)
            os.kill(servers.pids[BROKER], signal.SIGSTOP)
            try:
                await asyncio.sleep(AWAY_SECONDS)
            finally:
                os.kill(servers.pids[BROKER], signal.SIGCONT)
            await work.send(10)
            await work.finished()
            assert work.supervisor.pids["worker"] == pid
            assert work.supervisor.restarts("worker") == 0
        for link in links.values():
            await link.__aexit__()
    assert work.said("waiting")
    assert not work.said("worker_stuck")
