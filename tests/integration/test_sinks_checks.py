"""The checks against a real engine: silent on sound data, and each finds the damage it is for."""

from __future__ import annotations

from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, HOUR, NOON, row

from attribution.errors import Misconfigured
from sinks.checks import Check, count_dead_letters, run_checks
from sinks.tables import WRITTEN
from sinks.windows import Known, check_table, check_windows
from sinks.writer import RowWriter

LONG_AGO = NOON - 300 * DAY


def put(place: tuple[Client, str], table: str, *rows: dict[str, Any]) -> None:
    client, database = place
    tuples = [
        row(table, **{"recorded_at": LONG_AGO, **given} if "recorded_at" in WRITTEN[table] else given)
        for given in rows
    ]
    RowWriter(client, database).insert(table, WRITTEN[table], tuples, f"{table}{tuples}")


def failed(place: tuple[Client, str]) -> dict[str, Check]:
    return {check.name: check for check in run_checks(*place, at_rest_seconds=60) if not check.passed}


def sound(place: tuple[Client, str]) -> None:
    """A session that moved, an order that was corrected, one that was withdrawn, a lead without value."""
    put(place, "hits", {"event_id": "e1"}, {"event_id": "e2"}, {"event_id": "e1", "visitor_id": "other"})
    session = {
        "session_id": "s1",
        "hours": [NOON // 1000, NOON // 1000 + 3600],
        "hour_hits": [3, 1],
        "hour_page_views": [2, 0],
    }
    put(place, "sessions", session)
    put(place, "sessions", {**session, "sign": -1}, {**session, "channel": "Email"})
    put(
        place,
        "touchpoints",
        {"touchpoint_id": "t1"},
        {"touchpoint_id": "t2"},
        {"touchpoint_id": "t2", "sign": -1},
    )
    order = {"conversion_id": "c1", "value": "10", "currency": "USD"}
    put(place, "conversions", order)
    put(place, "conversions", {**order, "sign": -1}, {**order, "value": "10.01"})
    put(
        place,
        "conversions",
        {"conversion_id": "c2", "value": "5"},
        {"conversion_id": "c2", "value": "5", "sign": -1},
    )
    put(place, "conversions", {"conversion_id": "c3", "value": "0"})
    half = {"conversion_id": "c1", "model": "linear", "currency": "USD", "weight": "0.5", "amount": "5"}
    put(
        place,
        "credits",
        {**half, "touchpoint_id": "t1", "conversion_value": "10"},
        {**half, "touchpoint_id": "t2"},
    )
    put(
        place,
        "credits",
        {**half, "touchpoint_id": "t1", "weight": "0", "amount": "0.01", "conversion_value": "0.01"},
    )
    gone = {"conversion_id": "c2", "model": "linear", "currency": "EUR"}
    put(place, "credits", {**gone, "weight": "1", "amount": "5", "conversion_value": "5"})
    put(place, "credits", {**gone, "weight": "-1", "amount": "-5", "conversion_value": "-5"})
    put(place, "credits", {"conversion_id": "c3", "model": "linear", "channel": "(unattributed)"})


def test_sound_data_has_no_findings(clean: tuple[Client, str]) -> None:
    """Corrections, withdrawals and zero values are no errors."""
    assert failed(clean) == {}
    sound(clean)
    assert failed(clean) == {}


def test_a_lost_cent_is_found(clean: tuple[Client, str]) -> None:
    sound(clean)
    put(
        clean,
        "credits",
        {"conversion_id": "c1", "model": "linear", "currency": "USD", "weight": "0", "amount": "-0.01"},
    )
    check = failed(clean)["books"]
    assert [finding.subject for finding in check.findings] == ["c1 linear"]
    assert "credited 10.0000 of 10.0100 USD" in check.findings[0].detail


def test_balance_is_per_currency(clean: tuple[Client, str]) -> None:
    """10 USD credited as 10 EUR is a loss and a gift, not a balance."""
    put(
        clean,
        "credits",
        {
            "conversion_id": "c1",
            "model": "linear",
            "currency": "USD",
            "weight": "0",
            "conversion_value": "10",
        },
    )
    put(
        clean,
        "credits",
        {"conversion_id": "c1", "model": "linear", "currency": "EUR", "weight": "1", "amount": "10"},
    )
    assert "books" in failed(clean)


def test_bookings_that_add_up_at_every_instant_are_sound(clean: tuple[Client, str]) -> None:
    """Won, refunded in part, lost, won again: what stands at each instant is credited, and nothing while it is lost."""
    steps = [("1", "10", 0), ("0", "-4", 1), ("-1", "-6", 2), ("1", "9", 3)]
    deal = {"conversion_id": "d", "model": "linear"}
    put(
        clean,
        "credits",
        *(
            {**deal, "weight": w, "amount": v, "conversion_value": v, "booked_at": NOON + n * HOUR}
            for w, v, n in steps
        ),
    )
    put(clean, "conversions", {"conversion_id": "d", "value": "9"})
    assert failed(clean) == {}


@pytest.mark.parametrize(
    ("entries", "detail"),
    [
        ([("1", "10", "10", 0), ("0", "-4", "0", 1), ("0", "4", "0", 2)], "credited 6.0000 of 10.0000"),
        ([("1", "10", "10", 1), ("-1", "-10", "-10", 0), ("1", "9", "9", 2)], "weight -1.000000000"),
        ([("1", "10", "10", 0), ("-1", "-6", "-6", 1), ("1", "2", "2", 2)], "weight 0.000000000, credited 4"),
    ],
)
def test_what_is_wrong_for_a_while_only_is_found(
    clean: tuple[Client, str], entries: list[tuple[str, str, str, int]], detail: str
) -> None:
    """In the end each adds up; a report of the days between would not."""
    rows = [
        {
            **{"conversion_id": "d", "model": "linear", "weight": weight, "amount": amount},
            **{"conversion_value": value, "booked_at": NOON + hours * HOUR},
        }
        for weight, amount, value, hours in entries
    ]
    put(clean, "credits", *rows)
    (finding,) = failed(clean)["books"].findings
    assert detail in finding.detail


@pytest.mark.parametrize(("weight", "value"), [("0.9", "0"), ("2", "0"), ("0", "7"), ("-1", "0")])
def test_weights_that_are_not_one_are_found(clean: tuple[Client, str], weight: str, value: str) -> None:
    """Weight 0 is right only when nothing is left of the value."""
    put(
        clean,
        "credits",
        {"conversion_id": "c", "model": "m", "weight": weight, "amount": value, "conversion_value": value},
    )
    assert "books" in failed(clean)


def test_conversions_without_credit_and_credit_without_conversion_are_found(
    clean: tuple[Client, str],
) -> None:
    put(clean, "conversions", {"conversion_id": "never credited", "value": "1"})
    put(clean, "credits", {"conversion_id": "never converted", "model": "m"})
    check = failed(clean)["uncredited"]
    assert [finding.subject for finding in check.findings] == ["never converted", "never credited"]


def test_a_conversion_that_just_happened_is_not_judged_yet(clean: tuple[Client, str]) -> None:
    """Its credit may be on the way."""
    put(clean, "conversions", {"conversion_id": "c", "value": "1", "recorded_at": 4_000_000_000_000})
    assert failed(clean) == {}


@pytest.mark.parametrize(
    ("column", "amount"),
    [
        ("hits", "1"),
        ("page_views", "-1"),
        ("impressions", "2"),
        ("sessions", "1"),
        ("conversions", "0.1"),
        ("revenue", "0.01"),
    ],
)
def test_a_roll_up_cell_that_is_off_is_found(clean: tuple[Client, str], column: str, amount: str) -> None:
    sound(clean)
    client, database = clean
    scale = {"conversions": 9, "revenue": 4}.get(column, 0)
    client.command(
        f"INSERT INTO {database}.channel_metrics (site, hour, channel, {column})"
        f" SELECT 'site1', toDateTime({NOON // 1000}), 'Email', sum(toDecimal64('{amount}', {scale}))"
    )
    check = failed(clean)["roll_up"]
    assert len(check.findings) == 1
    assert "Email" in check.findings[0].subject


def test_a_roll_up_that_missed_an_insert_is_found(clean: tuple[Client, str]) -> None:
    sound(clean)
    client, database = clean
    client.command(f"TRUNCATE TABLE {database}.channel_metrics")
    assert "roll_up" in failed(clean)


@pytest.mark.parametrize(
    ("column", "amount"), [("conversions", "1"), ("revenue", "sum(toDecimal64('0.01', 4))")]
)
def test_a_roll_up_cell_of_paths_that_is_off_is_found(
    clean: tuple[Client, str], column: str, amount: str
) -> None:
    client, database = clean
    put(clean, "paths", {"conversion_id": "c", "value": "1", "channels": ["Email"]})
    assert failed(clean) == {}
    client.command(
        f"INSERT INTO {database}.path_metrics (kind, day, channel, {column})"
        f" SELECT 'last', '2026-10-02', 'Email', {amount}"
    )
    (finding,) = failed(clean)["roll_up_paths"].findings
    assert "last" in finding.subject
    assert "Email" in finding.subject


def test_a_roll_up_of_paths_that_missed_an_insert_is_found(clean: tuple[Client, str]) -> None:
    client, database = clean
    put(clean, "paths", {"conversion_id": "c", "value": "1", "channels": ["Email"]})
    client.command(f"TRUNCATE TABLE {database}.path_metrics")
    assert {finding.subject.split(" / ")[0] for finding in failed(clean)["roll_up_paths"].findings} == {
        *("length", "first_lag", "last_lag", "path", "last", "has")
    }


@pytest.mark.parametrize("table", ["sessions", "touchpoints", "conversions", "paths"])
@pytest.mark.parametrize(
    "rows",
    [
        [{}, {}],
        [{"sign": -1}],
        [{}, {"site": "site2", "sign": -1}],
        [{}, {"channel": "Email", "sign": -1}],
        [{}, {"channel": "Email"}],
    ],
    ids=["twice", "taken back only", "taken back elsewhere", "taken back otherwise", "two versions"],
)
def test_signs_that_do_not_add_up_are_found(
    clean: tuple[Client, str], table: str, rows: list[dict[str, Any]]
) -> None:
    """Also when the sum over the id is 0 or 1 but another version was taken back than was written."""
    id_column = {"sessions": "session_id", "touchpoints": "touchpoint_id"}.get(table, "conversion_id")
    if id_column == "conversion_id":
        other = {"conversions": "type", "paths": "conversion_type"}[table]
        rows = [
            {(other if key == "channel" else key): value for key, value in given.items()} for given in rows
        ]
        rows = [{"value": "1", **given} for given in rows]
    put(clean, table, *({id_column: "x", **given} for given in rows))
    assert f"signs_{table}" in failed(clean)


def test_a_hit_kept_twice_is_found(clean: tuple[Client, str]) -> None:
    put(
        clean,
        "hits",
        {"event_id": "e1", "visitor_id": "v"},
        {"event_id": "e1", "visitor_id": "v", "occurred_at": NOON + HOUR},
    )
    check = failed(clean)["duplicate_hits"]
    assert [(finding.subject, finding.detail) for finding in check.findings] == [("v e1", "kept 2 times")]


def test_findings_stop_at_the_limit(clean: tuple[Client, str]) -> None:
    put(clean, "touchpoints", *({"touchpoint_id": f"t{n}", "sign": -1} for n in range(20)))
    checks = run_checks(*clean, limit=7)
    assert [len(check.findings) for check in checks if not check.passed] == [7]


def test_dead_letters_are_counted_by_reason(clean: tuple[Client, str]) -> None:
    put(
        clean,
        "dead_letters",
        {"dead_letter_id": "1", "topic": "t", "reason": "malformed"},
        {"dead_letter_id": "2", "topic": "t", "reason": "malformed"},
        {"dead_letter_id": "3", "topic": "t", "reason": "poison"},
    )
    put(clean, "dead_letter_replays", {"dead_letter_id": "2"})
    got = [(d.topic, d.reason, d.letters, d.replayed) for d in count_dead_letters(*clean)]
    assert got == [("t", "malformed", 2, 1), ("t", "poison", 1, 0)]


def test_windows_of_the_migrated_database_are_long_enough(migrated: tuple[Client, str]) -> None:
    check_windows(*migrated)


def test_a_short_window_names_table_and_alter(clean: tuple[Client, str]) -> None:
    client, database = clean
    client.command(f"ALTER TABLE {database}.credits MODIFY SETTING non_replicated_deduplication_window = 999")
    try:
        with pytest.raises(Misconfigured, match=rf"{database}\.credits") as caught:
            check_windows(client, database)
    finally:
        client.command(
            f"ALTER TABLE {database}.credits MODIFY SETTING non_replicated_deduplication_window = 10000"
        )
    # The remedy in the message works.
    assert "ALTER TABLE" in caught.value.hint
    client.command(caught.value.hint.removeprefix("Run: "))
    check_windows(client, database)


@pytest.mark.parametrize("own_table", [True, False])
def test_a_view_of_somebody_else_on_our_tables_is_checked_too(
    clean: tuple[Client, str], own_table: bool
) -> None:
    """With a named target, and with an inner table; a table that nothing of ours feeds is none of our business."""
    client, database = clean
    client.command(f"CREATE TABLE {database}.unrelated (n UInt64) ENGINE = MergeTree ORDER BY n")
    check_windows(client, database)
    client.command(f"CREATE TABLE {database}.theirs (n UInt64) ENGINE = MergeTree ORDER BY n")
    target = f"TO {database}.theirs" if own_table else "ENGINE = MergeTree ORDER BY n"
    client.command(
        f"CREATE MATERIALIZED VIEW {database}.view {target} AS SELECT src_offset AS n FROM {database}.hits"
    )
    try:
        with pytest.raises(Misconfigured, match="theirs" if own_table else "inner") as caught:
            check_windows(client, database)
        client.command(caught.value.hint.removeprefix("Run: "))
        check_windows(client, database)
    finally:
        for name in ("view", "theirs", "unrelated"):
            client.command(f"DROP TABLE {database}.{name}")


def test_a_missing_table_asks_for_the_migration(migrated: tuple[Client, str]) -> None:
    with pytest.raises(Misconfigured, match="headwater migrate"):
        check_windows(migrated[0], "no_such_database")


@pytest.mark.parametrize(
    ("engine", "settings", "setting"),
    [
        ("MergeTree", "", "non_replicated_deduplication_window"),
        (
            "SummingMergeTree",
            "non_replicated_deduplication_window = 100",
            "non_replicated_deduplication_window",
        ),
        (
            "ReplicatedMergeTree",
            "non_replicated_deduplication_window = 9999",
            "replicated_deduplication_window_seconds",
        ),
        ("ReplicatedMergeTree", "replicated_deduplication_window = 10", "replicated_deduplication_window"),
        (
            "SharedMergeTree",
            "replicated_deduplication_window_seconds = 3600",
            "replicated_deduplication_window_seconds",
        ),
    ],
)
def test_each_engine_is_judged_by_its_own_setting(engine: str, settings: str, setting: str) -> None:
    """The defaults are those of 26.5: none for plain tables, 10,000 inserts and one hour for replicated ones."""
    defaults = {
        "non_replicated_deduplication_window": 0,
        "replicated_deduplication_window": 10_000,
        "replicated_deduplication_window_seconds": 3600,
    }
    known = Known(engine, f"{engine} ORDER BY a SETTINGS {settings}", "", "", ())
    with pytest.raises(Misconfigured, match=f"{setting} = "):
        check_table(("d", "t"), known, defaults)


def test_a_replicated_table_that_remembers_a_week_is_fine() -> None:
    text = (
        "SETTINGS replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"
    )
    check_table(("d", "t"), Known("ReplicatedMergeTree", text, "", "", ()), {})
    check_table(("d", "t"), Known("Null", "", "", "", ()), {})
