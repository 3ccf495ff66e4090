"""Carrying a restatement out: stored hits through their topic again where touchpoints change, then a trigger for each
conversion.

Nothing is written here. Timelines are written by the stage that owns the visitor, the ledger by the one that owns the
conversion, among everything else that arrives; so exactly once, journal and balance hold as ever. A job that is stopped
anywhere goes on behind the last parcel that was answered, and what it asks twice changes nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

from redis.asyncio import Redis

from attribution.hit import Hit, Restated, encode_hit
from attribution.policy import AttributionPolicy
from sinks.restate import RestateReader, Span
from sinks.tables import WRITTEN
from streams.courier import Courier, Log, Parcel, Sent
from streams.envelopes import envelopes
from streams.fence import READ_AT_ONCE, FenceStore
from streams.ownership import Writer
from streams.patience import patiently
from streams.policies import policy_bytes, policy_from
from streams.recalling import hit_of
from streams.restatement import CONVERSIONS_PHASE, DONE, HITS_PHASE, Restatement, Restatements
from streams.topics import (
    CONVERSIONS,
    HITS,
    POLICIES_KEY,
    conversion_key,
    dirty_key,
    partition_of,
)
from streams.triggers import Trigger, encode_trigger

TOPICS = (HITS, CONVERSIONS)
PAGE = 20_000
"""Conversions that ClickHouse is asked for at once."""
PARCEL = 1_000
"""Conversions, or about so many hits, of one parcel."""
UNDER_WAY = 6_000
"""Conversions, or hits, that may wait for the worker: about a second's work. What else arrives waits no longer."""
SLICE_HITS = 100_000
"""Hits of one slice of the visitors: what is read at once, and done again when a job is stopped in the middle."""
_POLL_SECONDS = 0.2
_NOTHING = b"[]"
"""An envelope without anything in it."""

OnProgress = Callable[[Restatement, int], None]
"""Called whenever a parcel is answered, with the hits or conversions done in this phase."""


