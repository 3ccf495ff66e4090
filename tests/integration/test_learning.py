"""Learning end to end but for the stream: journeys out of ClickHouse, tables into both stores, and the schedule."""

from __future__ import annotations

import asyncio
import io
import os
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis as blocking_redis
from clickhouse_connect.driver.client import Client
from redis.asyncio import Redis
from rich.console import Console
from sinks_rows import NOON, row

import runtime.learn
from attribution.errors import Rejected, Transient
from attribution.learnt.journeys import Journey
from attribution.learnt.markov import removal_effects
from attribution.learnt.tables import LearntTable, Worth
from runtime.learn import LearnOptions, learn, show_active
from runtime.processes import learn_config
from runtime.settings import Settings
from sinks.learnt import effects_of
from sinks.tables import WRITTEN
from sinks.writer import RowWriter
from streams.fence import FenceStore
from streams.learning import LEASE_SECONDS, RETRY_SECONDS, LearnConfig, Learning, LearnState
from streams.learnt import LearntBook
from streams.topics import LEARNT_ACTIVE_KEY, LEARNT_LEASE_KEY, LEARNT_STATE_KEY, LEARNT_TABLES_KEY

DAY_OF_NOON = datetime.fromtimestamp(NOON / 1000, UTC).date()
OPTIONS = LearnOptions(since=DAY_OF_NOON, until=DAY_OF_NOON, rounds=20)
CHANNELS = ("Direct", "Email", "Paid Search")


@pytest.fixture
def settings(clean: tuple[Client, str], engine: str, empty_valkey: str) -> Settings:
    """Of the module's database and an empty Valkey."""
    return Settings(clickhouse=engine, database=clean[1], redis=empty_valkey)


def write(place: tuple[Client, str], journeys: list[tuple[str, Journey]]) -> None:
    """Journeys of some sites, all within the day of ``NOON``: each of a visitor of its own."""
    touches: list[tuple[Any, ...]] = []
    conversions: list[tuple[Any, ...]] = []
    paths: list[tuple[Any, ...]] = []
    for number, (site, journey) in enumerate(journeys):
        for copy in range(journey.converted + journey.lost):
            visitor = {"site": site, "visitor_id": f"v{number}-{copy}"}
            for place_, channel in enumerate(journey.channels):
                at = NOON + place_ * 1000
                name = f"t{number}-{copy}-{place_:02}"
                touches.append(
                    row("touchpoints", **visitor, touchpoint_id=name, touched_at=at, channel=channel)
                )
            if copy < journey.converted:
                fact = {"conversion_id": f"c{number}-{copy}", "converted_at": NOON + 60_000, "value": "1"}
                conversions.append(row("conversions", **visitor, **fact, type="purchase"))
                paths.append(row("paths", site=site, **fact, channels=list(journey.channels)))
    writer = RowWriter(*place)
    for table, rows in (
        ("touchpoints", touches),
        ("conversions", conversions),
        ("paths", paths),
    ):
        writer.insert(table, WRITTEN[table], rows, f"{random.random()}")


def enough(seed: int = 0) -> list[Journey]:
    """Some dozen sequences that make hundreds of journeys."""
    rng = random.Random(seed)
    return [
        Journey(tuple(rng.choices(CHANNELS, k=rng.randint(1, 4))), rng.randint(0, 6), rng.randint(0, 12))
        for _ in range(40)
    ]


def said_by(settings: Settings, options: LearnOptions = OPTIONS) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=140)
    code = learn(settings, options, console)
    return code, console.file.getvalue()  # type: ignore[attr-defined]


