"""An hour of traffic that waits on the log, as the collector lays it there, and what must come of any part of it.

The hits are those of ``bench.traffic``, in their order; they arrive evenly, and a late one is as late as it was there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

import msgspec

from attribution.hit import Hit, encode_envelope
from bench.headwater import BenchFailed
from bench.traffic import RecordOut, Traffic, body_of, build_traffic
from runtime.collector_client import MAX_BATCH, Intake
from streams.topics import partition_of

ROUND_MS = 20
"""At some hundreds of hits a second the collector sends what came while the last round was on its way."""
_PAUSE_S = 0.1


def build_hour(hits: int, rate: float, *, began_at: int, seed: int = 1) -> list[Hit]:
    """``hits`` hits or a few more, ``rate`` a second, received from ``began_at`` (epoch ms) on."""
    arrived = build_traffic(hits, seed=seed).hits
    return [_received(hit, began_at + int(index * 1000 / rate)) for index, hit in enumerate(arrived)]


def _received(hit: Hit, at: int) -> Hit:
    late = hit.received_at - hit.occurred_at
    return msgspec.structs.replace(hit, received_at=at, occurred_at=at - late)


def as_arrived(hits: Sequence[Hit], partitions: int) -> list[RecordOut]:
    """One envelope for each partition and ``ROUND_MS``: a quiet site's log, and the dearest kind to work off."""
    records = []
    for _, round_ in groupby(hits, key=lambda hit: hit.received_at // ROUND_MS):
        by_partition: dict[int, list[Hit]] = {}
        for hit in round_:
            by_partition.setdefault(partition_of(hit.visitor_id, partitions), []).append(hit)
        records += [RecordOut(number, b"", encode_envelope(part)) for number, part in by_partition.items()]
    return records


def traffic_of(hits: list[Hit]) -> Traffic:
    """What must come of exactly these hits."""
    seen: set[str] = set()
    robots = duplicates = orders = revenue = 0
    visitors = {hit.visitor_id for hit in hits}
    for hit in hits:
        if "bot" in hit.user_agent:
            robots += 1
        elif hit.event_id in seen:
            duplicates += 1
        elif hit.value is not None:
            orders += 1
            revenue += int(hit.value.replace(".", ""))
        seen.add(hit.event_id)
    return Traffic(hits, len(visitors), duplicates, robots, orders, revenue)


class Live:
    """Traffic that goes on arriving: batches to a collector, ``rate`` hits a second, each sent until acknowledged."""

    def __init__(self, intake: Intake, hits: Sequence[Hit], rate: float) -> None:
        self._intake = intake
        self._hits = hits
        self._rate = rate
        self._acknowledged: list[tuple[float, int]] = [(0.0, 0)]
        self._task: asyncio.Task[None]
        self.slowest_s = 0.0
        """The longest that a batch waited for its answer."""

    @property
    def sent(self) -> int:
        """Hits acknowledged so far."""
        return self._acknowledged[-1][1]

    def sent_by(self, instant: float) -> int:
        """Hits acknowledged up to an instant (monotonic seconds)."""
        return max(count for at, count in self._acknowledged if at <= instant)

    def check(self) -> None:
        """Raise what ended the traffic before its time: ``BenchFailed``, or what the collector said."""
        if self._task.done():
            self._task.result()

    @asynccontextmanager
    async def arriving(self) -> AsyncIterator[None]:
        """Inside, hits are sent; what is under way at the end is finished."""
        stop = asyncio.Event()
        self._task = asyncio.create_task(self._send(stop))
        try:
            yield
        finally:
            stop.set()
            await self._task

    async def _send(self, stop: asyncio.Event) -> None:
        began = time.monotonic()
        while not stop.is_set():
            due = min(int(self._rate * (time.monotonic() - began)), self.sent + MAX_BATCH)
            if due > len(self._hits):
                raise BenchFailed("the prepared traffic ran out before the worker had caught up")
            if batch := [body_of(hit) for hit in self._hits[self.sent : due]]:
                asked = time.monotonic()
                refused = [refusal for refusal in await self._intake.batch(batch) if refusal is not None]
                if refused:
                    raise BenchFailed(f"the collector refuses hits: {refused[0]}")
                self.slowest_s = max(self.slowest_s, time.monotonic() - asked)
                self._acknowledged.append((time.monotonic(), due))
            await asyncio.sleep(_PAUSE_S)
