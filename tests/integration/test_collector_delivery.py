"""What was acknowledged is in Kafka in the end: kills, absent brokers, forgetful brokers, full disks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from aiokafka.admin import AIOKafkaAdminClient
from collector_kit import (
    NOBODY,
    PARTITIONS,
    SITE,
    ApacheBroker,
    Broker,
    Client,
    CollectorProcess,
    config_of,
    eventually,
    ids_in_kafka,
    in_kafka,
    is_open,
    running,
    spooled,
)

from attribution.errors import Transient
from attribution.hit import decode_envelope
from collector import producer as producer_module
from collector import spool as spool_module
from collector.kafka import Connection, Envelope
from collector.metrics import Counted
from runtime.embedded.apache_kafka_install import Installed
from streams import kafka_admin
from streams.topics import HITS, fence_key, partition_of

OwnBroker = Broker | ApacheBroker


@pytest.fixture
def forgetful_broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker that the test starts and kills; not started yet."""
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def durable_broker(apache_kafka_installed: Installed, tmp_path: Path) -> Iterator[ApacheBroker]:
    """A node of Apache Kafka that the test starts and kills; not started yet."""
    broker = ApacheBroker(apache_kafka_installed, tmp_path / "kafka")
    yield broker
    broker.kill()


@pytest.fixture
def own_broker(broker_kind: str, request: pytest.FixtureRequest) -> OwnBroker:
    """A broker of either kind that the test starts and kills; not started yet."""
    name = "durable_broker" if broker_kind == "apache" else "forgetful_broker"
    broker: OwnBroker = request.getfixturevalue(name)
    return broker


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Release without the long waits of production."""
    monkeypatch.setattr(producer_module, "RELEASE_SECONDS", 0.1)
    monkeypatch.setattr(producer_module, "HOLD_SECONDS", 0.3)


async def send(client: Client, first: int, count: int) -> set[str]:
    """Acknowledged event ids."""
    ids = {f"e{number}" for number in range(first, first + count)}
    for event_id in ids:
        answer = await client.post("/v1/track", {"site": SITE, "event_id": event_id, "visitor_id": event_id})
        assert answer.status == 200
    return ids


class Load:
    """Many connections that send pixels until they are told to stop, and remember what was acknowledged."""

    def __init__(self, port: int, numbers: Iterator[int]) -> None:
        self.port = port
        self.acknowledged: set[str] = set()
        self._numbers = numbers
        self._is_over = False
        self._tasks = [asyncio.create_task(self._send_on()) for _ in range(24)]

    async def _send_on(self) -> None:
        client = Client(self.port)
        while not self._is_over:
            event_id = f"e{next(self._numbers)}"
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                answer = await client.get(f"/p.gif?site={SITE}&event_id={event_id}&visitor_id={event_id}")
                assert answer.status == 200
                assert not answer.header("x-headwater-dropped")
                self.acknowledged.add(event_id)
                continue
            await client.close()
            await asyncio.sleep(0.01)
        await client.close()

    async def end(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)


async def test_every_acknowledged_hit_survives_kill_9_of_the_collector(
    fresh_broker: str, takes_idempotent: bool, tmp_path: Path
) -> None:
    config = config_of(tmp_path / "spool", kafka=fresh_broker, kafka_idempotent=takes_idempotent)
    load = Load(config.port, itertools.count())
    for round_number in range(1, 5):
        collector = CollectorProcess(config)
        await eventually(lambda wanted=round_number * 300: len(load.acknowledged) >= wanted)
        collector.kill()
    last = CollectorProcess(config)
    await last.ready()
    await load.end()

    async def all_there() -> bool:
        return load.acknowledged <= await ids_in_kafka(fresh_broker)

    await eventually(all_there)
    assert last.terminate() == 0, last.errors
    found = await in_kafka(fresh_broker)
    assert {(partition_of(hit.visitor_id, PARTITIONS), hit.event_id) for _, _, hit in found} == {
        (partition, hit.event_id) for partition, _, hit in found
    }


async def test_hits_are_accepted_while_the_broker_is_away_and_sent_when_it_comes(
    own_broker: OwnBroker, tmp_path: Path
) -> None:
    config = config_of(
        tmp_path / "spool", kafka=own_broker.address, kafka_idempotent=own_broker.takes_idempotent
    )
    async with running(config) as (app, client):
        sent = await send(client, 0, 50)
        assert app.producer.unsent_bytes > 0
        assert (await client.get("/readyz")).status == 200
        await own_broker.start()
        await eventually(lambda: app.producer.unsent_bytes == 0)
        found = await in_kafka(own_broker.address)
        assert {hit.event_id for _, _, hit in found} == sent
        assert len(found) == 50
        assert app.metrics.value(Counted.resent) == 0


async def test_a_broker_that_comes_back_empty_gets_everything_again(
    forgetful_broker: Broker, tmp_path: Path
) -> None:
    await forgetful_broker.start()
    config = config_of(tmp_path / "spool", kafka=forgetful_broker.address)
    async with running(config) as (app, client):
        sent = await send(client, 0, 40)
        await eventually(lambda: app.producer.unsent_bytes == 0)
        forgetful_broker.kill()
        sent |= await send(client, 100, 40)
        await forgetful_broker.start()
        sent |= await send(client, 200, 40)

        async def all_there() -> bool:
            return await ids_in_kafka(forgetful_broker.address) == sent

        await eventually(all_there)
        assert app.metrics.value(Counted.broker_changes) == 1
        assert app.metrics.value(Counted.resent) >= 40


@pytest.mark.kafka
async def test_a_broker_that_comes_back_with_its_log_gets_the_rest(
    durable_broker: ApacheBroker, tmp_path: Path, quick: None
) -> None:
    """kill -9 of Apache Kafka: the same cluster is back, so nothing that it acknowledged is sent again."""
    cluster = await durable_broker.start()
    config = config_of(tmp_path / "spool", kafka=durable_broker.address, kafka_idempotent=True)
    async with running(config) as (app, client):
        sent = await send(client, 0, 40)
        await eventually(lambda: app.producer.unsent_bytes == 0 and not spooled(config.spool_dir))
        durable_broker.kill()
        sent |= await send(client, 100, 40)
        assert app.producer.unsent_bytes > 0
        await client.close()  # before the collector closes what is idle
        assert await durable_broker.start() == cluster
        sent |= await send(client, 200, 40)

        async def all_there() -> bool:
            return await ids_in_kafka(durable_broker.address) == sent

        await eventually(all_there)
        assert app.metrics.value(Counted.broker_changes) == 0
        found = [hit.event_id for _, _, hit in await in_kafka(durable_broker.address)]
        assert {event_id for event_id in found if found.count(event_id) > 1} == set()


async def test_a_broker_replaced_while_nobody_sends_is_noticed(
    forgetful_broker: Broker, tmp_path: Path, quick: None
) -> None:
    await forgetful_broker.start()
    async with running(config_of(tmp_path / "spool", kafka=forgetful_broker.address)) as (app, client):
        sent = await send(client, 0, 10)
        await eventually(lambda: app.producer.unsent_bytes == 0)
        forgetful_broker.kill()
        await forgetful_broker.start()

        async def all_there() -> bool:
            return await ids_in_kafka(forgetful_broker.address) == sent

        await eventually(all_there)


async def test_a_volatile_brokers_segments_wait_for_the_workers_fence(
    forgetful_broker: Broker, empty_valkey: str, tmp_path: Path, quick: None
) -> None:
    cluster = await forgetful_broker.start()
    config = config_of(tmp_path / "spool", kafka=forgetful_broker.address, redis=empty_valkey)
    with redis.Redis.from_url(empty_valkey) as store:
        async with running(config) as (app, client):
            await send(client, 0, 60)
            await eventually(lambda: app.producer.unsent_bytes == 0)
            ends = {
                partition: offset + 1 for partition, offset, _ in await in_kafka(forgetful_broker.address)
            }
            assert len(ends) == PARTITIONS

            async def stays(why: str) -> None:
                """Three checks later the segment is still there."""
                checks = app.producer._checks
                await eventually(lambda: app.producer._checks >= checks + 8)
                assert len(spooled(config.spool_dir)) == 60, why

            await stays("no worker has been there")
            for partition, end in ends.items():
                store.hset(fence_key(HITS, partition), mapping={"broker": "hw-mem-other", "offset": end + 99})
            await stays("the fences belong to another log")
            for partition, end in ends.items():
                store.hset(fence_key(HITS, partition), mapping={"broker": cluster, "offset": end})
            store.hset(fence_key(HITS, 2), "offset", ends[2] - 1)
            await stays("one partition is one record behind")
            store.hset(fence_key(HITS, 2), "offset", ends[2])
            await eventually(lambda: not spooled(config.spool_dir))
            assert app.spool.stored_bytes == 0
            await send(client, 100, 1)
            assert len(spooled(config.spool_dir)) == 1


async def test_a_durable_brokers_segments_go_when_they_are_acknowledged(
    own_broker: OwnBroker, tmp_path: Path, quick: None
) -> None:
    await own_broker.start("a-real-cluster")
    config = config_of(
        tmp_path / "spool", kafka=own_broker.address, kafka_idempotent=own_broker.takes_idempotent
    )
    async with running(config) as (app, client):
        sent = await send(client, 0, 20)
        await eventually(lambda: not spooled(config.spool_dir))
        assert app.metrics.value(Counted.released) >= 1
    assert await ids_in_kafka(own_broker.address) == sent


async def test_a_full_spool_takes_hits_again_once_the_broker_is_back(
    own_broker: OwnBroker, tmp_path: Path, quick: None
) -> None:
    config = config_of(
        tmp_path / "spool",
        kafka=own_broker.address,
        kafka_idempotent=own_broker.takes_idempotent,
        spool_max_bytes=4_000,
    )
    async with running(config) as (_, client):

        async def post(number: int) -> int:
            body = {"site": SITE, "event_id": f"e{number}", "visitor_id": "v"}
            return (await client.post("/v1/track", body)).status

        statuses = [await post(number) for number in range(40)]
        kept = statuses.index(503)
        assert set(statuses[kept:]) == {503}
        await own_broker.start("a-real-cluster")

        async def is_taken() -> bool:
            return await post(99) == 200

        await eventually(is_taken)

        async def all_there() -> bool:
            return {f"e{n}" for n in range(kept)} | {"e99"} == await ids_in_kafka(own_broker.address)

        await eventually(all_there)


async def test_what_an_earlier_collector_left_is_sent(
    fresh_broker: str, takes_idempotent: bool, tmp_path: Path
) -> None:
    async with running(config_of(tmp_path / "spool", kafka=NOBODY)) as (_, client):
        sent = await send(client, 0, 30)
    async with running(
        config_of(tmp_path / "spool", kafka=fresh_broker, kafka_idempotent=takes_idempotent)
    ) as (app, _):
        await eventually(lambda: app.producer.unsent_bytes == 0)
        assert await ids_in_kafka(fresh_broker) == sent
        assert app.metrics.value(Counted.resent) == 30


async def test_many_hits_travel_in_few_records(
    fresh_broker: str, takes_idempotent: bool, tmp_path: Path
) -> None:
    async with running(
        config_of(tmp_path / "spool", kafka=fresh_broker, kafka_idempotent=takes_idempotent)
    ) as (app, client):
        batch = [{"event_id": f"e{n}", "visitor_id": f"v{n % 50}"} for n in range(500)]
        for _ in range(4):
            assert (await client.post("/v1/batch", {"site": SITE, "batch": batch})).status == 200
        await eventually(lambda: app.producer.unsent_bytes == 0)
        found = await in_kafka(fresh_broker)
        assert len(found) == 2000
        assert len({(partition, offset) for partition, offset, _ in found}) <= 4 * PARTITIONS
        assert all(partition == partition_of(hit.visitor_id, PARTITIONS) for partition, _, hit in found)


async def test_the_producer_never_creates_the_topic(own_broker: OwnBroker, tmp_path: Path) -> None:
    """A broker would make it with its own number of partitions, and the workers would find the wrong ones."""
    await own_broker.start()
    connection = Connection(own_broker.address, "test.missing", PARTITIONS, False, on_lost=lambda: None)
    with pytest.raises(Exception, match=r"test\.missing has no partitions"):
        await connection.open()
    await connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=own_broker.address)
    await admin.start()
    assert "test.missing" not in await admin.list_topics()
    await admin.close()


async def test_a_connection_that_dies_with_records_under_way_can_be_closed(own_broker: OwnBroker) -> None:
    """The client's sender task ends with whatever error it finds then; the next connection must come all the same."""
    await own_broker.start()
    connection = Connection(
        own_broker.address, HITS, PARTITIONS, own_broker.takes_idempotent, on_lost=lambda: None
    )
    await connection.open()
    await connection.send([Envelope(partition, 1, b"[]") for partition in range(PARTITIONS)])
    own_broker.pause()
    sending = asyncio.create_task(
        connection.send([Envelope(partition, 1, b"[]") for partition in range(PARTITIONS)])
    )
    accumulator = connection._producer._message_accumulator
    await eventually(lambda: accumulator._pending_batches)
    own_broker.kill()
    with pytest.raises(Transient):
        await sending
    await connection.close()