def stored(settings: Settings) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Active versions, and tables by version."""
    with blocking_redis.Redis.from_url(settings.redis) as redis:
        return redis.hgetall(LEARNT_ACTIVE_KEY), redis.hgetall(LEARNT_TABLES_KEY)


def test_what_is_learnt_is_printed_stored_and_active(clean: tuple[Client, str], settings: Settings) -> None:
    """The same effects everywhere: those of the journeys; an interval around each share."""
    journeys = enough()
    write(clean, [("shop", journey) for journey in journeys])
    code, said = said_by(settings)
    assert code == 0
    active, tables = stored(settings)
    assert set(active) == {b"markov", b"shapley"}
    assert set(active.values()) == set(tables)
    version = active[b"markov"].decode()
    table = LearntTable.from_bytes(tables[active[b"markov"]], version)
    expected = removal_effects(journeys)
    (site,) = table.sites
    assert {each.channel: each.effect for each in site.channels} == {
        channel: round(effect * 10**9) for channel, effect in expected.items()
    }
    assert (site.journeys, site.conversions) == (
        sum(journey.converted + journey.lost for journey in journeys),
        sum(journey.converted for journey in journeys),
    )
    rows = effects_of(*clean, [version.decode() for version in active.values()])
    assert len(rows) == 2 * len(CHANNELS)
    of_markov = {each["channel"]: each for each in rows if each["model"] == "markov"}
    for each in site.channels:
        found = of_markov[each.channel]
        assert [int(found[name] * 10**9) for name in ("effect", "share", "low", "high")] == [
            each.effect,
            each.share,
            each.low,
            each.high,
        ]
        assert 0 <= each.low <= each.share <= each.high <= 10**9
        assert each.low < each.high
        assert each.channel in said
    assert version in said
    console = Console(file=io.StringIO(), width=140)
    assert show_active(settings, console) == 0
    assert version in console.file.getvalue()  # type: ignore[attr-defined]


def test_learning_the_same_again_changes_nothing(clean: tuple[Client, str], settings: Settings) -> None:
    """A version is its content; another seed, order or worth is another one."""
    write(clean, [("shop", journey) for journey in enough()])
    said_by(settings)
    first = stored(settings)
    said_by(settings)
    assert stored(settings) == first
    count = clean[0].query(f"SELECT count() FROM {clean[1]}.learnt_models").result_rows[0][0]
    assert count == 2 * len(CHANNELS)
    other = LearnOptions(
        since=DAY_OF_NOON, until=DAY_OF_NOON, rounds=20, order=2, worth=Worth.conversions, activate=False
    )
    assert "not active" in said_by(settings, other)[1]
    active, tables = stored(settings)
    assert active == first[0]
    assert len(tables) == 4


def test_a_dry_run_stores_nothing(clean: tuple[Client, str], settings: Settings) -> None:
    """It only says what would be learnt."""
    write(clean, [("shop", journey) for journey in enough()])
    options = LearnOptions(since=DAY_OF_NOON, until=DAY_OF_NOON, rounds=5, dry_run=True)
    code, said = said_by(settings, options)
    assert code == 0
    assert "Paid Search" in said
    assert stored(settings) == ({}, {})
    assert clean[0].query(f"SELECT count() FROM {clean[1]}.learnt_models").result_rows[0][0] == 0


def test_too_little_to_learn_from_is_an_answer(clean: tuple[Client, str], settings: Settings) -> None:
    """Exit code 1 and the least that is needed; nothing is stored."""
    assert said_by(settings)[0] == 1
    write(clean, [("shop", Journey(("Direct", "Email"), 29, 200))])
    code, said = said_by(settings)
    assert code == 1
    assert "229 journeys with 29 conversions are too few" in said
    assert stored(settings) == ({}, {})
    assert show_active(settings, Console(file=io.StringIO())) == 1


def test_each_site_with_enough_journeys_has_effects_of_its_own(
    clean: tuple[Client, str], settings: Settings
) -> None:
    """A small one is credited by those of all sites together."""
    journeys = [("shop", journey) for journey in enough(1)] + [("news", journey) for journey in enough(2)]
    journeys.append(("small", Journey(("Display",), 1, 1)))
    write(clean, journeys)
    assert said_by(settings)[0] == 0
    active, tables = stored(settings)
    table = LearntTable.from_bytes(tables[active[b"markov"]], active[b"markov"].decode())
    assert [site.site for site in table.sites] == ["", "news", "shop"]
    for site in table.sites:
        expected = removal_effects(journey for name, journey in journeys if site.site in ("", name))
        found = {each.channel: each.effect for each in site.channels}
        assert found == {channel: round(effect * 10**9) for channel, effect in expected.items()}
    alone = LearnOptions(since=DAY_OF_NOON, until=DAY_OF_NOON, rounds=5, site="news")
    assert said_by(settings, alone)[0] == 0
    active, tables = stored(settings)
    table = LearntTable.from_bytes(tables[active[b"shapley"]], active[b"shapley"].decode())
    assert [site.site for site in table.sites] == ["news"]


def test_channels_that_the_policy_excludes_are_not_learnt_from(
    clean: tuple[Client, str], settings: Settings, tmp_path: Path
) -> None:
    """Nor Direct, where it says so; such a table knows nothing of them."""
    write(clean, [("shop", journey) for journey in enough()])
    path = tmp_path / "policy.toml"
    for said, left in (
        ('excluded_channels = ["Email"]', {"Direct", "Paid Search"}),
        ('direct = "never"', {"Email", "Paid Search"}),
        ('direct = "only_if_alone"', {"Direct", "Email", "Paid Search"}),
    ):
        path.write_text(f"[touches]\n{said}")
        assert said_by(settings.model_copy(update={"policy": path}))[0] == 0
        active, tables = stored(settings)
        table = LearntTable.from_bytes(tables[active[b"markov"]], active[b"markov"].decode())
        assert {each.channel for each in table.sites[0].channels} == left


def test_wrong_wishes_are_refused_by_name(settings: Settings) -> None:
    """Conversions that do not exist; a period that ends before it begins."""
    with pytest.raises(Rejected, match="'signup' is no conversion; there are purchase"):
        said_by(settings, LearnOptions(types=("signup",)))
    with pytest.raises(Rejected, match="after the last"):
        said_by(settings, LearnOptions(since=DAY_OF_NOON, until=datetime(2020, 1, 1, tzinfo=UTC).date()))


@pytest.mark.parametrize("step", ["write_table", "keep_tables", "activate_tables"])
async def test_an_end_at_any_step_leaves_no_half_table(
    clean: tuple[Client, str], settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What is active is whole, in both stores; the next learning completes what was begun."""
    write(clean, [("shop", journey) for journey in enough(1)])
    await asyncio.to_thread(said_by, settings)
    before = stored(settings)[0]
    write(clean, [("shop", journey) for journey in enough(2)])

    def dies(*_: object) -> None:
        raise Transient("killed")

    with monkeypatch.context() as patched:
        patched.setattr(runtime.learn, step, dies)
        with pytest.raises(Transient):
            await asyncio.to_thread(said_by, settings)
    active, tables = stored(settings)
    assert active == before
    async with Redis.from_url(settings.redis) as redis:
        book = LearntBook(FenceStore(redis))
        await book.look()
        assert {model.encode(): version.encode() for model, version in book.active.items()} == before
        await asyncio.to_thread(said_by, settings)
        await book.look()
        active, tables = stored(settings)
        assert active != before
        assert set(book.active.values()) <= {version.decode() for version in tables}
    for version in active.values():
        assert len(effects_of(*clean, [version.decode()])) == len(CHANNELS)


