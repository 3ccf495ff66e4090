"""Restatement jobs: what was asked for and how far it came, kept so that any process can go on with it.

A job stands in Redis (``RESTATEMENTS_KEY``) and, at the steps that matter, in ClickHouse (``restatements``).
It changes nothing itself: conversions are written by the stage that owns them, on triggers (``streams.restate``).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from functools import partial

import msgspec
from redis.asyncio import Redis

from attribution.errors import Misconfigured
from sinks.restate import RestateReader, Span
from sinks.tables import WRITTEN
from streams.ownership import Writer
from streams.patience import patiently
from streams.topics import RESTATEMENTS_KEY

HITS_PHASE, CONVERSIONS_PHASE, DONE, GIVEN_UP = "hits", "conversions", "done", "given up"
NOTED_EVERY_SECONDS = 30.0
"""How often the progress of a running job is written to ClickHouse; Redis has it at every step."""


class Restatement(msgspec.Struct, kw_only=True):
    """One job. Instants are epoch milliseconds, UTC."""

    restatement_id: str
    policy: str
    """Version of the policy that its conversions are credited under."""
    span: Span
    resends_hits: bool
    slices: int
    """Into how many parts the visitors are cut whose hits are sent again; 0 = none is."""
    recorded_at: int
    """When it began. No entry that it writes is dated before; no two jobs began at the same millisecond."""
    phase: str
    cursor: str = ""
    """Everything before it is answered: number of a slice, or site and id of a conversion (JSON)."""
    hits: int = 0
    """Sent again and judged once more."""
    conversions: int = 0
    """Looked at by the credit stage."""

    @property
    def is_over(self) -> bool:
        """Nothing is left to do."""
        return self.phase in (DONE, GIVEN_UP)

    def is_like(self, other: Restatement) -> bool:
        """The same was asked for."""
        return (self.policy, self.span, self.resends_hits) == (other.policy, other.span, other.resends_hits)


def new_restatement(policy: str, span: Span, *, slices: int, recorded_at: int) -> Restatement:
    """A job that has not begun. ``slices`` > 0: hits are sent again first."""
    return Restatement(
        restatement_id=secrets.token_hex(6),
        policy=policy,
        span=span,
        resends_hits=slices > 0,
        slices=slices,
        recorded_at=recorded_at,
        phase=HITS_PHASE if slices else CONVERSIONS_PHASE,
    )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Restatement).decode


class Restatements:
    """The jobs of one installation."""

    def __init__(self, redis: Redis, reader: RestateReader, writer: Writer) -> None:
        self._redis = redis
        self._reader = reader
        self._writer = writer
        self._noted: dict[str, tuple[str, float]] = {}

    async def keep(self, job: Restatement) -> None:
        """Write down where ``job`` is."""
        await patiently(
            lambda: self._redis.hset(RESTATEMENTS_KEY, job.restatement_id, _encode(job)), "redis hset"
        )
        phase, noted_at = self._noted.get(job.restatement_id, ("", 0.0))
        if phase == job.phase and time.monotonic() - noted_at < NOTED_EVERY_SECONDS:
            return
        self._noted[job.restatement_id] = (job.phase, time.monotonic())
        now = time.time_ns() // 1_000_000
        row = (
            *(job.restatement_id, job.policy, job.span.site, job.span.since, job.span.until),
            *(int(job.resends_hits), job.phase, job.cursor, job.slices, job.hits, job.conversions),
            *(job.recorded_at, now),
        )
        token = f"restatements:{job.restatement_id}:{now}"
        call = partial(self._writer.insert, "restatements", WRITTEN["restatements"], [row], token)
        await patiently(lambda: asyncio.to_thread(call), "clickhouse restatements")

    async def all(self) -> list[Restatement]:
        """Every job that anybody remembers, the newest first. Redis is ahead of ClickHouse, where it knows a job."""
        rows = await asyncio.to_thread(self._reader.restatements)
        found = {row[0]: _of_row(row) for row in rows}
        kept = await patiently(lambda: self._redis.hgetall(RESTATEMENTS_KEY), "redis hgetall")
        found |= {job.restatement_id: job for job in map(_decode, kept.values())}
        return sorted(found.values(), key=lambda job: -job.recorded_at)

    async def find(self, restatement_id: str) -> Restatement:
        """The job of that id. Raises ``Misconfigured``."""
        for job in await self.all():
            if job.restatement_id == restatement_id:
                return job
        raise Misconfigured(
            f"No restatement {restatement_id} is known.", "See `headwater restate --list` for those that are."
        )


async def unfinished(redis_url: str) -> list[str]:
    """Ids of the jobs that were begun and not ended, as Redis knows them, the newest first. Raises ``RedisError``."""
    redis = Redis.from_url(redis_url)
    try:
        jobs = [_decode(value) for value in await redis.hvals(RESTATEMENTS_KEY)]
    finally:
        await redis.aclose()
    jobs.sort(key=lambda job: -job.recorded_at)
    return [job.restatement_id for job in jobs if not job.is_over]


def _of_row(row: tuple[object, ...]) -> Restatement:
    """A row of ``sql/restatements.sql``."""
    names = ("restatement_id", "policy", "site", "since", "until", "resends_hits", "phase", "cursor")
    fields = dict(zip((*names, "slices", "hits", "conversions", "recorded_at"), row, strict=True))
    span = {name: fields.pop(name) for name in ("site", "since", "until")}
    return msgspec.convert(fields | {"span": span, "resends_hits": bool(fields["resends_hits"])}, Restatement)
