"""Real servers for the tests: started when first asked for, stopped at the end.

Fixtures: ``valkey``, ``engine`` (URLs) and ``broker`` (host:port) are shared by the session; ``empty_valkey`` is a
database of its own and empty; ``fresh_broker`` is a broker with empty topics, because their names are fixed;
``fresh_database`` and ``fresh_topic`` are names that nobody else has; ``migrated`` is a database of the module's own
with our tables, ``clean`` the same with empty ones.

Whatever asks for ``broker`` or ``fresh_broker`` runs twice: on the embedded broker and on Apache Kafka (marked
``kafka``, skipped where Java or the artifacts are missing). ``apache_kafka`` is a node shared by the session,
``apache_cluster`` three of them.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import hypothesis
import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient
from clickhouse_connect.driver.client import Client

from attribution.errors import Misconfigured
from runtime.embedded.apache_kafka_archive import install_to_start
from runtime.embedded.apache_kafka_install import Installed
from runtime.embedded.apache_kafka_nodes import ApacheKafkaNodes
from runtime.embedded.servers import BROKER, ENGINE, VALKEY, EmbeddedServers
from runtime.place import Place
from sinks.client import connect
from sinks.migrate import migrate
from sinks.tables import TABLES
from streams import topics
from streams.kafka_admin import ensure_topics

# Shared machines are slow now and then: no test may fail for the time that it took.
hypothesis.settings.register_profile("headwater", deadline=None)
hypothesis.settings.load_profile("headwater")

PARTITIONS = 4
_VALKEY_DATABASES = itertools.cycle(range(1, 16))


class ServerThread:
    """Embedded servers on an event loop of their own, for tests that have none or end theirs."""

    def __init__(self, data_dir: Path, *names: str, partitions: int = PARTITIONS) -> None:
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
def apache_kafka_installed() -> Installed:
    """Apache Kafka, fetched if need be; the test is skipped where that cannot be."""
    try:
        return install_to_start()
    except Misconfigured as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def apache_kafka(
    apache_kafka_installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApacheKafkaNodes]:
    """One running node of Apache Kafka, shared by the session: leave it as it is."""
    with ApacheKafkaNodes(apache_kafka_installed, tmp_path_factory.mktemp("apache")) as nodes:
        asyncio.run(nodes.start())
        yield nodes


@pytest.fixture(scope="session")
def apache_cluster_of_session(
    apache_kafka_installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApacheKafkaNodes]:
    with ApacheKafkaNodes(apache_kafka_installed, tmp_path_factory.mktemp("cluster"), nodes=3) as nodes:
        yield nodes


@pytest.fixture
def apache_cluster(apache_cluster_of_session: ApacheKafkaNodes) -> ApacheKafkaNodes:
    """Three running nodes, shared by the session, with empty topics: three copies, two must have each record.

    A test may kill, pause and stop nodes.
    """
    nodes = apache_cluster_of_session
    for number in nodes.pids:
        nodes.resume(number)
    asyncio.run(nodes.start())
    asyncio.run(empty_topics(nodes.bootstrap, nodes.cluster.replication))
    return nodes


async def empty_topics(bootstrap: str, replication: int = 1) -> None:
    """Delete the topics and make them again."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            await admin.delete_topics(list(topics.ALL))
            while set(topics.ALL) & set(await admin.list_topics()):
                await asyncio.sleep(0.02)
    finally:
        await admin.close()
    await ensure_topics(bootstrap, PARTITIONS, replication)


@pytest.fixture(scope="session", params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def broker_kind(request: pytest.FixtureRequest) -> str:
    """On which broker a test runs."""
    return str(request.param)


@pytest.fixture
def takes_idempotent(broker_kind: str) -> bool:
    """Whether the broker takes idempotent producers."""
    return broker_kind == "apache"


@pytest.fixture(scope="session")
def broker(
    broker_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Bootstrap address of a broker shared by the session, with the topics of ``streams.topics`` (4
    partitions).
    """
    if broker_kind == "apache":
        bootstrap = request.getfixturevalue("apache_kafka").bootstrap
        asyncio.run(ensure_topics(bootstrap, PARTITIONS))
        yield bootstrap
        return
    with ServerThread(tmp_path_factory.mktemp("broker"), BROKER) as servers:
        yield servers.kafka


@pytest.fixture
def fresh_broker(
    broker_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Bootstrap address of a broker with empty topics (4 partitions), for the test alone while it runs.

    The embedded one starts for the test; Apache Kafka deletes and makes the topics.
    """
    if broker_kind == "apache":
        bootstrap = request.getfixturevalue("apache_kafka").bootstrap
        asyncio.run(empty_topics(bootstrap))
        yield bootstrap
        return
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
