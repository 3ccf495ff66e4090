"""Migrations against a real engine: once, again, cut short, and two at the same time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import HOUR, NOON, row

from attribution.errors import Misconfigured
from sinks.checks import check_roll_up_credits
from sinks.client import connect
from sinks.migrate import load_migrations, migrate, pending_migrations, split_statements
from sinks.tables import TABLES, WRITTEN
from sinks.writer import RowWriter

NAMES = [migration.name for migration in load_migrations()]


@pytest.fixture
def place(engine: str) -> Iterator[tuple[Client, str]]:
    database = f"t_{uuid.uuid4().hex[:12]}"
    client = connect(engine, database)
    yield client, database
    client.command(f"DROP DATABASE IF EXISTS {database}", use_database=False)
    client.close()


def tables(client: Client, database: str) -> set[str]:
    rows = client.query(
        "SELECT name FROM system.tables WHERE database = {d:String}", parameters={"d": database}
    ).result_rows
    return {name for (name,) in rows}


def test_applies_each_once_and_says_so(place: tuple[Client, str]) -> None:
    client, database = place
    assert migrate(client, database) == NAMES
    assert migrate(client, database) == []
    assert set(TABLES) <= tables(client, database)
    assert pending_migrations(client, database) == []


def test_pending_before_the_first_run_names_all_and_creates_nothing(
    engine: str, place: tuple[Client, str]
) -> None:
    _, database = place
    client = connect(engine, "default")
    assert pending_migrations(client, database) == NAMES
    assert tables(client, database) == set()
    client.close()


def test_a_run_that_was_cut_short_is_completed(place: tuple[Client, str]) -> None:
    """Half of the first file was applied and nothing recorded."""
    client, database = place
    client.command(f"CREATE DATABASE {database}", use_database=False)
    for statement in list(split_statements(load_migrations()[0].sql))[:3]:
        client.command(statement.replace("{database}", database))
    assert migrate(client, database) == NAMES
    assert set(TABLES) <= tables(client, database)


def test_two_at_the_same_time_do_no_harm(engine: str, place: tuple[Client, str]) -> None:
    client, database = place

    def run(_: int) -> list[str]:
        mine = connect(engine, database)
        try:
            return migrate(mine, database)
        finally:
            mine.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    rows = client.query(f"SELECT name, count() FROM {database}.schema_migrations GROUP BY name").result_rows
    assert sorted(rows) == [(name, 1) for name in NAMES]


def test_credit_of_a_version_without_bookings_counts_when_its_conversion_happened(
    place: tuple[Client, str],
) -> None:
    """The roll-up keeps its sums and hears of entries by their booking from then on; a repeat is still told."""
    client, database = place
    *_, before, booked_at = (number for number, name in enumerate(NAMES) if name <= "0015_booked_at")
    client.command(f"CREATE DATABASE {database}", use_database=False)

    def apply(number: int) -> None:
        for statement in split_statements(load_migrations()[number].sql):
            client.command(statement.replace("{database}", database))

    def told() -> list[tuple[str, str, str]]:
        rows = client.query(
            "SELECT basis, toString(toUnixTimestamp(hour)), toString(sum(revenue)) FROM channel_metrics"
            " GROUP BY basis, hour ORDER BY basis, hour"
        ).result_rows
        return [tuple(row) for row in rows]

    for number in range(before + 1):
        apply(number)
    names = [name for name in WRITTEN["credits"] if name != "booked_at"]
    old = dict(
        zip(WRITTEN["credits"], row("credits", model="m", amount="5", converted_at=NOON + HOUR), strict=True)
    )
    writer = RowWriter(client, database)
    first = [tuple(old[name] for name in names)]
    writer.insert("credits", names, first, "first")
    stood = [("conversion", str((NOON + HOUR) // 1000), "5"), ("touch", str(NOON // 1000), "5")]
    assert told() == stood
    apply(booked_at)
    apply(booked_at)
    assert told() == stood
    assert client.query("SELECT toUnixTimestamp64Milli(booked_at) FROM credits").result_rows == [
        (NOON + HOUR,)
    ]
    writer.insert("credits", names, first, "first")
    assert told() == stood
    refund = row("credits", model="m", amount="-2", converted_at=NOON + HOUR, booked_at=NOON + 9 * HOUR)
    writer.insert("credits", WRITTEN["credits"], [refund], "second")
    assert told() == [stood[0], ("conversion", str((NOON + 9 * HOUR) // 1000), "-2"), (*stood[1][:2], "3")]
    assert check_roll_up_credits(client, database).passed


@pytest.mark.parametrize("name", ["a b", "a`b", "a;DROP DATABASE x", "", "1a", "ä", "a.b", "a" * 200])
def test_a_database_name_that_is_no_identifier_is_refused(place: tuple[Client, str], name: str) -> None:
    client, _ = place
    with pytest.raises(Misconfigured, match="HEADWATER_DATABASE"):
        migrate(client, name)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ; ;\n", []),
        ("-- only a comment; really", []),
        ("A; B", ["A", "B"]),
        ("A -- x; y\nB;", ["A \nB"]),
        ("A /* ; */ B;", ["A   B"]),
        ("SELECT ';', \"a;b\", `c;d`;X", ["SELECT ';', \"a;b\", `c;d`", "X"]),
        (r"SELECT 'it\'s; fine';X", [r"SELECT 'it\'s; fine'", "X"]),
        ("SELECT 'it''s; fine';X", ["SELECT 'it''s; fine'", "X"]),
        ("SELECT 'open; end", ["SELECT 'open; end"]),
        ("A /* open; end", ["A"]),
    ],
)
def test_statements_are_parted_at_real_semicolons_only(sql: str, expected: list[str]) -> None:
    assert list(split_statements(sql)) == expected
