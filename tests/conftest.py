"""Real servers for the tests: started when first asked for, stopped at the end.

Fixtures: ``valkey``, ``engine`` (URLs) and ``broker`` (host:port) are shared by the session;
``empty_valkey`` is a database of its own and empty; ``fresh_broker`` is a broker of its own (it starts in
50 ms), because the names of the topics are fixed; ``fresh_database`` and ``fresh_topic`` are names that
nobody else has; ``migrated`` is a database of the module's own with our tables, ``clean`` the same with empty ones.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest
import redis
from clickhouse_connect.driver.client import Client

from runtime.embedded.servers import BROKER, ENGINE, VALKEY, EmbeddedServers
from runtime.place import Place
from sinks.client import connect
from sinks.migrate import migrate
from sinks.tables import TABLES

_VALKEY_DATABASES = itertools.cycle(range(1, 16))


class ServerThread:
    """Embedded servers on an event loop of their own, for tests that have none or end theirs."""

    def __init__(self, data_dir: Path, *names: str, partitions: int = 4) -> None:
        self._place = Place(data_dir)
        self.servers = EmbeddedServers(self._place, names=names, partitions=partitions)
        self._loop = asyncio.new_event_loop()
        # The children die with the thread that started them, so it lives as long as they shall.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> EmbeddedServers:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.servers.__aenter__(), self._loop).result(60)
        return self.servers

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.servers.supervisor.stop(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._place.release()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey shared by the session (database 0)."""
    with ServerThread(tmp_path_factory.mktemp("valkey"), VALKEY) as servers:
        yield servers.redis


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a ClickHouse engine shared by the session."""
    with ServerThread(tmp_path_factory.mktemp("engine"), ENGINE) as servers:
        yield servers.clickhouse


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a broker shared by the session, with the topics of ``streams.topics`` (4
    partitions).
    """
    with ServerThread(tmp_path_factory.mktemp("broker"), BROKER) as servers:
        yield servers.kafka


@pytest.fixture
def fresh_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap address of a broker of the test's own, with empty topics (4 partitions)."""
    with ServerThread(tmp_path_factory.mktemp("broker"), BROKER) as servers:
        yield servers.kafka


@pytest.fixture
def empty_valkey(valkey: str) -> str:
    """URL of an empty database of the shared Valkey."""
    url = f"{valkey.rsplit('/', 1)[0]}/{next(_VALKEY_DATABASES)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def fresh_database(engine: str) -> Iterator[str]:
    """Name of a ClickHouse database that does not exist yet; dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    client = clickhouse_connect.get_client(dsn=engine)
    client.command(f"DROP DATABASE IF EXISTS {name}")
    client.close()


@pytest.fixture(scope="module")
def migrated(engine: str) -> Iterator[tuple[Client, str]]:
    """A client and the name of a database that the tests of one module share; dropped afterwards."""
    database = f"t_{uuid.uuid4().hex[:12]}"
    client = connect(engine, database)
    migrate(client, database)
    yield client, database
    client.command(f"DROP DATABASE {database}", use_database=False)
    client.close()


@pytest.fixture
def clean(migrated: tuple[Client, str]) -> tuple[Client, str]:
    """The module's database with empty tables and empty deduplication logs."""
    client, database = migrated
    for table in TABLES:
        client.command(f"TRUNCATE TABLE {database}.{table}")
    return migrated


@pytest.fixture
def fresh_topic() -> str:
    """A topic name that nobody else uses."""
    return f"test.{uuid.uuid4().hex[:12]}"
