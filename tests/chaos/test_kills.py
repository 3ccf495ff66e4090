"""``kill -9`` of every part under load, then the count (the long version is ``make kills``); and the judge itself."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from redis.asyncio import Redis

from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from bench.chaos.books import BooksReader
from bench.chaos.faults import PARTS, Way, plan_blows
from bench.chaos.journal import Journal, Ledger
from bench.chaos.log_audit import LogAudit, compare_with_log
from bench.chaos.replay import compare_databases
from bench.chaos.traffic import Event, Traffic
from bench.chaos.verdict import Verdict, judge
from bench.kills import KillsOptions, run_kills, tell
from sinks.client import connect
from sinks.migrate import migrate
from sinks.tables import PATHS_COLUMNS
from sinks.writer import RowWriter
from streams.fence import FenceStore
from streams.journal_log import MemoryJournals
from streams.records import Batch, Record
from streams.rules import StitchRules
from streams.takeover import Tools, take_over
from streams.topics import CONVERSIONS, HITS

PARTITIONS = 4
NOW_MS = 1_795_000_000_000


@pytest.mark.slow
async def test_nothing_is_lost_and_nothing_counts_twice_whatever_dies(tmp_path: Path) -> None:
    """Each part once, a worker together with the broker: every acknowledged event once, every table as the oracle's."""
    options = KillsOptions(tmp_path / "up", kills=7, seed=20, rate=60.0, is_short=True)
    report = await run_kills(options)
    print(tell(report))
    assert report.faults == []
    assert sum(report.kills.values()) == 7
    assert all(report.kills[part] >= 1 for part in PARTS)
    assert report.verdict.acknowledged > 300
    assert report.polls > 10  # the books were looked at all the while, however slow the machine


@pytest.mark.parametrize("seed", range(5))
def test_the_full_plan_strikes_every_part_often_and_in_every_way(seed: int) -> None:
    blows = plan_blows(32, seed)
    assert sum(blow.kills for blow in blows) >= 32
    for part in PARTS:
        assert sum(blow.parts.count(part) for blow in blows if blow.kills) >= 5
    assert {blow.way for blow in blows} == set(Way)
    assert plan_blows(32, seed) == blows


def test_traffic_is_the_same_for_the_same_seed_and_has_what_makes_trouble() -> None:
    first, again = (
        list(islice(Traffic(3, "r", PARTITIONS, slices=3, now=lambda: NOW_MS).events(), 5_000))
        for _ in range(2)
    )
    assert first == again
    ids = [event.event_id for event in first]
    assert len(set(ids)) < len(ids)
    assert any(event.is_robot for event in first)
    orders = [event.fields["order_id"] for event in first if "order_id" in event.fields]
    assert len(set(orders)) < len(set(ids) & {e.event_id for e in first if "order_id" in e.fields})
    last: dict[str, int] = {}
    late = 0
    for event in first:
        at = int(event.fields["occurred_at"])
        late += at < last.get(event.visitor_id, 0)
        last[event.visitor_id] = max(at, last.get(event.visitor_id, 0))
    assert late > 100
    assert sum("sent_at" in event.fields for event in first) > 50, "wrong clocks"
    reporters: dict[str, set[int]] = {}
    for event in first:
        reporters.setdefault(event.fields.get("order_id", event.event_id), set()).add(event.slice)
    assert all(len(slices) == 1 for slices in reporters.values())
    assert {event.slice for event in first} == {0, 1, 2}
    traffic = Traffic(3, "r", PARTITIONS, slices=3)
    assert all(event.visitor_id.startswith(traffic.prefix(event.slice)) for event in first)


def test_the_journal_gives_back_what_was_noted(tmp_path: Path) -> None:
    traffic = Traffic(4, "r", PARTITIONS, slices=3)
    events = list(islice(traffic.events(), 1_000))
    with Journal(tmp_path / "journal", 3) as journal:
        journal.leaves(events)
        journal.arrived(events[::2])
        found = dict(journal.ledgers())
    assert (journal.left, journal.copies) == (1_000, 500)
    for slice_ in range(3):
        of_slice = {event.event_id: event for event in events if event.slice == slice_}
        assert found[slice_].sent == of_slice
        assert found[slice_].acknowledged == {e.event_id for e in events[::2] if e.slice == slice_}


