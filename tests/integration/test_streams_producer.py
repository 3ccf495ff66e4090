"""The worker's producer: what it repeats, what it never sends, and what it outlives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
    UnknownError,
)
from collector_kit import Broker

from attribution.errors import Transient
from streams import producer as producer_module
from streams.kafka_admin import ensure_topics
from streams.patience import patiently
from streams.producer import Producer
from streams.topics import CREDITS

PARTITIONS = 4


class Scripted(AIOKafkaProducer):  # type: ignore[misc]
    """aiokafka's producer, which raises what it is told before it sends."""

    said: list[Exception] = []
    made = 0
    last: Scripted

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        Scripted.made += 1
        Scripted.last = self

    async def send_and_wait(self, *args: Any, **options: Any) -> Any:
        if Scripted.said:
            raise Scripted.said.pop()
        return await super().send_and_wait(*args, **options)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(producer_module, "AIOKafkaProducer", Scripted)
    Scripted.said, Scripted.made = [], 0
    return Scripted


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """An embedded broker that the test starts and kills; not started yet."""
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


def producer_of(kafka: str, *, idempotent: bool = False, broker: str = "") -> Producer:
    return Producer(kafka, PARTITIONS, idempotent=idempotent, names=[CREDITS], broker=broker)


async def first_record(kafka: str) -> bytes:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(CREDITS, 0)])
        async with asyncio.timeout(30):
            value: bytes = (await consumer.getone()).value
            return value
    finally:
        await consumer.stop()


async def test_a_record_that_the_broker_did_not_take_is_sent_again(
    fresh_broker: str, takes_idempotent: bool, scripted: type[Scripted]
) -> None:
    """It is no reason to die; what can never work is. ``UnknownError`` is what the embedded broker says, under load,
    to one of two producers that meet at one offset."""
    scripted.said = [UnknownError(), NotLeaderForPartitionError(), KafkaTimeoutError()]
    producer = producer_of(fresh_broker, idempotent=takes_idempotent)
    async with asyncio.timeout(30):
        await patiently(partial(producer.send, CREDITS, b"key", b"value", 0), "send")
    assert (scripted.said, scripted.made) == ([], 1)
    with pytest.raises(MessageSizeTooLargeError):
        await producer.send(CREDITS, b"key", b"x" * (9 << 20), 0)
    await producer.close()
    assert await first_record(fresh_broker) == b"value"


async def test_a_client_beyond_help_is_replaced(
    fresh_broker: str, takes_idempotent: bool, scripted: type[Scripted]
) -> None:
    """After a gap in its sequence numbers an idempotent client of aiokafka takes nothing more, for ever."""
    scripted.said = [OutOfOrderSequenceNumber()]
    producer = producer_of(fresh_broker, idempotent=takes_idempotent)
    with pytest.raises(Transient):
        await producer.send(CREDITS, b"key", b"lost", 0)
    async with asyncio.timeout(30):
        assert await patiently(partial(producer.send, CREDITS, b"key", b"value", 0), "send") == 0
    assert scripted.made == 2
    await producer.close()
    assert await first_record(fresh_broker) == b"value"


async def test_a_client_that_hangs_in_silence_is_replaced(
    fresh_broker: str, takes_idempotent: bool, scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of aiokafka's ends the wait when its own sender does: no batch is given up, no connection closed."""
    producer = producer_of(fresh_broker, idempotent=takes_idempotent)
    await producer.send(CREDITS, b"key", b"first", 0)
    scripted.last._sender._sender_task.cancel()
    with monkeypatch.context() as impatient:
        impatient.setattr(producer_module, "SEND_SECONDS", 1.0)
        with pytest.raises(Transient, match="within 1 s"):
            await producer.send(CREDITS, b"key", b"lost", 0)
    async with asyncio.timeout(30):
        assert await patiently(partial(producer.send, CREDITS, b"key", b"value", 0), "send") == 1
    assert scripted.made == 2
    await producer.close()


async def test_a_record_that_waits_for_metadata_is_given_back_when_the_connection_is_lost(
    own_broker: Broker, scripted: type[Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed client of aiokafka leaves it waiting for ever: seen with a broker that had just come back and did not
    know its topics yet."""
    await own_broker.start(with_topic=False)
    await ensure_topics(own_broker.address, PARTITIONS, names=[CREDITS])
    producer = producer_of(own_broker.address)
    await producer.send(CREDITS, b"key", b"value", 0)
    client = scripted.last.client
    never = asyncio.Event()

    async def no_metadata(*_: object) -> bool:
        return await never.wait()

    monkeypatch.setattr(client, "_metadata_update", no_metadata)
    monkeypatch.setattr(client.cluster, "partitions_for_topic", lambda topic: None)
    sending = asyncio.create_task(producer.send(CREDITS, b"key", b"waits", 0))
    async with asyncio.timeout(10):
        while client._md_update_fut is None:
            await asyncio.sleep(0.01)
    own_broker.kill()
    async with asyncio.timeout(10):
        with pytest.raises(Transient):
            await sending
    await producer.close()


async def test_nothing_is_sent_to_a_broker_that_has_no_topic_yet(own_broker: Broker) -> None:
    """The embedded broker would take it for a topic that it does not have, and be broken from then on."""
    producer = producer_of(own_broker.address)
    for _ in range(3):
        await own_broker.start(with_topic=False)
        for _ in range(5):
            with pytest.raises(Transient):
                await producer.send(CREDITS, b"key", b"too early", 0)
        await ensure_topics(own_broker.address, PARTITIONS, names=[CREDITS])
        await producer.close()  # it has met this broker, and would refuse the next one
        producer = producer_of(own_broker.address)
        async with asyncio.timeout(30):
            await patiently(partial(producer.send, CREDITS, b"key", b"value", 0), "send")
        assert await first_record(own_broker.address) == b"value"
        own_broker.kill()


async def test_a_broker_that_took_the_place_of_ours_gets_nothing(own_broker: Broker) -> None:
    """Offsets mean something else there; the worker ends as soon as it sees the new cluster id."""
    ours = await own_broker.start(with_topic=False)
    await ensure_topics(own_broker.address, PARTITIONS, names=[CREDITS])
    producer = producer_of(own_broker.address, broker=ours)
    assert await producer.send(CREDITS, b"key", b"value", 0) == 0
    own_broker.kill()
    other = await own_broker.start(with_topic=False)
    await ensure_topics(own_broker.address, PARTITIONS, names=[CREDITS])
    async with asyncio.timeout(30):
        while True:
            with pytest.raises(Transient) as refusal:
                await producer.send(CREDITS, b"key", b"lost", 0)
            if other in str(refusal.value):
                break
    await producer.close()
    theirs = producer_of(own_broker.address, broker=other)
    assert await theirs.send(CREDITS, b"key", b"the first", 0) == 0
    await theirs.close()
    assert await first_record(own_broker.address) == b"the first"


async def test_a_missing_topic_is_named_with_the_remedy(own_broker: Broker) -> None:
    await own_broker.start(with_topic=False)
    producer = Producer(own_broker.address, PARTITIONS, idempotent=False, names=["test.missing"])
    with pytest.raises(Transient, match=r"test\.missing has no partitions .* run `headwater migrate`"):
        await producer.open()
    await producer.close()
