"""A Kafka producer that sends nothing to a broker whose topics it has not looked at, and outlives a broken client.

aiokafka connects again by itself. But a broker that answers again may be another one: the embedded one keeps its log in
memory, takes records for a topic that it does not have yet, and is broken from then on. So a producer of aiokafka lives
here only as long as its TCP connections; the next one looks at cluster id and topics before its first record. (The
collector's ``collector/kafka.py`` does the same for the spool.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import CloseReason
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
)
from aiokafka.protocol.metadata import MetadataRequest

from attribution.errors import Transient

log = structlog.get_logger(__name__)

SEND_SECONDS = 40.0
"""For all that one call does: connecting, looking at the topics, the record and its confirmation. aiokafka alone would
take up to 40 s to give a batch up, and as long again for its request."""
OPEN_SECONDS = 20.0
_CLOSE_SECONDS = 2.0
MAX_REQUEST_BYTES = 8 << 20

_NEVER = (
    ClusterAuthorizationFailedError,
    InvalidTopicError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)
"""Errors about the record or the account: the same record will never be taken."""
_MAY_WORK = (KafkaTimeoutError, UnknownError)
"""Errors that aiokafka does not repeat by itself but that say nothing against its client. ``UnknownError`` is what the
embedded broker says to one of two producers that meet at the same offset."""


class Producer:
    """Sends to the topics ``names``, which must have ``partitions`` partitions each.

    ``broker``: the cluster id that must answer; "" = whichever answers first, and from then on that one.
    """

    def __init__(
        self, bootstrap: str, partitions: int, *, idempotent: bool, names: Sequence[str], broker: str = ""
    ) -> None:
        self._bootstrap = bootstrap
        self._partitions = partitions
        self._idempotent = idempotent
        self._names = names
        self._broker = broker
        self._line: _Line | None = None
        self._opening = asyncio.Lock()

    async def send(self, topic: str, key: bytes | None, value: bytes, partition: int) -> int:
        """Returns the record's offset when every in-sync replica has it.

        Raises ``Transient`` when the same call may work later (the record may be there all the same), and aiokafka's
        error when it never will.
        """
        line: _Line | None = None
        try:
            async with asyncio.timeout(SEND_SECONDS):
                line = await self._open_line()
                return await self._send_on(line, topic, key, value, partition)
        except TimeoutError as error:
            if line is not None:
                # A client whose sender hangs gives nothing up by itself; one that waits for its broker loses little.
                line.abandon()
            raise Transient(f"Kafka did not take a record of {topic} within {SEND_SECONDS:.0f} s") from error

    async def _send_on(self, line: _Line, topic: str, key: bytes | None, value: bytes, partition: int) -> int:
        try:
            sent = await line.unless_lost(
                line.client.send_and_wait(topic, value=value, key=key, partition=partition)
            )
        except _NEVER:
            raise
        except (KafkaError, OSError, TimeoutError) as error:
            if isinstance(error, KafkaError) and not (error.retriable or isinstance(error, _MAY_WORK)):
                # Such as OutOfOrderSequenceNumber, after which an idempotent client takes nothing more.
                line.abandon()
            raise Transient(f"Kafka did not take a record of {topic}: {error!r}") from error
        return int(sent.offset)

    @property
    def broker(self) -> str:
        """Cluster id of whom it sends to; "" = not connected yet, and whoever answers will do."""
        return self._broker

    async def open(self) -> None:
        """Connect now instead of at the first record. Raises ``Transient``."""
        await self._open_line()

    async def close(self) -> None:
        """Send what is under way, then let go."""
        async with self._opening:
            line, self._line = self._line, None
            if line is not None:
                await line.close()

    async def _open_line(self) -> _Line:
        if self._line is not None and not self._line.is_lost:
            return self._line
        async with self._opening:
            if self._line is None or self._line.is_lost:
                if self._line is not None:
                    log.info("producer_connects_again", lost=self._bootstrap)
                    await self._line.close()
                    self._line = None
                line = _Line(self._bootstrap, self._idempotent)
                try:
                    await self._look_at(line)
                except BaseException:
                    await line.close()
                    raise
                self._line = line
            return self._line

    async def _look_at(self, line: _Line) -> None:
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await line.client.start()
                found = await line.metadata()
        except (KafkaError, OSError, TimeoutError) as error:
            raise Transient(f"Kafka at {self._bootstrap} is away: {error!r}") from error
        if self._broker and found.cluster_id != self._broker:
            raise Transient(f"Kafka at {self._bootstrap} is {found.cluster_id}, not {self._broker}")
        counts = {name: len(partitions) for _, name, _, partitions in found.topics}
        for name in self._names:
            if counts.get(name) != self._partitions:
                raise Transient(
                    f"topic {name} has {counts.get(name) or 'no'} partitions and must have {self._partitions}:"
                    " run `headwater migrate`"
                )
        if line.is_lost:
            raise Transient("Kafka closed the connection")
        self._broker = found.cluster_id


class _Line:
    """A producer of aiokafka for as long as its connections hold."""

    def __init__(self, bootstrap: str, idempotent: bool) -> None:
        self.client = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id="headwater-worker",
            acks="all",
            enable_idempotence=idempotent,
            max_request_size=MAX_REQUEST_BYTES,
        )
        self._lost = asyncio.get_running_loop().create_future()
        client = self.client.client
        # Asked about a topic by name, a broker may create it, with a number of partitions of its own. Asked about
        # all topics it creates none.
        client._metadata_update = partial(_update_all_topics, client)
        client._on_connection_closed = self._note_closed

    @property
    def is_lost(self) -> bool:
        """Nothing can be sent any more."""
        return self._lost.done()

    async def unless_lost(self, sending: Coroutine[Any, Any, Any]) -> Any:
        """The result of ``sending``. Raises ``KafkaConnectionError`` as soon as the line is lost.

        A client that was closed leaves some of its callers waiting for ever, for metadata that nobody fetches any more.
        """
        task = asyncio.ensure_future(sending)
        try:
            await asyncio.wait({task, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise KafkaConnectionError("the connection was lost")
            return task.result()
        finally:
            task.cancel()

    def abandon(self) -> None:
        """Never send again; what is under way fails."""
        if not self.is_lost:
            self._lost.set_result(None)
            self.client.client._get_conn = _get_no_connection
            self.client._message_accumulator.fail_all(KafkaConnectionError("the connection was lost"))

    def _note_closed(self, connection: object, reason: CloseReason | None) -> None:
        if reason not in (None, CloseReason.SHUTDOWN):
            self.abandon()

    async def metadata(self) -> Any:
        """What the cluster says of itself and of all topics."""
        client = self.client.client
        return await client.send(client.get_random_node(), MetadataRequest(None))

    async def close(self) -> None:
        """Let go, at once if the connections are lost: ``stop`` alone would wait for what can never be sent."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.client.stop()
        except Exception:
            # Whatever a broken client says at its end (its sender task raises KeyError, too) must not stop us.
            self.abandon()
            await self.client.client.close()
        finally:
            self.abandon()


async def _get_no_connection(*_: object, **__: object) -> None:
    """In place of ``AIOKafkaClient._get_conn``: no connection can be had."""


async def _update_all_topics(client: AIOKafkaClient, cluster: Any, topics: Any) -> bool:
    return bool(await AIOKafkaClient._metadata_update(client, cluster, []))