def slices_for(hits: int) -> int:
    """Into how many slices the visitors of ``hits`` hits are cut."""
    return max(1, -(-hits // SLICE_HITS))


async def register_policy(redis: Redis, writer: Writer, policy: AttributionPolicy, now_ms: int) -> None:
    """Let workers and readers find ``policy`` by its version, before anything is to be credited under it."""
    packed = policy_bytes(policy)
    await FenceStore(redis).put_new_field(POLICIES_KEY, policy.version, packed)
    row = (policy.version, packed.decode(), now_ms)
    await asyncio.to_thread(
        writer.insert, "policies", WRITTEN["policies"], [row], f"policies:{policy.version}"
    )


async def policies_known(redis: Redis, versions: Iterable[str]) -> dict[str, AttributionPolicy]:
    """Those of ``versions`` that are kept."""
    wanted = [version for version in versions if version]
    if not wanted:
        return {}
    packed: list[Any] = await patiently(lambda: redis.hmget(POLICIES_KEY, wanted), "redis hmget")
    return {
        version: policy_from(value)
        for version, value in zip(wanted, packed, strict=True)
        if value is not None
    }


async def count_lost(reader: RestateReader, redis: Redis, span: Span, partitions: int) -> int:
    """How many conversions stand in ClickHouse that Redis does not know.

    A report of one of them would be taken for a new conversion and credited a second time.
    """
    lost = 0
    site, conversion_id = "", ""
    while True:
        page = await asyncio.to_thread(reader.conversions_after, span, site, conversion_id, PAGE)
        for start in range(0, len(page), READ_AT_ONCE):
            async with redis.pipeline(transaction=False) as pipe:
                for _, one in page[start : start + READ_AT_ONCE]:
                    pipe.exists(conversion_key(partition_of(one, partitions), one))
                lost += sum(not there for there in await pipe.execute())
        if len(page) < PAGE:
            return lost
        site, conversion_id = page[-1]


class Restating:
    """One job at work. ``run`` returns when everything it asked for has been seen to be answered."""

    def __init__(
        self,
        job: Restatement,
        jobs: Restatements,
        reader: RestateReader,
        log: Log,
        redis: Redis,
        partitions: int,
        on_progress: OnProgress = lambda _job, _done: None,
    ) -> None:
        self.job = job
        self._jobs = jobs
        self._reader = reader
        self._redis = redis
        self._partitions = partitions
        self._on_progress = on_progress
        self._slice_hits = 0
        self._courier = Courier(log, redis, self._answered, most=UNDER_WAY)

    async def run(self) -> Restatement:
        """The job, done. May be cancelled at any moment: whoever runs it again goes on."""
        job = self.job
        await self._jobs.keep(job)
        if not job.cursor:
            await self._until_begun_is_done()
        if job.phase == HITS_PHASE:
            await self._send_hits()
            await self._courier.settle()
            job.phase, job.cursor = CONVERSIONS_PHASE, ""
            await self._jobs.keep(job)
        if job.phase == CONVERSIONS_PHASE:
            await self._send_conversions()
            await self._courier.settle()
            if job.resends_hits:
                await self._until_told()
            job.phase = DONE
            await self._jobs.keep(job)
        return job

    async def _send_hits(self) -> None:
        for slice_ in range(int(self.job.cursor or 0), self.job.slices):
            hits = await asyncio.to_thread(self._hits_of, slice_)
            for parcel in self._parcels_of_hits(hits, str(slice_)):
                await self._courier.send(parcel)
            await self._courier.send(Parcel((), 0, str(slice_ + 1)))

    def _hits_of(self, slice_: int) -> list[tuple[Any, ...]]:
        return list(self._reader.hits_of(self.job.span, self.job.slices, slice_))

    def _parcels_of_hits(self, rows: list[tuple[Any, ...]], cursor: str) -> Iterator[Parcel]:
        """A visitor's hits stay together; only a visitor of very many fills a parcel of his own."""
        restated = Restated(self.job.policy, self.job.recorded_at)
        waiting: list[Hit] = []
        for _, its_rows in groupby(rows, key=lambda row: (row[1], row[2])):
            hits = [hit_of(row, restated) for row in its_rows]
            if waiting and len(waiting) + len(hits) > PARCEL:
                yield self._parcel(HITS, [(hit.visitor_id, encode_hit(hit)) for hit in waiting], cursor)
                waiting = []
            waiting += hits
        if waiting:
            yield self._parcel(HITS, [(hit.visitor_id, encode_hit(hit)) for hit in waiting], cursor)

    async def _send_conversions(self) -> None:
        job = self.job
        site, conversion_id = json.loads(job.cursor) if job.cursor else ("", "")
        while True:
            page = await asyncio.to_thread(
                self._reader.conversions_after, job.span, site, conversion_id, PAGE
            )
            for start in range(0, len(page), PARCEL):
                part = page[start : start + PARCEL]
                wishes = [(one, encode_trigger(self._trigger(its_site, one))) for its_site, one in part]
                await self._courier.send(self._parcel(CONVERSIONS, wishes, json.dumps(part[-1])))
            if len(page) < PAGE:
                return
            site, conversion_id = page[-1]

    def _trigger(self, site: str, conversion_id: str) -> Trigger:
        return Trigger(
            conversion_id=conversion_id,
            site=site,
            visitor_id="",
            hits_partition=-1,
            recorded_at=self.job.recorded_at,
            nonce=self.job.restatement_id,
            policy=self.job.policy,
        )

    def _parcel(self, topic: str, values: list[tuple[str, bytes]], cursor: str) -> Parcel:
        """(key, JSON object) as few records."""
        by_partition: dict[int, list[tuple[str, bytes]]] = defaultdict(list)
        for key, value in values:
            by_partition[partition_of(key, self._partitions)].append((key, value))
        records = [
            Sent(topic, partition, its[0][0].encode(), envelope)
            for partition, its in by_partition.items()
            for envelope in envelopes(value for _, value in its)
        ]
        return Parcel(records, len(values), cursor)

    async def _answered(self, parcel: Parcel) -> None:
        job = self.job
        if job.phase == CONVERSIONS_PHASE:
            job.conversions += parcel.size
            job.cursor = parcel.cursor
            await self._jobs.keep(job)
            self._on_progress(job, job.conversions)
            return
        self._slice_hits += parcel.size
        if job.cursor != parcel.cursor and parcel.size == 0:
            # A slice that is stopped in the middle is sent again from its beginning, and counted once.
            job.hits += self._slice_hits
            self._slice_hits, job.cursor = 0, parcel.cursor
            await self._jobs.keep(job)
        self._on_progress(job, job.hits + self._slice_hits)

    async def _until_begun_is_done(self) -> None:
        """Wait until the fences have passed everything that is in the logs at this moment.

        Some of it may have been begun under former rules, by a worker that is gone, and would be finished under them:
        it has to stand in ClickHouse before anybody looks there for what is to be restated.
        """
        ends = [
            Sent(topic, partition, b"", _NOTHING) for topic in TOPICS for partition in range(self._partitions)
        ]
        await self._courier.send(Parcel(ends, 0, self.job.cursor))
        await self._courier.settle()

    async def _fields(self, key: str) -> set[bytes]:
        found: Any = await patiently(lambda: self._redis.hkeys(key), "redis hkeys")
        return set(found)

    async def _until_told(self) -> None:
        """Wait until credit has answered every conversion that stitch found concerned by the hits sent again."""
        tail = f"|{self.job.policy}".encode()
        for partition in range(self._partitions):
            while True:
                if not any(field.endswith(tail) for field in await self._fields(dirty_key(partition))):
                    break
                await asyncio.sleep(_POLL_SECONDS)


def needs_hits(old: Iterable[AttributionPolicy], new: AttributionPolicy) -> bool:
    """Whether sessions or touchpoints become others, which only the stored hits can tell."""
    return any(policy.touch_rules != new.touch_rules for policy in old)
