"""Migrations against a real engine: once, again, cut short, and two at the same time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clickhouse_connect.driver.client import Client

from attribution.errors import Misconfigured
from sinks.client import connect
from sinks.migrate import load_migrations, migrate, pending_migrations, split_statements
from sinks.tables import TABLES

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