async def test_nothing_is_sent_to_a_broker_that_has_no_topic_yet(
    forgetful_broker: Broker, tmp_path: Path
) -> None:
    """Tansu would take it for a topic that it does not have, and serve nothing from that topic afterwards."""
    await forgetful_broker.start()
    async with running(config_of(tmp_path / "spool", kafka=forgetful_broker.address)) as (app, client):
        sent = await send(client, 0, 20)
        await eventually(lambda: app.producer.unsent_bytes == 0)
        for round_number in range(1, 4):
            forgetful_broker.kill()
            await forgetful_broker.start(with_topic=False)
            sent |= await send(client, round_number * 100, 20)
            failures = app.metrics.value(Counted.failures)
            await eventually(lambda seen=failures: app.metrics.value(Counted.failures) >= seen + 2)
            await kafka_admin.ensure_topics(forgetful_broker.address, PARTITIONS, names=[HITS])

            async def all_there(wanted: frozenset[str] = frozenset(sent)) -> bool:
                return wanted == await ids_in_kafka(forgetful_broker.address)

            await eventually(all_there)


async def test_sigterm_flushes_and_leaves_with_zero(
    fresh_broker: str, takes_idempotent: bool, tmp_path: Path
) -> None:
    config = config_of(
        tmp_path / "spool", kafka=fresh_broker, kafka_idempotent=takes_idempotent, drain_seconds=10.0
    )
    collector = CollectorProcess(config)
    await collector.ready()
    client = Client(config.port)
    sent = await send(client, 0, 25)
    assert collector.terminate() == 0, collector.errors
    assert await ids_in_kafka(fresh_broker) == sent
    await client.close()


