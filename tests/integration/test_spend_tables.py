"""The tables of spend: an installation of before keeps what it has, signed rows sum up, repeated inserts count once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import row

from sinks.client import connect
from sinks.migrate import load_migrations, migrate, split_statements
from sinks.tables import ALL_METRICS, CHANNEL_METRICS_COLUMNS, SPEND_METRICS_COLUMNS, WRITTEN
from sinks.windows import check_windows
from sinks.writer import RowWriter

OF_BEFORE = [migration for migration in load_migrations() if migration.name < "0014"]


@pytest.fixture
def old(engine: str) -> Iterator[tuple[Client, str]]:
    """A database as the version before had it, with rows."""
    database = f"t_{uuid.uuid4().hex[:12]}"
    client = connect(engine, database)
    client.command(f"CREATE DATABASE {database}", use_database=False)
    for migration in OF_BEFORE:
        for statement in split_statements(migration.sql):
            client.command(statement.replace("{database}", database), use_database=False)
    yield client, database
    client.command(f"DROP DATABASE {database}", use_database=False)
    client.close()


def ask(client: Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(found) for found in client.query(sql).result_rows]


def spend(**given: Any) -> tuple[Any, ...]:
    facts = {"day": "2026-10-01", "ad_network": "google_ads", "level": "campaign", "campaign_id": "7"}
    return row("spend", **facts | {"currency": "EUR", "cause": "report"} | given)


def test_an_older_installation_keeps_its_sums_and_forgets_no_insert(old: tuple[Client, str]) -> None:
    client, database = old
    writer = RowWriter(client, database)
    credits = [row("credits", model="linear", amount=amount, channel="Email") for amount in ("1.25", "2.5")]
    # Of the time before 0015, too: entries had no date of their own.
    place = WRITTEN["credits"].index("booked_at")
    names = tuple(name for name in WRITTEN["credits"] if name != "booked_at")
    writer.insert("credits", names, [(*one[:place], *one[place + 1 :]) for one in credits], "before")
    sums = f"SELECT model, basis, sum(revenue), sum(conversions) FROM {database}.%s GROUP BY ALL ORDER BY ALL"
    before = ask(client, sums % "channel_metrics")
    assert [worth for _, _, worth, _ in before] == [Decimal("3.75")] * 2
    migrate(client, database)
    # A batch that was cut short before the migration is repeated after it.
    writer.insert("credits", WRITTEN["credits"], credits, "before")
    assert ask(client, sums % "channel_metrics") == before
    assert ask(client, sums % ALL_METRICS) == before
    writer.insert("spend", WRITTEN["spend"], [spend(amount="3.000001", clicks=2)], "after")
    assert ask(client, f"SELECT sum(spend), sum(clicks), sum(revenue) FROM {database}.{ALL_METRICS}") == [
        (Decimal("3.000001"), 2, Decimal("7.5"))
    ]


def test_a_migration_that_ran_halfway_or_twice_does_no_harm(old: tuple[Client, str]) -> None:
    client, database = old
    (mine,) = [migration for migration in load_migrations() if migration.name == "0014_spend"]
    statements = list(split_statements(mine.sql))
    for statement in (*statements[:2], *statements):
        client.command(statement.replace("{database}", database), use_database=False)
    RowWriter(client, database).insert("spend", WRITTEN["spend"], [spend(amount="3")], "one")
    migrate(client, database)
    check_windows(client, database)
    assert ask(client, f"SELECT sum(spend) FROM {database}.{ALL_METRICS}") == [(3,)]


def test_signed_rows_are_summed_and_repeated_inserts_count_once(clean: tuple[Client, str]) -> None:
    client, database = clean
    writer = RowWriter(client, database)
    first = [spend(amount="10.371662", impressions=100, clicks=7, campaign_label="brand")]
    changed = [
        spend(amount="-10.371662", impressions=-100, clicks=-7, campaign_label="brand", sign=-1),
        spend(amount="12.5", impressions=120, clicks=9, campaign_label="brand"),
    ]
    for rows, token in ((first, "a"), (changed, "b"), (changed, "b"), (first, "a")):
        writer.insert("spend", WRITTEN["spend"], rows, token)
    client.command(f"OPTIMIZE TABLE {database}.spend_metrics FINAL")
    found = ask(
        client,
        f"SELECT toString(hour), campaign, currency, sum(spend), sum(impressions), sum(clicks)"
        f" FROM {database}.spend_metrics GROUP BY ALL",
    )
    assert found == [("2026-10-01 00:00:00", "brand", "EUR", 12.5, 120, 9)]
    assert ask(client, f"SELECT sum(amount), sum(sign) FROM {database}.spend") == [(12.5, 1)]


def test_traffic_and_spend_are_read_as_one(clean: tuple[Client, str]) -> None:
    client, database = clean
    writer = RowWriter(client, database)
    session = row("sessions", channel="Paid Search", source="google", medium="cpc")
    writer.insert("sessions", WRITTEN["sessions"], [session], "s")
    place = {"channel": "Paid Search", "source": "google", "medium": "cpc"}
    writer.insert("spend", WRITTEN["spend"], [spend(amount="4", **place)], "a")
    sums = "sum(sessions), sum(hits), sum(spend), sum(revenue)"
    assert ask(client, f"SELECT channel, {sums} FROM {database}.{ALL_METRICS} GROUP BY ALL") == [
        ("Paid Search", 1, 1, 4, 0)
    ]
    names = {name for name, *_ in client.query(f"DESCRIBE TABLE {database}.{ALL_METRICS}").result_rows}
    assert names == {*CHANNEL_METRICS_COLUMNS, *SPEND_METRICS_COLUMNS}