def heard(event: Event) -> Hit:
    """What a collector makes of an event."""
    times = ("occurred_at", "sent_at")
    fields = {name: value for name, value in event.fields.items() if name not in times}
    at = int(event.fields["occurred_at"])
    return Hit(**fields, site="s", occurred_at=at, received_at=at + 9, user_agent=event.user_agent)


async def store(redis_url: str, writer: RowWriter, hits: list[Hit]) -> None:
    """The stages of a worker with one partition over ``hits``."""
    triggers: list[Record] = []

    async def send(topic: str, key: bytes, value: bytes) -> None:
        if topic == CONVERSIONS:
            triggers.append(Record(len(triggers), 0, key, value))

    async with Redis.from_url(redis_url) as redis:
        rules = StitchRules(AttributionPolicy(), "USD", 1)
        tools = Tools("b", FenceStore(redis), MemoryJournals(), writer, send, rules)
        stitch = (await take_over(tools, HITS, 0)).stage
        records = [Record(number, 0, b"", encode_envelope([hit])) for number, hit in enumerate(hits)]
        await stitch.process(Batch(HITS, 0, "b", records))
        credit = (await take_over(tools, CONVERSIONS, 0)).stage
        await credit.process(Batch(CONVERSIONS, 0, "b", triggers))


@pytest.fixture
async def stored(engine: str, empty_valkey: str, fresh_database: str) -> tuple[Client, str, Ledger]:
    """A database that is as it should be, and the ledger of what was sent."""
    client = connect(engine, fresh_database)
    migrate(client, fresh_database)
    events = list(islice(Traffic(5, "r", 1).events(), 300))
    await store(empty_valkey, RowWriter(client, fresh_database), [heard(event) for event in events])
    ledger = Ledger()
    ledger.leaves(events)
    ledger.arrived(events)
    return client, fresh_database, ledger


async def test_the_judge_finds_a_path_that_is_missing_doubled_or_another(
    stored: tuple[Client, str, Ledger],
) -> None:
    """Each in tables that are right but for it, in a path with touchpoints and in one without."""
    client, database, ledger = stored
    paths = f"{database}.paths"
    slices = [(Traffic(5, "r", 1).prefix(0), ledger)]

    def judged() -> Verdict:
        return judge(client, database, "s", slices, AttributionPolicy())

    numbers = count()

    def insert(path: dict[str, Any], sign: int = 1, **changed: Any) -> None:
        row = {**path, **changed, "sign": sign}
        names = list(PATHS_COLUMNS)
        # The same row is put in and taken out more than once.
        settings = {"insert_deduplication_token": f"{next(numbers)}"}
        client.insert(paths, [[row[name] for name in names]], column_names=names, settings=settings)

    sound = judged()
    assert sound.faults == []
    assert sound.compared["paths"] == sound.compared["conversions"] > 5
    second = timedelta(seconds=1)
    for kind in ("touchpoints > 0", "touchpoints = 0"):
        once = f"SELECT conversion_id FROM {paths} GROUP BY conversion_id HAVING count() = 1"
        query = f"SELECT * FROM {paths} WHERE {kind} AND conversion_id IN ({once}) LIMIT 1"
        path = next(iter(client.query(query).named_results()))
        others: tuple[dict[str, Any], ...] = (
            {"channels": [*path["channels"], "Email"]},
            {"value": path["value"] + 1},
            {"currency": "EUR"},
            {"conversion_type": "another"},
            {"converted_at": path["converted_at"] + second},
            {"first_touch_at": path["first_touch_at"] - second},
            {"last_touch_at": path["last_touch_at"] - second},
            {"site": "elsewhere"},
        )
        for sign, stands in ((-1, "0 times for 1"), (1, "2 times for 1")):
            insert(path, sign)
            verdict = judged()
            assert [line.partition(" stands ")[2] for line in verdict.differences["paths"]] == [stands]
            assert any(fault.startswith("paths (1): ") for fault in verdict.faults)
            insert(path, -sign)
        insert(path, -1)
        for other in others:
            insert(path, **other)
        assert len(judged().differences["paths"]) == 1 + len(others)
        insert(path, 1)
        for other in others:
            insert(path, -1, **other)
        assert judged().faults == []
    insert(path, conversion_id="of-nobody")
    verdict = judged()
    assert verdict.strangers["paths"] == 1
    assert any("paths holds 1 rows of conversions" in fault for fault in verdict.faults)