async def test_sigterm_ends_soon_though_the_broker_hangs(own_broker: OwnBroker, tmp_path: Path) -> None:
    await own_broker.start()
    config = config_of(
        tmp_path / "spool",
        kafka=own_broker.address,
        kafka_idempotent=own_broker.takes_idempotent,
        drain_seconds=0.5,
    )
    collector = CollectorProcess(config)
    await collector.ready()
    client = Client(config.port)
    await send(client, 0, 5)
    own_broker.pause()
    sent = await send(client, 100, 5)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await loop.run_in_executor(None, collector.terminate) == 0, collector.errors
    assert loop.time() - began < 8
    assert sent <= {hit.event_id for hit in spooled(config.spool_dir)}
    await client.close()


async def test_a_write_that_fails_half_way_is_cut_off_and_not_acknowledged(tmp_path: Path) -> None:
    """A file size limit stands for a full disk: writing stops in the middle of a group."""
    config = config_of(tmp_path / "spool")
    collector = CollectorProcess(config, limit_file_bytes=100_000)
    await collector.ready()
    client = Client(config.port)
    kept = await send(client, 0, 5)
    text = "x" * 50_000
    batch = [{"event_id": f"lost{n}", "title": "", "properties": {"text": text}} for n in range(4)]
    answer = await client.post("/v1/batch", {"site": SITE, "batch": batch})
    assert (answer.status, answer.json["code"], answer.header("retry-after")) == (503, "not_durable", "5")
    kept |= await send(client, 10, 5)
    assert {hit.event_id for hit in spooled(config.spool_dir)} == kept
    collector.kill()
    assert {hit.event_id for hit in spooled(config.spool_dir)} == kept
    await client.close()