class Clock:
    """An instant that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def child(code: str, *arguments: object) -> LearnConfig:
    """A schedule of once a day whose child runs ``code``."""
    return LearnConfig(86_400.0, (sys.executable, "-c", code, *map(str, arguments)), dict(os.environ))


async def test_one_worker_at_a_time_learns_when_it_is_due(empty_valkey: str, tmp_path: Path) -> None:
    """Not at once, then once for all, then a day later; soon again after one that came to nothing."""
    notes = tmp_path / "notes"
    config = child("import sys; open(sys.argv[1], 'a').write('x')", notes)
    clock = Clock()
    async with Redis.from_url(empty_valkey) as redis:
        workers = [Learning(redis, config, clock) for _ in range(3)]
        waits = [await worker.tick() for worker in workers]
        assert waits == [300.0] * 3
        assert not notes.exists()
        clock.now += 300
        await asyncio.gather(*(worker.tick() for worker in workers))
        assert notes.read_text() == "x"
        assert await workers[1].tick() == 86_400
        assert await redis.get(LEARNT_LEASE_KEY) is None
        clock.now += 86_400
        assert await Learning(redis, child("raise SystemExit(1)"), clock).tick() == RETRY_SECONDS
        clock.now += RETRY_SECONDS
        await redis.set(LEARNT_LEASE_KEY, "another worker", px=int(LEASE_SECONDS * 1000))
        await workers[0].tick()
        assert notes.read_text() == "x"
        await redis.delete(LEARNT_LEASE_KEY)
        await workers[0].tick()
        assert notes.read_text() == "xx"


def is_running(pid: int) -> bool:
    """Not gone, and not merely waiting to be noticed."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def test_a_worker_that_stops_takes_its_child_with_it(empty_valkey: str, tmp_path: Path) -> None:
    """And leaves the lease to others; learning is still due."""
    began = tmp_path / "pid"
    config = child(
        "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)", began
    )
    clock = Clock()
    async with Redis.from_url(empty_valkey) as redis:
        await Learning(redis, config, clock).tick()
        clock.now += 300
        running = asyncio.create_task(Learning(redis, config, clock).tick())
        async with asyncio.timeout(30):
            while not (began.exists() and began.read_text()):
                await asyncio.sleep(0.02)
        assert await redis.get(LEARNT_LEASE_KEY) is not None
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        pid = int(began.read_text())
        async with asyncio.timeout(30):
            while is_running(pid):
                await asyncio.sleep(0.02)
        assert await redis.get(LEARNT_LEASE_KEY) is None
        state = msgspec.json.decode(await redis.get(LEARNT_STATE_KEY), type=LearnState)
        assert state.next_at <= clock.now


async def test_the_child_of_a_worker_learns_for_it(
    clean: tuple[Client, str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that the schedule runs, as it is; and not for a worker that is gone."""
    write(clean, [("shop", journey) for journey in enough()])
    given = {"CLICKHOUSE": settings.clickhouse, "DATABASE": settings.database, "REDIS": settings.redis}
    for name, value in {**given, "LEARN_DAYS": "36500", "LEARN_ORDER": "2"}.items():
        monkeypatch.setenv(f"HEADWATER_{name}", value)
    config = learn_config(settings)
    assert config is not None
    clock = Clock()
    async with Redis.from_url(settings.redis) as redis:
        orphan = LearnConfig(config.seconds, (*config.command[:-1], "1"), config.environment)
        await Learning(redis, orphan, clock).tick()
        clock.now += 300
        assert await Learning(redis, orphan, clock).tick() == RETRY_SECONDS
        assert stored(settings) == ({}, {})
        clock.now += RETRY_SECONDS
        assert await Learning(redis, config, clock).tick() == settings.learn_hours * 3600
    active, tables = stored(settings)
    assert set(active) == {b"markov", b"shapley"}
    assert LearntTable.from_bytes(tables[active[b"markov"]], active[b"markov"].decode()).order == 2
    assert learn_config(Settings(learn_hours=0)) is None