async def test_the_judge_finds_every_kind_of_fault(stored: tuple[Client, str, Ledger]) -> None:
    """One fault after the other in tables that were right before."""
    client, database, ledger = stored

    def judged() -> Verdict:
        return judge(client, database, "s", [("", ledger)], AttributionPolicy())

    def judge_slice() -> Verdict:
        slices = [(Traffic(5, "r", 1).prefix(0), ledger)]
        return judge(client, database, "s", slices, AttributionPolicy())

    verdict = judged()
    assert verdict.faults == []
    assert verdict.compared["dropped_conversions"] > 1
    assert min(count for table, count in verdict.compared.items() if table != "dropped_conversions") > 5
    assert verdict.stored == verdict.acknowledged - verdict.robots > 100

    lost = Event("r-lost", "v", {"event_id": "r-lost", "visitor_id": "v", "occurred_at": "1"}, "")
    ledger.leaves([lost])
    assert judged().faults == [], "sent and never acknowledged: it may be stored or not"
    ledger.arrived([lost])
    assert judged().missing == ["r-lost"]
    ledger.acknowledged.discard("r-lost")

    robot = next(event for event in ledger.sent.values() if event.is_robot)
    kept = next(event for event in ledger.sent.values() if not event.is_robot)
    del ledger.sent[kept.event_id]
    ledger.acknowledged.discard(kept.event_id)
    assert any("never sent" in said for said in judged().invented)
    ledger.leaves(
        [Event(kept.event_id, kept.visitor_id, {**kept.fields, "order_id": "other"}, kept.user_agent)]
    )
    assert any("order_id" in said for said in judged().invented)
    ledger.leaves([kept])
    ledger.arrived([kept])
    assert robot.event_id not in judged().missing
    assert judged().faults == []

    def copy(table: str, what: str = "*") -> None:
        client.command(f"INSERT INTO {database}.{table} SELECT {what} FROM {database}.{table} LIMIT 1")

    for table, flipped in (
        ("touchpoints", "* REPLACE (-1 AS sign)"),
        ("sessions", "*"),
        ("conversions", "*"),
    ):
        copy(table, flipped)
        assert judged().differences[table]
    links = f"INSERT INTO {database}.identity_links SELECT * REPLACE ({{}}) FROM {database}.identity_links LIMIT 1"
    client.command(links.format("-1 AS sign"))
    assert len(judged().differences["identity_links"]) == 1
    client.command(links.format("'user:other' AS id"))
    assert len(judged().differences["identity_links"]) == 2
    client.command(links.format("'of-no-slice' AS visitor_id"))
    assert judge_slice().strangers["identity_links"] == 1

    claims = f"{database}.dropped_conversions"
    copied = f"INSERT INTO {claims} SELECT * REPLACE (src_offset + 1 AS src_offset) FROM {claims}"
    client.command(copied)
    assert judged().differences["dropped_conversions"] == [], "a robot may come twice"
    one, type_ = client.query(f"SELECT event_id, conversion_type FROM {claims} LIMIT 1").result_rows[0]
    client.command(
        f"INSERT INTO {claims} SELECT * REPLACE (1234.5 AS value) FROM {claims} WHERE event_id = '{one}'"
    )
    assert judged().differences["dropped_conversions"] == [f"{one} {type_} 1234.5 was never sent"]
    client.command(f"ALTER TABLE {claims} DELETE WHERE event_id = '{one}' SETTINGS mutations_sync = 1")
    assert any("is missing" in said for said in judged().differences["dropped_conversions"])

    copy("credits")
    verdict = judged()
    assert verdict.differences["credits"]
    assert {check.name for check in verdict.checks if not check.passed} >= {"books", "signs_sessions"}
    copy("hits")
    verdict = judged()
    assert len(verdict.duplicated) == 1
    assert len(verdict.faults) > 5
    client.command(f"TRUNCATE TABLE {database}.channel_metrics")
    assert "roll_up" in {check.name for check in judged().checks if not check.passed}