async def test_a_damaged_block_costs_its_segment_and_nothing_after_it(
    own_broker: OwnBroker, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES", 1_000)
    config = config_of(
        tmp_path / "spool", kafka=own_broker.address, kafka_idempotent=own_broker.takes_idempotent
    )
    async with running(config) as (app, client):
        for number in range(30):
            await send(client, number, 1)
        damaged, *_ = app.spool.segments
        data = bytearray(damaged.path.read_bytes())
        data[-20] ^= 1
        damaged.path.write_bytes(data)
        lost = {
            hit.event_id for hit in decode_envelope(b"[" + bytes(data)[data.rindex(b'{"event_id"') :] + b"]")
        }
        await own_broker.start("a-real-cluster")
        await eventually(lambda: app.producer.unsent_bytes == 0)
        assert {f"e{n}" for n in range(30)} - await ids_in_kafka(own_broker.address) == lost
        assert app.metrics.value(Counted.damaged) > 0
        await eventually(lambda: not list(config.spool_dir.glob("*.spool")))
        assert damaged.path.with_suffix(".damaged").read_bytes() == bytes(data)


async def test_an_unforeseen_error_of_the_producer_stops_the_collector(
    own_broker: OwnBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(frames: object) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(producer_module, "build_envelopes", explode)
    await own_broker.start()
    config = config_of(
        tmp_path / "spool",
        kafka=own_broker.address,
        kafka_idempotent=own_broker.takes_idempotent,
        drain_seconds=5.0,
    )
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it comes out when the server ends
        async with running(config) as (_, client):
            sent = await send(client, 0, 1)
            await eventually(lambda: not is_open(config.port))
    assert {hit.event_id for hit in spooled(config.spool_dir)} == sent
