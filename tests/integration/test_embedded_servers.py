"""The embedded servers under kill -9: what comes back, where, and with what in it."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from threading import Thread

import aiokafka
import clickhouse_connect
import pytest
import redis.asyncio
from clickhouse_connect.driver.exceptions import Error
from redis.exceptions import RedisError

from attribution.errors import Misconfigured, Transient
from runtime.embedded import broker as broker_module
from runtime.embedded.engine import purge_dropped
from runtime.embedded.engine_server import PASSWORD_VARIABLE
from runtime.embedded.servers import BROKER, ENGINE, VALKEY, EmbeddedServers
from runtime.place import Place
from runtime.supervisor import Supervisor
from streams import kafka_admin, topics

EXACTLY_ONCE = {"async_insert": 0, "deduplicate_blocks_in_dependent_materialized_views": 1}


async def eventually(check: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    """Wait until ``check`` is true."""
    deadline = time.monotonic() + within
    while not await check():
        assert time.monotonic() < deadline, f"not within {within} s"
        await asyncio.sleep(0.02)


async def kill_and_await_return(servers: EmbeddedServers, name: str) -> None:
    """SIGKILL for a server; returns when the supervisor has another one running."""
    old = servers.pids[name]
    os.kill(old, signal.SIGKILL)

    async def is_back() -> bool:
        return servers.pids.get(name) not in (None, old)

    await eventually(is_back)


def impatient(place: Place) -> Supervisor:
    """A supervisor that starts a server again at once, however often it is killed."""
    return Supervisor(place.logs, max_backoff_s=0.05)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Place(tmp_path) as place:
        yield place


# --- broker


async def test_the_broker_returns_on_its_port_as_another_cluster_with_empty_topics(place: Place) -> None:
    async with EmbeddedServers(place, names=[BROKER], partitions=3) as servers:
        first = await kafka_admin.cluster_id(servers.kafka)
        assert first.startswith(topics.VOLATILE_CLUSTER_PREFIX)
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=servers.kafka) as producer:
            await producer.send_and_wait(topics.HITS, b"gone soon", partition=2)

        await kill_and_await_return(servers, BROKER)

        async def is_another() -> bool:
            try:
                return await kafka_admin.cluster_id(servers.kafka) != first
            except Transient:
                return False

        await eventually(is_another)
        await kafka_admin.ensure_topics(servers.kafka, 3)
        async with aiokafka.AIOKafkaConsumer(bootstrap_servers=servers.kafka) as consumer:
            places = [aiokafka.TopicPartition(topics.HITS, p) for p in range(3)]
            assert set((await consumer.end_offsets(places)).values()) == {0}


async def test_topics_are_made_once_and_never_change_their_partitions(broker: str) -> None:
    await kafka_admin.ensure_topics(broker, 4)
    with pytest.raises(Misconfigured, match="HEADWATER_PARTITIONS=4"):
        await kafka_admin.ensure_topics(broker, 5)


async def test_more_topics_than_the_contract_may_be_asked_for(broker: str, fresh_topic: str) -> None:
    await kafka_admin.ensure_topics(broker, 7, names=[fresh_topic])
    async with aiokafka.AIOKafkaConsumer(fresh_topic, bootstrap_servers=broker) as consumer:
        assert consumer.partitions_for_topic(fresh_topic) == set(range(7))


async def test_no_broker_is_transient() -> None:
    with pytest.raises(Transient):
        await kafka_admin.cluster_id("127.0.0.1:9")


async def test_a_client_that_made_a_topic_first_does_not_spoil_the_start(place: Place) -> None:
    """Tansu makes any topic that is asked for, with 4 partitions; a start that finds such a topic is no
    start.
    """
    async with EmbeddedServers(place, names=[BROKER], partitions=6) as servers:
        port = int(servers.kafka.rpartition(":")[2])
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=servers.kafka) as producer:
            await producer.partitions_for("early.bird")
            with pytest.raises(Misconfigured):
                await kafka_admin.ensure_topics(servers.kafka, 6, names=["early.bird"])
        assert await broker_module.broker_is_ready(port, 6)


def test_the_broker_is_found_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    assert os.access(broker_module.broker_binary(tmp_path), os.X_OK)
    assert not list(tmp_path.iterdir())


# --- state


async def test_valkey_keeps_what_it_acknowledged(place: Place) -> None:
    """Ten kills while scripts write two keys at once: nothing acknowledged is lost, and the keys agree."""
    script = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1]) return 1"
    rng = random.Random(7)
    async with EmbeddedServers(place, names=[VALKEY], supervisor=impatient(place)) as servers:
        client = redis.asyncio.Redis.from_url(servers.redis, socket_connect_timeout=1)
        acknowledged = 0
        numbers = itertools.count(1)
        for _ in range(10):
            until = asyncio.get_running_loop().time() + rng.uniform(0.02, 0.12)
            while asyncio.get_running_loop().time() < until:
                number = next(numbers)
                await client.eval(script, 2, "{x}a", "{x}b", str(number))
                acknowledged = number
            await kill_and_await_return(servers, VALKEY)
            await eventually(lambda: _answers(client))
            stored = [int(value) for value in await client.mget("{x}a", "{x}b")]
            assert stored[0] == stored[1] >= acknowledged
        assert acknowledged > 20
        await client.aclose()


async def _answers(client: redis.asyncio.Redis) -> bool:
    try:
        return bool(await client.ping())
    except RedisError:
        return False


async def test_valkey_is_set_up_to_lose_and_evict_nothing(valkey: str) -> None:
    async with redis.asyncio.Redis.from_url(valkey, decode_responses=True) as client:
        for name, value in {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "aof-load-truncated": "yes",
            "save": "",
            "bind": "127.0.0.1",
        }.items():
            assert await client.config_get(name) == {name: value}


async def test_valkey_asks_for_the_password(valkey: str) -> None:
    async with redis.asyncio.Redis.from_url(f"redis://{valkey.rpartition('@')[2]}") as client:
        with pytest.raises(RedisError):
            await client.ping()


async def test_a_cut_off_append_only_file_is_loaded_to_the_cut(place: Place) -> None:
    async with (
        EmbeddedServers(place, names=[VALKEY]) as servers,
        redis.asyncio.Redis.from_url(servers.redis) as client,
    ):
        for number in range(100):
            await client.set(f"k{number}", "v" * 50)
    tail = max((place.data_dir / "valkey").rglob("*.aof"), key=lambda path: path.stat().st_size)
    os.truncate(tail, tail.stat().st_size - 30)
    async with (
        EmbeddedServers(place, names=[VALKEY]) as servers,
        redis.asyncio.Redis.from_url(servers.redis) as client,
    ):
        assert await client.dbsize() == 99


# --- engine


async def test_the_engine_loses_nothing_and_counts_nothing_twice(place: Place) -> None:
    """Ten kills during inserts with tokens, the uncertain batch sent again: exact rows, exact roll-up."""
    rng = random.Random(11)
    async with EmbeddedServers(place, names=[ENGINE], supervisor=impatient(place)) as servers:
        with _Inserter(servers.clickhouse) as inserter:
            for _ in range(10):
                before = inserter.acknowledged
                await eventually(lambda before=before: _at_least(inserter, before + 2))
                await asyncio.sleep(rng.uniform(0.0, 0.05))
                await kill_and_await_return(servers, ENGINE)
        assert inserter.failure is None
        batches = inserter.acknowledged
        assert batches >= 20
        client = clickhouse_connect.get_client(dsn=servers.clickhouse, database="d")
        stored = client.query("SELECT count(), uniqExact(a), (SELECT sum(n) FROM g) FROM t").result_rows
        client.close()
        assert stored == [(batches * 100, batches * 100, batches * 100)]


async def _at_least(inserter: _Inserter, batches: int) -> bool:
    return inserter.acknowledged >= batches or inserter.failure is not None


class _Inserter:
    """A thread that inserts batch after batch, each with its token until it is acknowledged."""

    def __init__(self, url: str) -> None:
        self.acknowledged = 0
        self.failure: BaseException | None = None
        self._url = url
        self._is_stopping = False
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Inserter:
        window = "SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1"
        client = clickhouse_connect.get_client(dsn=self._url)
        client.command("CREATE DATABASE d")
        client.command(f"CREATE TABLE d.t (a UInt64, s String) ENGINE = MergeTree ORDER BY a {window}")
        client.command(
            f"CREATE TABLE d.g (s String, n Int64) ENGINE = SummingMergeTree(n) ORDER BY s {window}"
        )
        client.command(
            "CREATE MATERIALIZED VIEW d.mv TO d.g AS SELECT s, toInt64(count()) AS n FROM d.t GROUP BY s"
        )
        client.close()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self._insert(self.acknowledged)
                self.acknowledged += 1
        except BaseException as error:
            self.failure = error

    def _insert(self, batch: int) -> None:
        data = b"".join(b'[%d,"s%d"]\n' % (batch * 100 + i, i % 3) for i in range(100))
        options = {**EXACTLY_ONCE, "insert_deduplication_token": f"batch-{batch}"}
        deadline = time.monotonic() + 30
        while True:
            try:
                client = clickhouse_connect.get_client(dsn=self._url, autogenerate_session_id=False)
                client.raw_insert("d.t", ["a", "s"], data, fmt="JSONCompactEachRow", settings=options)
                client.close()
                return
            except Error:
                if time.monotonic() > deadline:
                    raise


async def test_a_second_process_on_the_same_folder_is_refused(place: Place) -> None:
    async with EmbeddedServers(place, names=[ENGINE]) as servers:
        owner = servers.pids[ENGINE]
        second = servers.processes()[0]
        child = await asyncio.create_subprocess_exec(
            *second.command(), env={**os.environ, PASSWORD_VARIABLE: "x"}, stderr=asyncio.subprocess.PIPE
        )
        _, said = await child.communicate()
    assert child.returncode == 2
    assert f"(pid {owner})" in said.decode()
    assert "--data-dir" in said.decode()


async def test_a_terminated_engine_finishes_what_is_running(place: Place) -> None:
    async with EmbeddedServers(place, names=[ENGINE]) as servers:
        client = clickhouse_connect.get_client(dsn=servers.clickhouse)
        client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        slow = asyncio.create_task(
            asyncio.to_thread(client.command, "INSERT INTO t SELECT sleep(1) + number FROM numbers(5)")
        )
        await asyncio.sleep(0.3)
        await servers.supervisor.stop()
        await slow
        client.close()
    async with EmbeddedServers(place, names=[ENGINE]) as servers:
        client = clickhouse_connect.get_client(dsn=servers.clickhouse)
        assert client.command("SELECT count() FROM t") == 5
        client.close()


def test_files_of_dropped_tables_are_deleted_before_the_engine_opens(tmp_path: Path) -> None:
    """The folder is shaped as the engine leaves it; what was not dropped stays."""
    dropped, kept = "7e726d34-7837-4f33-9f73-61f8a0c44b4e", "a394a0d5-6a8e-4bdb-806c-9c3914a9af4a"
    for uuid in (dropped, kept):
        (tmp_path / "store" / uuid[:3] / uuid / "all_1_1_0").mkdir(parents=True)
    (tmp_path / "metadata_dropped").mkdir()
    (tmp_path / "metadata_dropped" / f"d.t.x.{dropped}.sql").touch()
    (tmp_path / "metadata_dropped" / "..%2F..%2Fetc.sql").touch()
    for _ in range(2):
        purge_dropped(tmp_path)
    assert [p.name for p in (tmp_path / "store").glob("*/*")] == [kept]


def test_the_engine_alone_needs_no_data_frame_libraries(tmp_path: Path) -> None:
    """In a process of its own, where importing pandas, pyarrow or numpy fails."""
    code = f"""
import sys
from pathlib import Path
for name in ("pandas", "pyarrow", "numpy"):
    sys.modules[name] = None
from runtime.embedded.engine import Engine
from runtime.embedded.engine_sql import split_request
engine = Engine(Path({str(tmp_path)!r}))
for sql in (b"CREATE TABLE t (a String) ENGINE = Memory", b"INSERT INTO t VALUES ('x')", b"SELECT * FROM t"):
    answer = engine.run(split_request(b"", sql), "ArrowStream")
assert answer.rows == 1
engine.close()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
