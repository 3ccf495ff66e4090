"""Dead letters back in: each payload is produced again to its topic, and that is written down."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec

from attribution.errors import Rejected
from attribution.spend.report import decode_reports
from sinks.deliveries import StoredDelivery
from sinks.tables import WRITTEN
from sinks.writer import RowWriter
from streams.dead_letters import letter_id
from streams.producer import Producer
from streams.topics import CONVERSIONS, DEALS, HITS, SPEND, partition_of

KEY_FIELD = {HITS: "visitor_id", CONVERSIONS: "conversion_id"}
CHUNK = 1_000


async def replay(
    client: Any,
    writer: RowWriter,
    kafka: str,
    *,
    idempotent: bool,
    partitions: int,
    database: str,
    reason: str = "",
    dry_run: bool = False,
) -> Counter[str]:
    """Send every dead letter that was not replayed yet; counts by reason.

    ``reason`` limits it to one reason; ``dry_run`` only counts. A letter that fails again becomes a new dead
    letter. Between sending and writing it down a crash may send a letter twice: its ``event_id`` makes that
    harmless.
    """
    sql = resources.files("streams").joinpath("sql", "open_dead_letters.sql").read_text()
    counts: Counter[str] = Counter()
    producer = Producer(kafka, partitions, idempotent=idempotent, names=(HITS, CONVERSIONS, SPEND, DEALS))
    if not dry_run:
        await producer.open()
    try:
        rows = client.query(sql.replace("{database}", database), parameters={"reason": reason}).result_rows
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            for _, topic, letter_reason, key, payload in part:
                counts[letter_reason] += 1
                if not dry_run:
                    await _send(producer, topic, base64.b64decode(key), base64.b64decode(payload), partitions)
            if not dry_run:
                now = int(time.time() * 1000)
                ids = [row[0] for row in part]
                token = f"replay:{ids[0]}:{len(ids)}:{now}"
                writer.insert(
                    "dead_letter_replays", WRITTEN["dead_letter_replays"], [(i, now) for i in ids], token
                )
    finally:
        await producer.close()
    return counts


def settle(client: Any, writer: RowWriter, database: str, deliveries: Sequence[StoredDelivery]) -> int:
    """Note that the dead letters of ``deliveries`` have had their effect by another way; how many were still open."""
    sql = resources.files("streams").joinpath("sql", "open_dead_letters.sql").read_text()
    open_ids = {
        row[0]
        for row in client.query(sql.replace("{database}", database), parameters={"reason": ""}).result_rows
    }
    ids = sorted(
        open_ids
        & {letter_id(DEALS, one.broker, one.partition, one.offset, one.position) for one in deliveries}
    )
    now = int(time.time() * 1000)
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        token = f"settled:{part[0]}:{len(part)}:{now}"
        writer.insert("dead_letter_replays", WRITTEN["dead_letter_replays"], [(i, now) for i in part], token)
    return len(ids)


async def _send(producer: Producer, topic: str, key: bytes, payload: bytes, partitions: int) -> None:
    """To the partition of its own key field if the payload can be read, else where its record key says."""
    text = _own_key(topic, payload) or key.decode("utf-8", "replace")
    await producer.send(topic, text.encode(), payload, partition_of(text, partitions))


def _own_key(topic: str, payload: bytes) -> str:
    try:
        if topic == SPEND:
            (report,) = decode_reports(payload)
            return report.partition_key
        own_key = msgspec.json.decode(payload, type=dict[str, Any]).get(KEY_FIELD.get(topic, ""), "")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Rejected, ValueError):
        return ""
    return own_key if isinstance(own_key, str) else ""
