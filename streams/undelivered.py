"""Does the log have records that the consumer does not deliver? Asked of the broker, past Faust and its consumer group.

A consumer may stop fetching one partition for good while its process lives and all else works (faust-streaming #175,
#523, #532, #629; robinhood/faust #517).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from faust.types import TP

from attribution.errors import Transient
from streams.vitals import Finding

LOOK_SECONDS = 1.5
_CONNECT_SECONDS = 20.0
_FETCH_WAIT_MS = 250
_FETCH_BYTES = 2 << 20


async def ahead_of(kafka: str, wanted: Mapping[TP, int]) -> set[TP]:
    """Partitions of whose log the broker gives a record at the wanted offset or later. Raises ``Transient``."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka,
        client_id="headwater-watch",
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # where retention has taken the wanted offset away
        fetch_max_wait_ms=_FETCH_WAIT_MS,
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    found: set[TP] = set()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await consumer.start()
            consumer.assign(list(wanted))
            for tp, offset in wanted.items():
                consumer.seek(tp, offset)
        end = asyncio.get_running_loop().time() + LOOK_SECONDS
        while (left := end - asyncio.get_running_loop().time()) > 0 and len(found) < len(wanted):
            for place, records in (await consumer.getmany(timeout_ms=int(left * 1000))).items():
                tp = TP(place.topic, place.partition)
                if any(record.offset >= wanted[tp] for record in records):
                    found.add(tp)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient(f"Kafka at {kafka} cannot be read: {error!r}") from error
    finally:
        await consumer.stop()
    return found


class Undelivered:
    """How long records have been in the log that were not delivered. Pure: time passes when ``wait`` is told."""

    def __init__(self) -> None:
        self._wanted: dict[TP, int] = {}
        self._seconds: dict[TP, float] = {}

    def note(self, wanted: Mapping[TP, int], ahead: set[TP]) -> None:
        """What ``ahead_of`` found about ``wanted``."""
        for tp, offset in wanted.items():
            if tp not in ahead:
                self._wanted.pop(tp, None)
                self._seconds.pop(tp, None)
            elif self._wanted.get(tp) != offset:
                self._wanted[tp], self._seconds[tp] = offset, 0.0

    def forget(self) -> None:
        """Nobody can say any more: the broker is away."""
        self._wanted.clear()
        self._seconds.clear()

    def wait(self, seconds: float, next_offsets: Mapping[TP, int], *, is_held_back: bool) -> Finding:
        """``seconds`` have passed, and these are the records wanted next; the one that was waited for longest.

        ``is_held_back``: some pump has no room, so the consumer may have nothing else to do than to wait. Such time
        does not count.
        """
        longest = Finding("", 0.0, "")
        for tp, offset in list(self._wanted.items()):
            if next_offsets.get(tp) != offset:
                del self._wanted[tp], self._seconds[tp]
                continue
            if not is_held_back:
                self._seconds[tp] += seconds
            if self._seconds[tp] > longest.seconds:
                what = f"record {offset}, which the log has and the consumer does not deliver"
                longest = Finding(f"{tp.topic} {tp.partition}", self._seconds[tp], what)
        return longest
