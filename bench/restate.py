"""Restating: conversions credited again under another policy, computation alone and whole way into the ledger.

Every visitor has four touches, nine hits and one order. The worker credits them; then one restatement follows another.
The clock runs from the first trigger until all is seen to be in the ledger; the worker has a core of its own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from redis.asyncio import Redis

from attribution.bulk import Paths, parts_of, share_by_parts
from attribution.bulk.statements import credit_many
from attribution.hit import Hit
from attribution.learnt.applied import models_of
from attribution.ledger import WEIGHT_ONE
from attribution.models import MODELS
from attribution.moves import moves_between
from attribution.past import report_of
from attribution.paths import Path, build_path
from attribution.policy import DAY_MS, AttributionPolicy
from bench.headwater import BenchFailed, Installation, until_ready
from bench.kafka import preload
from bench.machine import Cores, cpu_seconds
from bench.traffic import BEGAN_AT, MINUTE_MS, SITE, envelopes
from bench.worker import PARTITIONS
from sinks.client import connect
from sinks.restate import RestateReader, Span
from sinks.writer import RowWriter
from streams.courier import KafkaLog
from streams.fence import READ_AT_ONCE, FenceStore
from streams.ledger_lines import lines_between
from streams.pasts import read_pasts
from streams.people import People
from streams.recredit import pack_state, state_of
from streams.restate import TOPICS, Restating, register_policy
from streams.restatement import Restatements, new_restatement
from streams.topics import conversion_key, partition_of

_WAYS = (
    "https://shop.example/b?utm_source=newsletter&utm_medium=email&utm_campaign=may",
    "https://shop.example/c?gclid=abc",
    "https://shop.example/d?utm_source=linkedin&utm_medium=paid-social&utm_campaign=x",
    "https://shop.example/a?utm_source=partner&utm_medium=affiliate&utm_campaign=y",
)
_TOUCHES = len(_WAYS)
TARGET = 1_000_000 / 30
"""Conversions a second and core: a million in 30 s."""
_SIX = ("first_touch", "last_touch", "last_non_direct_touch", "linear", "position_based", "time_decay")
_EVERY = tuple(MODELS)
_STALLED_S = 120.0

Row = tuple[str, str, str, str, str]
"""Figure, ours, beside, ratio, target."""


@dataclass(frozen=True)
class _Restated:
    """One restatement, whole way."""

    name: str
    conversions: int
    entries: int
    seconds: float
    worker_cpu: float
    servers_cpu: float


async def measure_restate(conversions: int, cores: Cores, say: Callable[[str], None]) -> list[Row]:
    """Rows of the table. Raises ``BenchFailed``."""
    hits = _hits(conversions)
    rows: list[Row] = []
    async with Installation.open(PARTITIONS) as house:
        await preload(house.servers.kafka, "headwater.hits.v1", envelopes(hits, PARTITIONS))
        with house.worker(cores.measured) as (process, port):
            await until_ready(port, "/readyz", "the worker")
            say(f"restate: crediting {conversions:,} conversions for the first time")
            await _until_credited(house, conversions)
            twelve = AttributionPolicy(models=_EVERY)
            halved = AttributionPolicy(models=_EVERY, time_decay_half_life_ms=14 * DAY_MS)
            windows = {**twelve.conversion_lookbacks_ms, "unused": DAY_MS}
            wider = msgspec.structs.replace(
                halved, conversion_lookbacks_ms={**windows, "purchase": 100 * DAY_MS}
            )
            for name, policy in (
                ("six models", AttributionPolicy(models=_SIX)),
                (f"six models to all {len(_EVERY)}", twelve),
                ("another half-life", halved),
                ("nothing changes", msgspec.structs.replace(halved, conversion_lookbacks_ms=windows)),
                ("a wider window, pasts read again, nothing changes", wider),
            ):
                say(f"restate: {name}")
                rows += _rows_of(await _restate(house, name, policy, process.pid))
        say("restate: computation alone")
        rows += await _alone(house, conversions, halved)
    return rows


def _hits(conversions: int) -> list[Hit]:
    rng = random.Random(1)
    hits: list[Hit] = []
    for number in range(conversions):
        visitor = f"visitor-{number:08d}"
        at = BEGAN_AT + rng.randrange(DAY_MS)

        def hit(name: str, moment: int, visitor: str = visitor, **fields: str) -> Hit:
            return Hit(
                event_id=f"{visitor}-{name}",
                site=SITE,
                visitor_id=visitor,
                occurred_at=moment,
                received_at=moment,
                **fields,  # type: ignore[arg-type]
            )

        for touch in range(_TOUCHES):
            moment = at + 2 * touch * DAY_MS + rng.randrange(DAY_MS)
            hits.append(hit(f"{touch}", moment, url=_WAYS[touch]))
            hits.append(hit(f"{touch}b", moment + MINUTE_MS, url="https://shop.example/a"))
        hits.append(
            hit(
                "buy",
                at + 9 * DAY_MS,
                event="purchase",
                value=f"{rng.randrange(300)}.{rng.randrange(100):02d}",
                currency="USD",
                order_id=f"order-{number}",
            )
        )
    return hits


async def _until_credited(house: Installation, conversions: int) -> None:
    moved, count = time.monotonic(), -1
    while True:
        found = int((await asyncio.to_thread(house.ask, "SELECT uniqExact(conversion_id) FROM credits"))[0])
        if found >= conversions:
            return
        if found != count:
            moved, count = time.monotonic(), found
        if time.monotonic() - moved > _STALLED_S:
            raise BenchFailed(f"restate: {found} of {conversions} conversions credited, then nothing")
        await asyncio.sleep(0.3)


async def _restate(house: Installation, name: str, policy: AttributionPolicy, pid: int) -> _Restated:
    settings = house.settings
    client = await asyncio.to_thread(connect, settings.clickhouse, settings.database)
    redis = Redis.from_url(settings.redis)
    reader, writer = RestateReader(client, settings.database), RowWriter(client, settings.database)
    kafka = KafkaLog(settings.kafka, PARTITIONS, idempotent=False, names=TOPICS)
    now = time.time_ns() // 1_000_000
    try:
        await register_policy(redis, writer, policy, now)
        job = new_restatement(policy.version, Span(), slices=0, recorded_at=now)
        began, used, servers = time.monotonic(), cpu_seconds(pid), house.servers_cpu()
        jobs = Restatements(redis, reader, writer)
        await Restating(job, jobs, reader, kafka, redis, PARTITIONS).run()
        seconds = time.monotonic() - began
        cpu, servers = cpu_seconds(pid) - used, house.servers_cpu() - servers
        written = await asyncio.to_thread(reader.entries, policy.version, now)
        return _Restated(name, job.conversions, written, seconds, cpu, servers)
    finally:
        await kafka.close()
        await redis.aclose()


def _rows_of(one: _Restated) -> list[Row]:
    said = f"{one.conversions:,} conversions, {one.entries / one.conversions:.1f} entries each"
    per_cpu = one.conversions / one.worker_cpu
    return [
        (
            f"restate, {one.name}: conversions per CPU second of the worker",
            f"{per_cpu:,.0f}",
            said,
            f"{per_cpu / TARGET:.2f} x",
            f"{TARGET:,.0f}",
        ),
        (
            f"restate, {one.name}: conversions/s by the clock",
            f"{one.conversions / one.seconds:,.0f}",
            f"servers' CPU {one.servers_cpu / one.conversions * 1e6:,.0f} us each",
            "",
            "",
        ),
    ]


async def _alone(house: Installation, conversions: int, policy: AttributionPolicy) -> list[Row]:
    """What the credit stage computes for some thousands, step by step; and every model over all paths at once."""
    redis = Redis.from_url(house.settings.redis)
    client = await asyncio.to_thread(connect, house.settings.clickhouse, house.settings.database)
    reader, store = RestateReader(client, house.settings.database), FenceStore(redis)
    ids = await asyncio.to_thread(reader.conversions_after, Span(), "", "", READ_AT_ONCE)
    keys = [conversion_key(partition_of(one, PARTITIONS), one) for _, one in ids]
    packed = [value for value in await store.load(keys) if value is not None]
    states = [state_of(value) for value in packed]
    facts = [state.conversion.winner for state in states]
    began = time.process_time()
    known = [state.conversion for state in states]
    pasts = await read_pasts(People(store, PARTITIONS), known, policy.identity)
    steps = {"timelines read and cut": (time.process_time() - began) / len(facts)}
    await redis.aclose()
    new = msgspec.structs.replace(policy, time_decay_half_life_ms=3 * DAY_MS)
    models = models_of(new)

    def timed(name: str, work: Callable[[], object]) -> None:
        took = []
        for _ in range(3):
            begin = time.process_time()
            work()
            took.append(time.process_time() - begin)
        steps[name] = min(took) / len(facts)

    paths = [build_path(past, report_of(fact), new) for past, fact in zip(pasts, facts, strict=True)]
    timed("states unpacked", lambda: [state_of(value) for value in packed])
    timed("paths", lambda: [build_path(p, report_of(f), new) for p, f in zip(pasts, facts, strict=True)])
    timed("all models, statements packed", lambda: credit_many(facts, paths, new, models))
    statements = credit_many(facts, paths, new, models)
    both = list(zip(states, statements, strict=True))
    timed("moves", lambda: [moves_between(old.statement, one) for old, one in both])
    why = ("policy", "v", 0)
    timed(
        "entries written out",
        lambda: [
            lines_between(f.site, f.conversion_id, old.statement, one, why)
            for f, (old, one) in zip(facts, both, strict=True)
        ],
    )
    timed("states packed", lambda: [pack_state(state) for state in states])
    whole = sum(steps.values()) - steps["moves"]  # they are part of the next step
    said = ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in steps.items())
    bulk = _bulk(paths, facts_value=[fact.value_minor or 0 for fact in facts], policy=new)
    return [
        (
            f"restate, computation alone, all {len(_EVERY)} models: conversions per CPU second",
            f"{1 / whole:,.0f}",
            f"us each: {said}",
            f"{1 / whole / TARGET:.2f} x",
            f"{TARGET:,.0f}",
        ),
        (
            f"restate, all {len(_EVERY)} models over paths that are at hand, at once: conversions per CPU second",
            f"{bulk:,.0f}",
            "divided and shared, nothing else",
            f"{bulk / TARGET:.2f} x",
            f"{TARGET:,.0f}",
        ),
    ]


def _bulk(paths: list[Path], *, facts_value: list[int], policy: AttributionPolicy) -> float:
    """Paths a second of processor time, with weights and money of every model."""
    times = max(1, 100_000 // len(paths))
    many = Paths.of(paths * times)
    values = np.array(facts_value * times, dtype=np.int64)
    ones = np.full(len(values), WEIGHT_ONE, dtype=np.int64)
    began = time.process_time()
    for name in _EVERY:
        parts = parts_of(name, many, policy)
        share_by_parts(ones, parts, many.offsets)
        share_by_parts(values, parts, many.offsets)
    return len(values) / (time.process_time() - began)
