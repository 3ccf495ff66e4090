"""``headwater learn``: journeys out of ClickHouse, learnt tables into ClickHouse and Redis, and what they say."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from attribution.errors import Misconfigured, Rejected, Transient
from attribution.learnt.journeys import JourneySet, merged
from attribution.learnt.learning import ROUNDS, Facts, is_enough, learn_markov, learn_shapley
from attribution.learnt.tables import EVERY_SITE, ONE, LearntTable, Worth
from runtime.settings import Settings
from runtime.supervisor import die_with_parent
from runtime.wiring import policy_of, words_of
from sinks.client import connect
from sinks.journeys import LIMITS, QUERY_SECONDS, JourneyRange, JourneyReader
from sinks.learnt import effects_of, write_table
from sinks.writer import RowWriter
from streams.learnt import activate_tables, active_tables, keep_tables

log = structlog.get_logger(__name__)

_DAY_MS = 86_400_000
Tick = Callable[[], None]


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """What is asked for; what is left open follows the settings."""

    order: int | None = None
    worth: Worth | None = None
    since: date | None = None
    """First day, UTC."""
    until: date | None = None
    """Last day, UTC, included; None = until now."""
    site: str = ""
    types: tuple[str, ...] = ()
    seed: int = 0
    rounds: int = ROUNDS
    dry_run: bool = False
    activate: bool = True


def run_learn(settings: Settings, options: LearnOptions, *, show: bool = False, child_of: int = 0) -> int:
    """The command; its exit code. ``child_of``: the worker that it learns for, quietly, and ends with."""
    if child_of:
        die_with_parent(child_of)
        os.nice(10)
    console = Console(quiet=bool(child_of))
    return show_active(settings, console) if show else learn(settings, options, console)


def learn(settings: Settings, options: LearnOptions, console: Console) -> int:
    """Learn, say what was learnt, store it and credit by it; 1 if there is too little to learn from.

    Raises ``Rejected``, ``Misconfigured``, ``Transient``.
    """
    client = connect(settings.clickhouse, settings.database, timeout=QUERY_SECONDS)
    for name, value in LIMITS.items():
        client.set_client_setting(name, value)
    reader = JourneyReader(client, settings.database)
    wanted = _range(settings, options)
    if not wanted.types:
        wanted = msgspec.structs.replace(wanted, types=reader.types_of_value(wanted))
    facts = Facts(wanted.from_ms, wanted.to_ms, wanted.learnt_types, options.seed, options.rounds)
    try:
        with _progress(console) as begin:
            sites = _read(reader, wanted, begin)
            tables = [
                learn_markov(
                    sites,
                    facts,
                    options.order or settings.learn_order,
                    begin("Markov", options.rounds * len(sites)),
                ),
                learn_shapley(
                    sites,
                    facts,
                    options.worth or settings.learn_worth,
                    begin("Shapley", options.rounds * len(sites)),
                ),
            ]
    except Rejected as error:
        if error.reason != "too_few_journeys":
            raise
        console.print(error.message)
        log.info("nothing_learnt", why=error.message)
        return 1
    now = int(time.time() * 1000)
    tables = [msgspec.structs.replace(table, learnt_at=now) for table in tables]
    for table in tables:
        _show(console, table)
    if options.dry_run:
        console.print("Nothing was stored (--dry-run).")
        return 0
    store_tables(settings, tables, activate=options.activate)
    versions = ", ".join(f"{table.model} {table.version}" for table in tables)
    log.info("learnt", tables=versions, active=options.activate)
    console.print(
        f"Stored: {versions}; " + ("credited by from now on." if options.activate else "not active.")
    )
    return 0


def store_tables(settings: Settings, tables: Sequence[LearntTable], *, activate: bool) -> None:
    """Into ClickHouse, then where workers find them, then active: whoever finds one of these finds those before."""
    writer = RowWriter(connect(settings.clickhouse, settings.database), settings.database)
    for table in tables:
        write_table(writer, table)
    asyncio.run(_hand_over(settings, tables, activate=activate))


def show_active(settings: Settings, console: Console) -> int:
    """What the active tables say, from ClickHouse; 1 if there are none."""
    active = asyncio.run(_active(settings))
    if not active:
        console.print("No learnt model is active yet: headwater learn")
        return 1
    client = connect(settings.clickhouse, settings.database)
    rows = effects_of(client, settings.database, active.values())
    shown = Table("model", "version", "site", "channel", "effect", "share", "90 % interval", box=None)
    for row in rows:
        shown.add_row(
            *(row[name] for name in ("model", "version")),
            row["site"] or "(all)",
            row["channel"],
            f"{row['effect']:.4f}",
            _percent(row["share"]),
            f"{_percent(row['low'])} to {_percent(row['high'])}",
        )
    console.print(shown)
    return 0


def _range(settings: Settings, options: LearnOptions) -> JourneyRange:
    policy = policy_of(settings)
    lookbacks = policy.conversion_lookbacks_ms
    types = options.types or words_of(settings.learn_types)
    if unknown := set(types) - lookbacks.keys():
        raise Rejected(
            "type", f"{sorted(unknown)[0]!r} is no conversion; there are {', '.join(lookbacks)}.", "--type"
        )
    to_ms = _midnight(options.until + timedelta(days=1)) if options.until else int(time.time() * 1000)
    from_ms = _midnight(options.since) if options.since else to_ms - settings.learn_days * _DAY_MS
    from_ms = max(0, from_ms)
    if from_ms >= to_ms:
        raise Rejected("period", "The first day is after the last.", "--from")
    return JourneyRange(from_ms, to_ms, policy, types, options.site)


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _read(
    reader: JourneyReader, wanted: JourneyRange, begin: Callable[[str, int], Tick]
) -> dict[str, JourneySet]:
    """Journeys of all sites together, and of each one that has enough; of the one that was asked for."""
    slices = reader.slices(wanted)
    counters = reader.read(wanted, slices, begin("Journeys", slices))
    sites = {site: counters.pop(site).result() for site in sorted(counters)}
    if wanted.site:
        return {wanted.site: sites.get(wanted.site, merged([]))}
    enough = {site: journeys for site, journeys in sites.items() if is_enough(journeys)}
    return {EVERY_SITE: merged(sites.values()), **(enough if len(sites) > 1 else {})}


async def _hand_over(settings: Settings, tables: Sequence[LearntTable], *, activate: bool) -> None:
    async def write(redis: Any) -> None:
        await keep_tables(redis, tables)
        if activate:
            await activate_tables(redis, tables)

    await _with_redis(settings, write)


async def _active(settings: Settings) -> dict[str, str]:
    found: dict[str, str] = await _with_redis(settings, active_tables)
    return found


async def _with_redis(settings: Settings, do: Callable[[Any], Any]) -> Any:
    from redis.asyncio import Redis
    from redis.exceptions import AuthenticationError, RedisError

    redis = Redis.from_url(settings.redis)
    try:
        return await do(redis)
    except AuthenticationError as error:
        raise Misconfigured(f"Redis refuses the account: {error}.", "Check HEADWATER_REDIS.") from error
    except (RedisError, OSError) as error:
        raise Transient(f"Redis is away: {error}.") from error
    finally:
        await redis.aclose()


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, int], Tick]]:
    """A bar for each part; the function begins one and gives what moves it on."""
    columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def begin(what: str, steps: int) -> Tick:
            bar = progress.add_task(what, total=steps)
            return lambda: progress.advance(bar)

        yield begin


def _show(console: Console, table: LearntTable) -> None:
    kind = f"order {table.order}" if table.order else table.worth
    for site in table.sites:
        shown = Table("channel", "effect", "share", "90 % interval", box=None)
        for each in sorted(site.channels, key=lambda each: (-each.share, each.channel)):
            shown.add_row(
                each.channel,
                f"{each.effect / ONE:.4f}",
                _percent(each.share / ONE),
                f"{_percent(each.low / ONE)} to {_percent(each.high / ONE)}",
            )
        where = site.site or "all sites"
        console.print(
            f"\n{table.model} ({kind}) of {where}: {site.journeys} journeys, {site.conversions} conversions"
            f" ({', '.join(table.types)})"
            + (f"; orders sampled, effects within {site.error / ONE:.4f}" if site.error else "")
        )
        console.print(shown)


def _percent(share: Any) -> str:
    return f"{float(share) * 100:.1f} %"
