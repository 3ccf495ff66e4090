"""``headwater restate`` on real servers: while hits arrive, with the command and the worker killed in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from redis import Redis

from attribution.hit import Hit, encode_envelope
from attribution.oracle import oracle
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy
from runtime.embedded.probes import free_port
from sinks.checks import run_checks
from sinks.client import connect
from sinks.migrate import migrate
from streams.restatement import Restatement
from streams.topics import HITS, RESTATEMENTS_KEY, conversion_key, partition_of

PARTITIONS = 4
T0 = 1_760_000_000_000
WAYS = (
    "https://shop.example/b?utm_source=newsletter&utm_medium=email&utm_campaign=may",
    "https://shop.example/c?gclid=abc",
    "https://shop.example/d?utm_source=linkedin&utm_medium=paid-social&utm_campaign=x",
)
OLD = {"HEADWATER_SESSION_GAP_MINUTES": "30", "HEADWATER_CONVERSION_LOOKBACKS": "purchase=90"}
NEW = {"HEADWATER_SESSION_GAP_MINUTES": "60", "HEADWATER_CONVERSION_LOOKBACKS": "purchase=3"}


def journey(number: int) -> list[Hit]:
    """Three visits, of which two are 45 minutes apart, and an order; the first visit is older than three days."""
    visitor, at = f"v{number}", T0 + number * 1_000
    moments = (0, 4 * DAY_MS, 4 * DAY_MS + 45 * MINUTE_MS)
    hits = [
        Hit(
            event_id=f"{visitor}-{n}",
            site="s",
            visitor_id=visitor,
            occurred_at=at + moment,
            received_at=at + moment,
            url=WAYS[(number + n) % 3] if n < 2 else "https://shop.example/a",
        )
        for n, moment in enumerate(moments)
    ]
    bought = at + 5 * DAY_MS
    order = Hit(
        event_id=f"{visitor}-buy",
        site="s",
        visitor_id=visitor,
        occurred_at=bought,
        received_at=bought,
        event="purchase",
        value=f"{number % 90}.{number % 100:02d}",
        currency="USD",
        order_id=f"o{number}",
    )
    return [*hits, order]


class House:
    """The servers of one test, and the processes that work on them."""

    def __init__(
        self, kafka: str, idempotent: bool, redis: str, clickhouse: str, database: str, folder: Path
    ) -> None:
        self.client = connect(clickhouse, database)
        migrate(self.client, database)
        self.database = database
        self.kafka = kafka
        self.redis: Redis = Redis.from_url(redis)
        self.folder = folder
        self.env = {
            "HEADWATER_DATA_DIR": str(folder / "data"),
            "HEADWATER_KAFKA": kafka,
            "HEADWATER_KAFKA_IDEMPOTENT": str(idempotent).lower(),
            "HEADWATER_REDIS": redis,
            "HEADWATER_CLICKHOUSE": clickhouse,
            "HEADWATER_DATABASE": database,
            "HEADWATER_PARTITIONS": str(PARTITIONS),
            "HEADWATER_AUDIT_SECONDS": "0",
        }

    def start(self, *words: str, rules: dict[str, str]) -> subprocess.Popen[str]:
        env = {**os.environ, **self.env, **rules, "HEADWATER_WORKER_METRICS_PORT": str(free_port(set()))}
        with open(self.folder / f"{words[0]}.log", "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "runtime.cli", *words],
                env=env,
                cwd=Path(__file__).parents[2],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    @contextmanager
    def worker(self, rules: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
        process = self.start("work", rules=rules)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def restate(self, *words: str) -> str:
        """Run the command to its end; what it printed."""
        process = self.start("restate", *words, rules=NEW)
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, (self.folder / "restate.log").read_text()[-3_000:] + said
        return said

    def job(self) -> Restatement | None:
        """The newest."""
        packed: Any = self.redis.hvals(RESTATEMENTS_KEY)
        jobs = [msgspec.json.decode(value, type=Restatement) for value in packed]
        return max(jobs, key=lambda job: job.recorded_at, default=None)

    def ask(self, sql: str) -> list[Any]:
        return list(self.client.query(sql.replace("FROM ", f"FROM {self.database}.")).result_rows)

    def count(self, table: str) -> int:
        return int(self.ask(f"SELECT count() FROM {table}")[0][0])

    def standing(self) -> int:
        return len(self.ask("SELECT conversion_id FROM credits GROUP BY conversion_id"))

    async def send(self, numbers: range) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka, acks="all")
        await producer.start()
        try:
            for number in numbers:
                hits = journey(number)
                key = hits[0].visitor_id
                partition = partition_of(key, PARTITIONS)
                await producer.send_and_wait(
                    HITS, encode_envelope(hits), key=key.encode(), partition=partition
                )
        finally:
            await producer.stop()

    def assert_equals(self, numbers: range, policy: AttributionPolicy) -> None:
        """Sessions and credit are what one pass over all hits says, and no check finds anything."""
        world = oracle([hit for number in numbers for hit in journey(number)], policy, "USD")
        assert self.count("hits") == len(world.hits)
        sessions = self.ask(
            "SELECT session_id, hits FROM sessions GROUP BY session_id, hits HAVING sum(sign) = 1"
        )
        assert dict(sessions) == {session.session_id: session.hits for session in world.sessions}
        net = self.ask(
            "SELECT conversion_id, model, touchpoint_id, sum(weight), sum(amount) FROM credits"
            " GROUP BY conversion_id, model, touchpoint_id"
        )
        found = {
            (conversion, model, touch): (int(weight * 10**9), int(amount * 100))
            for conversion, model, touch, weight, amount in net
            if weight or amount
        }
        assert found == {key: value for key, value in world.credits.items() if any(value)}
        assert [check.name for check in run_checks(self.client, self.database) if not check.passed] == []


async def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"not reached within {seconds} s: {what}"
        await asyncio.sleep(0.02)


@pytest.fixture
def house(
    fresh_broker: str,
    takes_idempotent: bool,
    empty_valkey: str,
    engine: str,
    fresh_database: str,
    tmp_path: Path,
) -> House:
    return House(fresh_broker, takes_idempotent, empty_valkey, engine, fresh_database, tmp_path)


def new_policy() -> AttributionPolicy:
    return AttributionPolicy(session_gap_ms=60 * MINUTE_MS, conversion_lookbacks_ms={"purchase": 3 * DAY_MS})


@pytest.mark.slow
async def test_a_restatement_outlives_its_command_and_the_worker(house: House) -> None:
    """The command dies before and after the first answer, the worker in the middle, orders arrive all the while."""
    with house.worker(OLD):
        await house.send(range(600))
        await until(lambda: house.standing() == 600, "all credited under the old policy")
    with house.worker(NEW) as worker:
        await house.send(range(600, 610))
        await until(lambda: house.standing() == 610, "the new worker works")
        worker.send_signal(signal.SIGSTOP)
        first = house.start("restate", rules=NEW)
        await until(lambda: house.job() is not None, "the job is written down")
        first.kill()
        first.wait()
        job = house.job()
        assert job is not None
        assert (job.phase, job.resends_hits) == ("hits", True)
        worker.send_signal(signal.SIGCONT)
        second = house.start("restate", rules=NEW)
        await house.send(range(610, 640))
        await until(lambda: (house.job() or job).phase != "hits", "all hits are judged once more")
        second.kill()
        second.wait()
        worker.kill()
        worker.wait()
    with house.worker(NEW):
        sending = asyncio.create_task(house.send(range(640, 660)))
        said = await asyncio.to_thread(house.restate)
        await sending
        await until(lambda: house.standing() == 660, "late orders are credited")
        ended = house.job()
        assert ended is not None
        assert ended.phase == "done"
        assert "Books: balanced." in said
        house.assert_equals(range(660), new_policy())
        (earliest,) = house.ask(
            "SELECT toUnixTimestamp64Milli(min(recorded_at)) FROM credits WHERE cause = 'policy'"
        )[0]
        assert earliest == job.recorded_at
        causes = dict(house.ask("SELECT cause, count() FROM credits GROUP BY cause"))
        assert set(causes) == {"conversion", "policy"}


@pytest.mark.slow
async def test_a_preview_says_what_the_restatement_then_does(house: House) -> None:
    """Windows change, sessions do not; the second time there is nothing to do."""
    rules = {**OLD, "HEADWATER_CONVERSION_LOOKBACKS": NEW["HEADWATER_CONVERSION_LOOKBACKS"]}
    with house.worker(OLD):
        await house.send(range(50))
        await until(lambda: house.standing() == 50, "all credited")
    with house.worker(rules):
        before = house.count("credits")
        process = house.start("restate", "--dry-run", rules=rules)
        said, _ = process.communicate(timeout=60)
        assert "50 of 50 conversions (everything) would be credited otherwise" in said
        assert house.count("credits") == before
        process = house.start("restate", "--from", "2025-10-14", "--to", "2025-10-14", rules=rules)
        said, _ = process.communicate(timeout=60)
        assert "50 conversions looked at (2025-10-14 to 2025-10-14), 50 credited otherwise" in said
        moved = house.ask("SELECT channel, sum(amount) FROM credits WHERE cause = 'policy' GROUP BY channel")
        assert sum(amount for _, amount in moved) == Decimal(0)
        written = house.count("credits")
        assert f"{written - before:,} entries with cause policy" in said
        silent = house.folder / "policy.toml"
        silent.write_text("")  # says nothing else than the settings
        process = house.start("restate", "--policy", str(silent), rules=rules)
        said, _ = process.communicate(timeout=60)
        assert "50 conversions looked at (everything), 0 credited otherwise, 0 entries" in said
        assert house.count("credits") == written
        world = AttributionPolicy(conversion_lookbacks_ms={"purchase": 3 * DAY_MS})
        house.assert_equals(range(50), world)
        ((lost,),) = house.ask("SELECT any(conversion_id) FROM conversions")
        house.redis.delete(conversion_key(partition_of(lost, PARTITIONS), lost))
        process = house.start("restate", "--hits", "yes", rules=rules)
        process.communicate(timeout=60)
        assert process.returncode == 2
        said = (house.folder / "restate.log").read_text()
        assert "1 conversions stand in ClickHouse and are not in Redis" in said
        house.assert_equals(range(50), world)
