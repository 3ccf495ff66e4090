"""Numbered SQL files, each applied once per database and recorded in ``schema_migrations``.

Every statement is idempotent (``IF NOT EXISTS``) and the record carries a deduplication token, so a migration
that was cut short is simply run again, and two runners at the same time do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from attribution.errors import Misconfigured
from sinks.engine_errors import explain_error
from sinks.names import qualify, quote_identifier

LEDGER = "schema_migrations"
_log = structlog.get_logger("headwater.sinks")


@dataclass(frozen=True)
class Migration:
    """One file: ``name`` begins with its number; ``sql`` still holds the ``{database}`` placeholders."""

    name: str
    sql: str


def load_migrations() -> list[Migration]:
    """All packaged migrations in order. Raises ``Misconfigured`` when two share a number."""
    folder = resources.files("sinks") / "migrations"
    found = [
        Migration(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    ]
    numbers = [migration.name.split("_", 1)[0] for migration in found]
    if len(set(numbers)) != len(numbers) or not all(number.isdigit() for number in numbers):
        raise Misconfigured("Two migrations share a number, or one has none.", "Reinstall Headwater.")
    return found


def migrate(client: Client, database: str) -> list[str]:
    """Bring ``database`` up to date; returns the names applied now (none: it already was).

    Raises ``Misconfigured`` (refused statement or account) or ``Transient`` (ClickHouse is away).
    """
    try:
        _prepare(client, database)
        done = applied_migrations(client, database)
        fresh = [migration for migration in load_migrations() if migration.name not in done]
        for migration in fresh:
            for statement in split_statements(migration.sql):
                client.command(
                    statement.replace("{database}", quote_identifier(database)), use_database=False
                )
            client.raw_insert(
                qualify(database, LEDGER),
                column_names=("name",),
                insert_block=f"{migration.name}\n".encode(),
                fmt="TabSeparated",
                settings={"insert_deduplication_token": migration.name},
            )
            _log.info("migration applied", database=database, migration=migration.name)
    except Error as error:
        raise explain_error(error) from error
    return [migration.name for migration in fresh]


def pending_migrations(client: Client, database: str) -> list[str]:
    """Names of the migrations that ``database`` still lacks. Raises as ``migrate`` does; changes nothing."""
    try:
        known = client.query(
            "SELECT count() FROM system.tables WHERE database = {database:String} AND name = {name:String}",
            parameters={"database": database, "name": LEDGER},
        ).result_rows
        done = applied_migrations(client, database) if known[0][0] else frozenset()
    except Error as error:
        raise explain_error(error) from error
    return [migration.name for migration in load_migrations() if migration.name not in done]


def applied_migrations(client: Client, database: str) -> frozenset[str]:
    """Names recorded in ``schema_migrations`` (which must exist)."""
    rows = client.query(f"SELECT DISTINCT name FROM {qualify(database, LEDGER)}").result_rows  # noqa: S608
    return frozenset(row[0] for row in rows)


def _prepare(client: Client, database: str) -> None:
    client.command(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(database)}", use_database=False)
    client.command(
        f"CREATE TABLE IF NOT EXISTS {qualify(database, LEDGER)}"
        " (name String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))"
        " ENGINE = MergeTree ORDER BY name"
        " SETTINGS non_replicated_deduplication_window = 10000,"
        " fsync_after_insert = 1, fsync_part_directory = 1",
        use_database=False,
    )


def split_statements(sql: str) -> Iterator[str]:
    """The statements of ``sql`` without comments; semicolons inside quotes and comments do not count."""
    statement: list[str] = []
    at = 0
    while at < len(sql):
        char = sql[at]
        if char in "'\"`":
            end = _after_quote(sql, at)
            statement.append(sql[at:end])
        elif sql.startswith("--", at):
            found = sql.find("\n", at)
            end = len(sql) if found < 0 else found
        elif sql.startswith("/*", at):
            found = sql.find("*/", at + 2)
            end = len(sql) if found < 0 else found + 2
            statement.append(" ")
        elif char == ";":
            end = at + 1
            if text := "".join(statement).strip():
                yield text
            statement = []
        else:
            end = at + 1
            statement.append(char)
        at = end
    if text := "".join(statement).strip():
        yield text


def _after_quote(sql: str, start: int) -> int:
    quote = sql[start]
    at = start + 1
    while at < len(sql):
        if sql[at] == "\\":
            at += 2
        elif sql[at] == quote:
            return at + 1
        else:
            at += 1
    return len(sql)
