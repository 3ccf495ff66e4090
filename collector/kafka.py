"""A Kafka producer with the promises the spool needs, on top of aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from attribution.errors import Transient

REQUEST_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
MAX_REQUEST_BYTES = 1 << 20


class Envelope(NamedTuple):
    """One Kafka value: a JSON array of hits of one partition."""

    partition: int
    hits: int
    value: bytes


class Acknowledged(NamedTuple):
    """Where an envelope ended up."""

    partition: int
    offset: int


class Connection:
    """One connected producer for one topic. After any ``Transient`` it must be closed and made anew.

    It lives as long as its TCP connections: a broker that answers again may be another one, without our topic, and
    Tansu takes records for a topic that it does not have, and is broken from then on. So nothing is sent to a broker
    whose topic was not looked at since it was connected. aiokafka alone would connect and send again by itself.
    """

    def __init__(
        self, bootstrap: str, topic: str, partitions: int, idempotent: bool, on_lost: Callable[[], None]
    ) -> None:
        self._topic = topic
        self._partitions = partitions
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id="headwater-collector",
            acks="all",
            enable_idempotence=idempotent,
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
            max_request_size=MAX_REQUEST_BYTES,
            max_batch_size=MAX_REQUEST_BYTES,
            retry_backoff_ms=100,
        )
        # Asked about a topic by name, a broker may create it, with a number of partitions of its own. Asked about
        # all topics it creates none; then a missing topic is an error here, and the one who should creates it.
        client = self._producer.client
        client._metadata_update = partial(_update_all_topics, client)
        client._on_connection_closed = self._note_closed
        self._on_lost = on_lost
        self.is_lost = False

    async def open(self) -> str:
        """Connect and return the cluster id. Raises ``Transient``, also while the topic is not as it must be."""
        try:
            async with asyncio.timeout(2 * REQUEST_SECONDS):
                await self._producer.start()
                metadata = await self._metadata(None)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Transient(f"Kafka is away: {error!r}") from error
        self.check()
        found = {name: len(partitions) for _, name, _, partitions in metadata.topics}.get(self._topic)
        if found != self._partitions:
            raise Transient(
                f"topic {self._topic} has {found or 'no'} partitions and must have {self._partitions}"
            )
        return str(metadata.cluster_id)

    def check(self) -> None:
        """Raise ``Transient`` if a connection was lost since ``open``."""
        if self.is_lost:
            raise Transient("Kafka closed the connection")

    def abandon(self) -> None:
        """Never send again; what is under way fails. ``on_lost`` is called once."""
        if not self.is_lost:
            self.is_lost = True
            self._producer.client._get_conn = _get_no_connection
            self._producer._message_accumulator.fail_all(KafkaConnectionError("the connection was lost"))
            self._on_lost()

    def _note_closed(self, connection: object, reason: CloseReason | None) -> None:
        """Any end but our own doing; idle ones are no loss, because a volatile broker is asked each second."""
        if reason not in (None, CloseReason.IDLE_DROP, CloseReason.SHUTDOWN):
            self.abandon()

    async def cluster_id(self) -> str:
        """The id of the cluster that is there now. Raises ``Transient``."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                metadata = await self._metadata([])
        except (KafkaError, OSError, TimeoutError) as error:
            raise Transient(f"Kafka is away: {error!r}") from error
        return str(metadata.cluster_id)

    async def send(self, envelopes: Sequence[Envelope]) -> list[Acknowledged]:
        """Send in order and wait until every in-sync replica has them. Raises ``Transient``; some may be there then."""
        self.check()
        try:
            async with asyncio.timeout(2 * REQUEST_SECONDS):
                futures = [
                    await self._producer.send(self._topic, envelope.value, partition=envelope.partition)
                    for envelope in envelopes
                ]
                done = await asyncio.gather(*futures)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Transient(f"Kafka did not take hits: {error!r}") from error
        return [Acknowledged(record.partition, record.offset) for record in done]

    async def close(self) -> None:
        """Let go at once. What was not acknowledged is in the spool; ``stop`` alone would wait for it for ever."""
        self.abandon()
        producer = self._producer
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await producer.stop()
        except Exception:
            # Whatever a broken client says at its end (its sender task raises KeyError, too) must not stop us.
            await producer.client.close()

    async def _metadata(self, topics: list[str] | None) -> Any:
        client = self._producer.client
        node = client.get_random_node()
        if node is None:
            raise Transient("Kafka has no brokers")
        return await client.send(node, MetadataRequest(topics))


async def _get_no_connection(*_: object, **__: object) -> None:
    """In place of ``AIOKafkaClient._get_conn``: no connection can be had."""


async def _update_all_topics(client: AIOKafkaClient, cluster: Any, topics: Any) -> bool:
    return bool(await AIOKafkaClient._metadata_update(client, cluster, []))