def test_a_replay_is_compared_in_every_table(stored: tuple[Client, str, Ledger]) -> None:
    """Equal at first; then one fault after the other in the second database."""
    client, first, _ = stored
    second = f"{first}_again"
    migrate(client, second)
    try:
        for table in (
            *("hits", "sessions", "touchpoints", "drops", "dead_letters", "conversions", "paths", "credits"),
            "identity_links",
            "dropped_conversions",
        ):
            client.command(f"INSERT INTO {second}.{table} SELECT * FROM {first}.{table}")
        replayed = compare_databases(client, first, second)
        assert replayed.faults == []
        assert min(replayed.compared[name] for name in ("hits", "sessions", "credits", "channel_metrics")) > 5
        assert replayed.same_last_entry == 1.0

        def differs(change: str) -> set[str]:
            client.command(change)
            found = compare_databases(client, first, second)
            return {table for table, said in found.differences.items() if said}

        assert differs(f"INSERT INTO {second}.hits SELECT * FROM {second}.hits LIMIT 1") >= {"hits"}
        for table, flipped in (
            ("sessions", "* REPLACE (-1 AS sign)"),
            ("touchpoints", "*"),
            ("conversions", "*"),
            ("paths", "*"),
            ("identity_links", "*"),
        ):
            assert table in differs(
                f"INSERT INTO {second}.{table} SELECT {flipped} FROM {second}.{table} LIMIT 1"
            )
        assert "drops" in differs(f"INSERT INTO {second}.drops SELECT * FROM {second}.drops LIMIT 1")
        claims = f"{second}.dropped_conversions"
        assert "dropped_conversions" in differs(f"INSERT INTO {claims} SELECT * FROM {claims} LIMIT 1")
        assert "credits" in differs(f"INSERT INTO {second}.credits SELECT * FROM {second}.credits LIMIT 1")
        assert "channel_metrics" in differs(f"TRUNCATE TABLE {second}.channel_metrics")
        bought = "(site, day, ad_network, level, campaign, currency, amount, clicks)"
        assert {"spend", "spend_metrics"} <= differs(
            f"INSERT INTO {second}.spend {bought} VALUES ('s', '2026-10-01', 'x_ads', 'campaign', 'a', 'EUR', '1.5', 2)"
        )
        late = "* REPLACE (recorded_at + toIntervalSecond(7) AS recorded_at)"
        client.command(f"INSERT INTO {second}.credits SELECT {late} FROM {second}.credits LIMIT 1")
        assert compare_databases(client, first, second).never_received["credits"] == 1
    finally:
        client.command(f"DROP DATABASE {second}", use_database=False)


def test_every_input_of_the_log_must_be_in_one_place(stored: tuple[Client, str, Ledger]) -> None:
    """Each of the 300 hits is a row, a copy that was dropped or a robot; nothing is a dead letter."""
    client, database, _ = stored

    def wrong(parts: int, bad: int = 0) -> list[str]:
        audit = LogAudit()
        letters = Counter({(HITS, 0, 17, b"chaos-poison-1"): bad})
        compare_with_log(client, database, Counter({0: parts}), letters, set(), audit)
        assert audit.dropped > 0
        return audit.faults

    assert wrong(300) == []
    assert wrong(301) != []
    assert wrong(300, bad=1) != []
    letter = dict.fromkeys(("detail", "key_base64", "version"), "") | {
        "dead_letter_id": "d",
        "topic": HITS,
        "src_broker": "b",
        "src_partition": 0,
        "src_offset": 17,
        "reason": "malformed",
        "payload_base64": base64.b64encode(b"chaos-poison-1").decode(),
        "attempts": 1,
        "recorded_at": 0,
    }
    client.insert(f"{database}.dead_letters", [list(letter.values())], column_names=list(letter))
    assert any("is not in" in said for said in wrong(301, bad=1)), "nor was it published"
    assert len(wrong(301, bad=1)) == 1
    assert len(wrong(301)) == 2


def test_the_reader_of_the_books_sees_them_unbalanced(
    stored: tuple[Client, str, Ledger], engine: str
) -> None:
    """An entry without its counterpart is seen within a few scans."""
    client, database, _ = stored
    with BooksReader(engine, database) as books:
        wait_until(lambda: books.polls >= 2)
        assert books.unbalanced == []
        client.command(f"INSERT INTO {database}.credits SELECT * FROM {database}.credits LIMIT 1")
        wait_until(lambda: bool(books.unbalanced))
    assert books.failure == ""


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until ``condition`` holds, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
