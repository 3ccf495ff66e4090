"""Every input ends in exactly one place: each part of each record of the log is a hit, a drop or a dead letter."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from clickhouse_connect.driver.client import Client

from bench.chaos.poison import MARKER
from bench.chaos.progress import log_ends
from bench.chaos.traffic import FLAW
from streams.topics import CONVERSIONS, DEAD_LETTERS, HITS

_READ_WITHIN_S = 600.0
_FLAW = FLAW.encode()
_SHOWN = 5
_parts_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_letter_of = msgspec.json.Decoder(dict[str, object]).decode


@dataclass
class LogAudit:
    """What the log holds against what the tables say."""

    records: int = 0
    """Of the hits topic."""
    parts: int = 0
    """Hits and bad parts in them."""
    dropped: int = 0
    dead: int = 0
    """Dead letters expected."""
    by_reason: Counter[str] = field(default_factory=Counter)
    """Dead letters found."""
    wrong: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """What does not add up."""
        return self.wrong[: _SHOWN * 2]


async def audit_log(client: Client, database: str, kafka: str, partitions: int) -> LogAudit:
    """Read the topics from their beginning to their end and compare."""
    audit = LogAudit()
    parts: Counter[int] = Counter()
    bad: Counter[tuple[str, int, int, bytes]] = Counter()
    letters: set[str] = set()

    def note(topic: str, partition: int, offset: int, value: bytes) -> None:
        if topic == DEAD_LETTERS:
            letters.add(str(_letter_of(value)["dead_letter_id"]))
            return
        found = _split(value)
        if topic == HITS:
            audit.records += 1
            parts[partition] += len(found)
        for part in found:
            if MARKER in part or _FLAW in part:
                bad[topic, partition, offset, part] += 1

    await _read_all(kafka, (HITS, CONVERSIONS, DEAD_LETTERS), partitions, note)
    await asyncio.to_thread(compare_with_log, client, database, parts, bad, letters, audit)
    return audit


def compare_with_log(
    client: Client,
    database: str,
    parts: Counter[int],
    bad: Counter[tuple[str, int, int, bytes]],
    letters: set[str],
    audit: LogAudit,
) -> None:
    """Note in ``audit`` what differs from the log: ``parts`` by partition, ``bad`` ones by topic, partition, offset and
    bytes, and the ids of the published ``letters``.
    """
    hits: dict[int, int] = dict(
        _rows(client, f"SELECT src_partition, count() FROM {database}.hits GROUP BY src_partition")
    )
    drops: dict[int, int] = dict(
        _rows(client, f"SELECT src_partition, sum(count) FROM {database}.drops GROUP BY src_partition")
    )
    audit.parts, audit.dead, audit.dropped = sum(parts.values()), sum(bad.values()), sum(drops.values())
    found: Counter[tuple[str, int, int, bytes]] = Counter()
    dead: Counter[int] = Counter()
    for letter_id, topic, partition, offset, reason, payload in _rows(
        client,
        "SELECT dead_letter_id, topic, src_partition, src_offset, reason, payload_base64"
        f" FROM {database}.dead_letters",
    ):
        audit.by_reason[reason] += 1
        found[topic, partition, offset, base64.b64decode(payload)] += 1
        dead[partition] += topic == HITS
        if letter_id not in letters:
            audit.wrong.append(f"dead letter {letter_id} is not in {DEAD_LETTERS}")
    for partition, count in sorted(parts.items()):
        kept = (hits.get(partition, 0), drops.get(partition, 0), dead[partition])
        if sum(kept) != count:
            audit.wrong.append(
                f"partition {partition}: {count} in the log, {kept[0]} hits + {kept[1]} drops + {kept[2]} dead letters"
            )
    for name in sorted({*bad, *found}, key=str):
        # A trigger is kept as it is encoded again, so only that there is one is compared.
        if bad[name] != found[name] and name[0] == HITS:
            audit.wrong.append(f"{name[0]} {name[1]}/{name[2]}: {found[name]} dead letters for {bad[name]}")
    at = [Counter(n[:3] for n in names.elements() if n[0] == CONVERSIONS) for names in (bad, found)]
    if at[0] != at[1]:
        audit.wrong.append(f"dead letters of {CONVERSIONS}: {sum(at[1].values())} for {sum(at[0].values())}")


async def _read_all(
    kafka: str, topics: Sequence[str], partitions: int, note: Callable[[str, int, int, bytes], None]
) -> None:
    """Every record that is in the topics now: topic, partition, offset, value."""
    ends = {
        TopicPartition(*at): end for at, end in (await log_ends(kafka, topics, partitions)).items() if end
    }
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, enable_auto_commit=False, max_partition_fetch_bytes=8 << 20
    )
    await consumer.start()
    try:
        async with asyncio.timeout(_READ_WITHIN_S):
            consumer.assign(list(ends))
            await consumer.seek_to_beginning(*ends)
            while ends:
                for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                    for record in records:
                        note(tp.topic, tp.partition, record.offset, record.value or b"")
                for tp in list(ends):
                    if await consumer.position(tp) >= ends[tp]:
                        consumer.pause(tp)
                        del ends[tp]
    finally:
        await consumer.stop()


def _split(value: bytes) -> list[bytes]:
    """The objects of a Kafka value; all of it if it cannot be read."""
    if value[:1] != b"[":
        return [value]
    try:
        return [bytes(part) for part in _parts_of(value)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [value]


def _rows(client: Client, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(query).result_rows]
