"""One suite for journals in Kafka and in memory: what take-overs rely on, on both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from streams.journal import JournalLog
from streams.journal_log import KafkaJournals, MemoryJournals
from streams.producer import Producer
from streams.topics import CONVERSIONS_JOURNAL, HITS_JOURNAL

PARTITIONS = 4


@pytest.fixture
async def kafka_journals(fresh_broker: str, takes_idempotent: bool) -> AsyncIterator[JournalLog]:
    names = (HITS_JOURNAL, CONVERSIONS_JOURNAL)
    producer = Producer(fresh_broker, PARTITIONS, idempotent=takes_idempotent, names=names)
    yield KafkaJournals(fresh_broker, producer)
    await producer.close()


@pytest.fixture
def memory_journals() -> JournalLog:
    return MemoryJournals()


async def check(journals: JournalLog) -> None:
    """Offsets follow each other in each partition, and everything is read back, from anywhere to anywhere."""
    values = [b"%d" % number * 100 for number in range(5)]
    assert [await journals.append(HITS_JOURNAL, 1, value) for value in values] == [0, 1, 2, 3, 4]
    assert await journals.append(HITS_JOURNAL, 2, b"other partition") == 0
    assert await journals.append(CONVERSIONS_JOURNAL, 1, b"other topic") == 0
    assert await journals.read(HITS_JOURNAL, 1, 0, 4) == list(enumerate(values))[:4]
    assert await journals.read(HITS_JOURNAL, 1, 2, 3) == [(2, values[2])]
    assert await journals.read(HITS_JOURNAL, 1, 3, 3) == []


async def test_journals_in_memory(memory_journals: JournalLog) -> None:
    await check(memory_journals)


async def test_journals_in_kafka(kafka_journals: JournalLog) -> None:
    await check(kafka_journals)
