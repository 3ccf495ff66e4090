"""Where journals are kept: topics of Kafka, or memory for tests of the stages without a broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from attribution.errors import Transient
from streams.producer import Producer

READ_SECONDS = 20.0
_FETCH_WAIT_MS = 50


class KafkaJournals:
    """Journals in Kafka; see ``streams.journal.JournalLog``."""

    def __init__(self, bootstrap: str, producer: Producer) -> None:
        self._bootstrap = bootstrap
        self._producer = producer

    async def append(self, topic: str, partition: int, value: bytes) -> int:
        """The offset of ``value``, once every in-sync replica has it. Raises ``Transient``."""
        return await self._producer.send(topic, None, value, partition)

    async def read(self, topic: str, partition: int, first: int, end: int) -> list[tuple[int, bytes]]:
        """Offsets and values from ``first`` to before ``end``, as far as retention has left them.

        Raises ``Transient``, also when ``end`` is not reached in time.
        """
        if first >= end:
            return []
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            client_id="headwater-journal",
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # where retention has taken ``first`` away
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        place = TopicPartition(topic, partition)
        found: list[tuple[int, bytes]] = []
        try:
            async with asyncio.timeout(READ_SECONDS):
                await consumer.start()
                consumer.assign([place])
                consumer.seek(place, first)
                # ``end`` is there too, but the embedded broker tells no true end offsets: read until it is passed.
                while (record := await consumer.getone()).offset < end:
                    found.append((record.offset, record.value))
        except (KafkaError, OSError, TimeoutError) as error:
            raise Transient(f"the journal {topic} {partition} cannot be read: {error!r}") from error
        finally:
            await consumer.stop()
        return found


class MemoryJournals:
    """The twin in memory. ``tests/contract`` holds it against Kafka."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, int], list[bytes]] = defaultdict(list)

    async def append(self, topic: str, partition: int, value: bytes) -> int:
        """The offset of ``value``."""
        values = self._values[topic, partition]
        values.append(value)
        return len(values) - 1

    async def read(self, topic: str, partition: int, first: int, end: int) -> list[tuple[int, bytes]]:
        """Offsets and values from ``first`` to before ``end``."""
        return list(enumerate(self._values[topic, partition]))[first:end]
