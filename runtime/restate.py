"""``headwater restate``: a period credited under another policy, while the stream goes on.

Decides what is to be asked for, or goes on with what was asked for before; shows how far it is; says what has changed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from clickhouse_connect.driver.client import Client
from redis.asyncio import Redis
from rich.console import Console
from rich.text import Text

from attribution.errors import Misconfigured
from attribution.learnt.applied import models_of, with_learnt
from attribution.models import check_models
from attribution.policy import AttributionPolicy
from runtime.restate_report import Board, print_jobs, print_moved, print_summary, span_in_words
from runtime.settings import Settings
from runtime.wiring import policy_in, policy_of
from sinks.client import connect
from sinks.restate import FOREVER_MS, RestateReader, Span
from sinks.writer import RowWriter
from streams.courier import KafkaLog
from streams.fence import FenceStore
from streams.learnt import LearntBook
from streams.policies import KeptPolicy, policy_from
from streams.restate import (
    TOPICS,
    Restating,
    count_lost,
    needs_hits,
    policies_known,
    register_policy,
    slices_for,
)
from streams.restate_preview import preview
from streams.restatement import (
    CONVERSIONS_PHASE,
    GIVEN_UP,
    HITS_PHASE,
    Restatement,
    Restatements,
    new_restatement,
)
from streams.topics import POLICIES_KEY

DAY = timedelta(days=1)


@dataclass(frozen=True)
class RestateOptions:
    """The words of the command line."""

    since: str | None = None
    until: str | None = None
    site: str = ""
    policy: str = ""
    """A file, or the version of a policy that credited before; "" = the active one."""
    hits: str = "auto"
    dry_run: bool = False
    resume: str = ""
    give_up: str = ""
    lists: bool = False


@dataclass(frozen=True)
class _House:
    """Connections to the installation."""

    settings: Settings
    client: Client
    redis: Redis
    reader: RestateReader
    writer: RowWriter
    jobs: Restatements


def restate_command(settings: Settings, options: RestateOptions, console: Console) -> int:
    """The exit code: 0 = done, 1 = stopped before the end. Raises ``Misconfigured`` and ``Transient``."""
    try:
        return asyncio.run(_restate(settings, options, console))
    except KeyboardInterrupt:
        return 1


async def _restate(settings: Settings, options: RestateOptions, console: Console) -> int:
    client = await asyncio.to_thread(connect, settings.clickhouse, settings.database)
    redis = Redis.from_url(settings.redis)
    reader, writer = RestateReader(client, settings.database), RowWriter(client, settings.database)
    house = _House(settings, client, redis, reader, writer, Restatements(redis, reader, writer))
    try:
        if options.lists:
            print_jobs(await house.jobs.all(), console)
            return 0
        if options.give_up:
            return await _give_up(house, options.give_up, console)
        if options.dry_run:
            await _show(house, options, console)
            return 0
        return await _carry_out(house, await _job(house, options, console), console)
    finally:
        await redis.aclose()


async def _show(house: _House, options: RestateOptions, console: Console) -> None:
    """What would change; nothing is written."""
    policy, _ = await _policy(house, options)
    span = span_of(options)
    store = FenceStore(house.redis)
    learnt = LearntBook(store)
    if missing := await learnt.load(policy.learnt.values()):
        raise Misconfigured(f"The learnt tables {', '.join(missing)} are missing.", "Run `headwater learn`.")
    kept = KeptPolicy(policy.version, policy, models_of(policy, learnt.tables))
    active = await active_policy(house.settings, house.redis)
    found = await preview(house.reader, store, house.settings.partitions, span, kept, active)
    print_moved(found.moved(), console)
    _say(
        console,
        f"Under policy {policy.version} {found.changed:,} of {found.looked_at:,} conversions"
        f" ({span_in_words(span)}) would be credited otherwise, by {found.entries.total():,} entries."
        " Nothing has been written.",
    )
    if found.unknown:
        _say(console, f"{found.unknown:,} more are not in Redis and would be passed over (docs/restate.md).")
    if await _resends_hits(house, options, span, policy):
        _say(
            console,
            "Sessions and touchpoints would change as well, which is not in these figures: they are of the touchpoints"
            " as they stand.",
        )


async def _job(house: _House, options: RestateOptions, console: Console) -> Restatement:
    """The job that was begun and not ended, if it asks for the same; else a new one."""
    if options.resume:
        job = await house.jobs.find(options.resume)
        if job.is_over:
            raise Misconfigured(
                f"Restatement {job.restatement_id} is {job.phase}.", "Leave --resume out to begin a new one."
            )
        return job
    policy, is_active = await _policy(house, options)
    span = span_of(options)
    resends = await _resends_hits(house, options, span, policy)
    if resends and not is_active:
        active = await active_policy(house.settings, house.redis)
        if needs_hits([active], policy):
            raise Misconfigured(
                "This policy cuts sessions or names touchpoints by other rules than the workers do.",
                "Start the workers with it first (docs/restate.md, Rules of sessions and touchpoints).",
            )
    known = await house.jobs.all()
    slices = 0
    if resends:
        lost = await count_lost(house.reader, house.redis, Span(span.site), house.settings.partitions)
        if lost:
            raise Misconfigured(
                f"{lost:,} conversions stand in ClickHouse and are not in Redis: their hits would be credited again.",
                "Restore Redis from its copy first, or use --hits no (docs/restate.md, What it never does).",
            )
        slices = slices_for(await asyncio.to_thread(house.reader.hits, span))
    latest = max((job.recorded_at for job in known), default=0)
    now = max(time.time_ns() // 1_000_000, latest + 1)
    job = new_restatement(policy.version, span, slices=slices, recorded_at=now)
    for before in known:
        if before.is_over:
            continue
        if before.is_like(job):
            return before
        _say(
            console,
            f"Restatement {before.restatement_id} was begun and not ended:"
            f" headwater restate --resume {before.restatement_id} (or --give-up {before.restatement_id}).",
        )
    await register_policy(house.redis, house.writer, policy, now)
    return job


async def _carry_out(house: _House, job: Restatement, console: Console) -> int:
    settings = house.settings
    total = await asyncio.to_thread(house.reader.conversions, job.span)
    hits = await asyncio.to_thread(house.reader.hits, job.span) if job.phase == HITS_PHASE else 0
    kafka = KafkaLog(settings.kafka, settings.partitions, idempotent=settings.kafka_idempotent, names=TOPICS)
    _say(
        console,
        f"Restatement {job.restatement_id}: {total:,} conversions under policy {job.policy}"
        + (f", after {hits:,} hits are judged once more" if hits else "")
        + (f"; going on behind {job.hits:,} hits, {job.conversions:,} conversions" if job.cursor else ""),
    )
    board = Board(console, {HITS_PHASE: hits, CONVERSIONS_PHASE: total})
    try:
        with board:
            watching = asyncio.create_task(_count_entries(house, job, board))
            try:
                restating = Restating(
                    job, house.jobs, house.reader, kafka, house.redis, settings.partitions, board.move
                )
                await restating.run()
            finally:
                watching.cancel()
    except (asyncio.CancelledError, KeyboardInterrupt):
        _say(console, f"Stopped. Go on with: headwater restate --resume {job.restatement_id}")
        raise
    finally:
        await kafka.close()
    is_balanced = await asyncio.to_thread(
        print_summary, job, house.reader, house.client, settings.database, board.seconds, console
    )
    return 0 if is_balanced else 1


async def _count_entries(house: _House, job: Restatement, board: Board) -> None:
    """Look now and then how much the ledger has got: a scan, so not often."""
    while True:
        await asyncio.sleep(5)
        board.entries = await asyncio.to_thread(house.reader.entries, job.policy, job.recorded_at)


async def _give_up(house: _House, restatement_id: str, console: Console) -> int:
    """Nothing is taken back: what was restated stands under its policy."""
    job = await house.jobs.find(restatement_id)
    if not job.is_over:
        job.phase = GIVEN_UP
        await house.jobs.keep(job)
    _say(
        console,
        f"Restatement {job.restatement_id} is {job.phase}; the {job.conversions:,} conversions that it came to stand.",
    )
    return 0


async def active_policy(settings: Settings, redis: Redis) -> AttributionPolicy:
    """What the workers credit new conversions under: the settings, and the learnt models that are active."""
    return await _with_active_tables(policy_of(settings), redis)


async def _with_active_tables(policy: AttributionPolicy, redis: Redis) -> AttributionPolicy:
    learnt = LearntBook(FenceStore(redis))
    await learnt.look()
    return with_learnt(policy, learnt.active)


async def active_version(settings: Settings) -> str:
    """Version of the active policy. Raises ``RedisError``."""
    redis = Redis.from_url(settings.redis)
    try:
        return (await active_policy(settings, redis)).version
    finally:
        await redis.aclose()


async def _policy(house: _House, options: RestateOptions) -> tuple[AttributionPolicy, bool]:
    """The policy to credit under, and whether it is the active one."""
    active = await active_policy(house.settings, house.redis)
    if not options.policy:
        return active, True
    policy = await _policy_named(house, options.policy)
    return policy, policy.version == active.version


async def _policy_named(house: _House, name: str) -> AttributionPolicy:
    path = Path(name)
    if path.is_file():
        policy = policy_in(path, house.settings)
        check_models(policy)
        return await _with_active_tables(policy, house.redis)
    packed = await FenceStore(house.redis).field(POLICIES_KEY, name)
    found = packed.decode() if packed else await asyncio.to_thread(house.writer.find_policy, name)
    if found is None:
        raise Misconfigured(
            f"{name} is no file, and no policy of that version has ever credited here.",
            "Name a policy file, or a version as `headwater explain` shows it.",
        )
    return policy_from(found)


async def _resends_hits(
    house: _House, options: RestateOptions, span: Span, policy: AttributionPolicy
) -> bool:
    if options.hits != "auto":
        return options.hits == "yes"
    versions = await asyncio.to_thread(house.reader.policy_versions, span)
    known = await policies_known(house.redis, versions)
    return needs_hits(known.values(), policy)


def span_of(options: RestateOptions) -> Span:
    """Days as instants. Raises ``Misconfigured``."""
    since = _instant(options.since, "--from") if options.since else 0
    until = _instant(options.until, "--to", DAY) if options.until else FOREVER_MS
    if since >= until:
        raise Misconfigured("--from is after --to.", "Name the first and the last day; both belong.")
    return replace(Span(site=options.site), since=since, until=until)


def _instant(day: str, option: str, plus: timedelta = timedelta()) -> int:
    try:
        parsed = date.fromisoformat(day)
    except ValueError as error:
        raise Misconfigured(f"{option} {day} is no day.", "Write it as 2026-05-31 (UTC).") from error
    return int((datetime(parsed.year, parsed.month, parsed.day, tzinfo=UTC) + plus).timestamp() * 1000)


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
