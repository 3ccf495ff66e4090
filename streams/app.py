"""The Faust app: fetches records, and leaves offsets to the fence.

Faust's own acknowledgements lose events (an agent that raises, ``take``, a fresh partition), so topics are
``acks=False`` and a ``FencedConsumer`` starts each assigned partition where Redis says. The overridden names
are private to faust-streaming 0.15.3, which is pinned; ``check_hooks`` refuses to run with another shape.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from attribution.errors import Misconfigured
from streams.records import Record

Seek = Callable[[set[TP]], Awaitable[dict[TP, int]]]
"""Given the assignment, take it over and say where each partition starts."""
Deliver = Callable[[str, int, Record], Awaitable[None]]


FETCH_WAIT_MS = 50
"""How long a broker may hold back an answer while it has nothing. Faust's 1,500 ms do no harm with Apache Kafka,
which answers as soon as a record arrives; the embedded broker looks again only after half of this time."""


FETCHED_BYTES = 2 << 20
"""Of one partition at once, but at least one record: two requests a second read what a core can process of it."""
QUEUED_RECORDS = 256
"""On their way from Faust to the pumps, which count bytes. A record may have a quarter of a megabyte: four times as
many would only hold memory while the pumps are full. A quarter of them cost a fifth of the processor's time."""


class QuickFetchThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer with a shorter wait for records."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class FencedConsumer(Consumer):  # type: ignore[misc]
    """Faust's Kafka consumer, positioned by the fence instead of by committed offsets."""

    def _new_consumer_thread(self) -> Any:
        return QuickFetchThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Seek to the fence. Called on each rebalance, and again while the flow is off: idempotent."""
        await super().perform_seek()
        positions = await self.app.seek_to_fence(set(self.assignment()))
        if positions:
            await self.seek_wait(positions)
            for tp, offset in positions.items():
                self._read_offset[tp] = self._committed_offset[tp] = offset
        self.app.seeks_performed += 1


class FencedTransport(Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with the fenced consumer."""

    Consumer = FencedConsumer


class FencedApp(faust.App):  # type: ignore[misc]
    """A Faust app that asks ``seek_to_fence`` where to start."""

    seek_to_fence: Seek
    seeks_performed: int

    def _new_transport(self) -> Any:
        return FencedTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """None: Faust would leave a folder in the working directory at each start, for tables that we do not have."""


def check_hooks() -> None:
    """Raise ``Misconfigured`` unless the pinned Faust has the hooks that the fence needs, compiled."""
    missing = [
        name
        for owner, name in (
            (Consumer, "perform_seek"),
            (Consumer, "seek_wait"),
            (Consumer, "_new_consumer_thread"),
            (AIOKafkaConsumerThread, "_create_worker_consumer"),
            (faust.App, "_new_transport"),
            (faust.App, "_create_directories"),
        )
        if not callable(getattr(owner, name, None))
    ]
    if faust.__version__ != "0.15.3" or missing:
        raise Misconfigured(
            f"faust-streaming {faust.__version__} was never tried with the fenced consumer {missing}.",
            "Install faust-streaming==0.15.3.",
        )
    if importlib.util.find_spec("faust._cython.streams") is None:
        raise Misconfigured(
            "Faust runs without its compiled stream, which accepts records of an old generation.",
            "Install the binary wheel of faust-streaming and unset NO_CYTHON.",
        )


def create_app(kafka: str, group: str, topics: tuple[str, ...], seek: Seek, deliver: Deliver) -> FencedApp:
    """An app whose agents hand every record of ``topics`` to ``deliver``, from where ``seek`` says."""
    app = FencedApp(
        group,
        broker=f"kafka://{kafka.replace(',', ';kafka://')}",
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        processing_guarantee="at_least_once",
        broker_commit_interval=5.0,
        broker_max_poll_interval=1e6,
        broker_session_timeout=6.0,  # the shortest that Apache Kafka accepts unless told otherwise
        broker_heartbeat_interval=1.0,
        broker_rebalance_timeout=3.0,
        broker_request_timeout=60.0,
        stream_wait_empty=False,
        stream_buffer_maxsize=QUEUED_RECORDS,
        stream_recovery_delay=0.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=FETCHED_BYTES,
        worker_redirect_stdouts=False,
    )
    app.seek_to_fence = seek
    app.seeks_performed = 0
    app.on_rebalance_complete.connect(_take_over_nothing)
    for name in topics:
        topic = app.topic(
            name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", acks=False
        )
        app.agent(topic, name=f"deliver_{name}")(_agent(name, deliver))
    return app


async def _take_over_nothing(app: FencedApp, **_: object) -> None:
    """Faust performs no seek when it was given no partitions, but a stand-by must know that it has all it gets."""
    if not app.consumer.assignment():
        await app.seek_to_fence(set())


def _agent(topic: str, deliver: Deliver) -> Callable[[Any], Awaitable[None]]:
    async def hand_over(stream: AsyncIterable[Any]) -> None:
        async for event in stream.events():  # type: ignore[attr-defined]
            message = event.message
            record = Record(
                message.offset, int(message.timestamp * 1000), message.key or b"", message.value or b""
            )
            await deliver(topic, message.tp.partition, record)

    return hand_over
