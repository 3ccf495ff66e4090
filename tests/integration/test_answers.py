"""`headwater report` and `explain` on a real store: whole, in order, errors in the words of the command line."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import row

from attribution.errors import Rejected
from runtime import answers
from runtime.settings import Settings
from sinks.tables import CREDITS_COLUMNS, PATHS_COLUMNS
from sinks.writer import RowWriter

HOUR_MS = 3_600_000
BEGIN_MS = 1_790_000_000_000 - 1_790_000_000_000 % HOUR_MS
REPORT: dict[str, Any] = {
    "by": "hour",
    "model": "linear",
    "date_range": None,
    "basis": "conversion",
    "currency": "USD",
    "format_": "csv",
}


@pytest.fixture(scope="module")
def settings(engine: str, migrated: tuple[Client, str]) -> Settings:
    client, database = migrated
    sold = [
        row(
            "credits",
            model="linear",
            conversion_id=f"c{hour}",
            amount=f"{hour}.00",
            conversion_value=f"{hour}.00",
            currency="USD",
            touched_at=BEGIN_MS + hour * HOUR_MS,
            converted_at=BEGIN_MS + hour * HOUR_MS,
            cause="conversion",
        )
        for hour in range(30)
    ]
    nobody_seen = [
        row(
            "paths",
            conversion_id=f"c{hour}",
            value=f"{hour}.00",
            currency="USD",
            channels=[],
            first_touch_at=BEGIN_MS + hour * HOUR_MS,
            last_touch_at=BEGIN_MS + hour * HOUR_MS,
            converted_at=BEGIN_MS + hour * HOUR_MS,
        )
        for hour in range(30)
    ]
    writer = RowWriter(client, database)
    writer.insert("credits", CREDITS_COLUMNS, sold, "sold")
    writer.insert("paths", PATHS_COLUMNS, nobody_seen, "nobody seen")
    return Settings(clickhouse=engine, database=database)


def test_a_report_over_time_is_whole_and_in_the_order_of_time(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the answer has more rows than one page."""
    monkeypatch.setattr(answers, "_ROWS_AT_ONCE", 7)
    answers.print_report(settings, **REPORT)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["revenue"] for row in rows] == [f"{hour}.00" for hour in range(30)]
    assert [row["hour"] for row in rows] == sorted(row["hour"] for row in rows)


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"by": "nothing"}, "--by"),
        ({"model": "nothing"}, "--model"),
        ({"currency": "EURO"}, "--currency"),
        ({"date_range": ("2026-13-01", None)}, "--from"),
        ({"date_range": (None, "tomorrow")}, "--to"),
        ({"date_range": ("2026-02-02", "2026-02-01")}, "--from, --to"),
        ({"by": "channel," * 9 + "day"}, "--by"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_written(settings: Settings, wrong: Any, option: str) -> None:
    with pytest.raises(Rejected) as caught:
        answers.print_report(settings, **{**REPORT, **wrong})
    assert caught.value.field == option


def test_an_unknown_conversion_is_one_line(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert answers.print_explanation(settings, "nothing", "table") is False
    (line,) = capsys.readouterr().err.splitlines()
    assert "no conversion" in line


def test_an_instant_that_is_none_is_named_as_it_was_written(settings: Settings) -> None:
    with pytest.raises(Rejected) as caught:
        answers.print_report(settings, **{**REPORT, "as_of": "yesterday"})
    assert caught.value.field == "--as-of"


def test_paths_are_printed_as_table_csv_and_json(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"since": None, "until": None, "currency": "USD", "as_of": None}
    answers.print_paths(settings, **given, format_="table")
    shown = capsys.readouterr().out
    assert "does not add up" in shown
    assert "nothing is converted, and open deals are left out" in shown
    assert "30 conversions, 435.00 USD" in shown
    answers.print_paths(settings, **given, format_="csv")
    assert capsys.readouterr().out.startswith("path,conversions,revenue,share\r\n")
    answers.print_paths(settings, **given, format_="json")
    assert '"unattributed_conversions":30' in capsys.readouterr().out
    with pytest.raises(Rejected) as caught:
        answers.print_paths(settings, **{**given, "since": "soon"}, format_="json")
    assert caught.value.field == "--from"


def test_changes_are_printed_as_table_csv_and_json(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {key: value for key, value in REPORT.items() if key != "format_"} | {
        "until": None
    }
    for format_, said in (
        ("table", "as of now"),
        ("csv", "hour,cause,conversions,revenue\r\n"),
        ("json", '"difference":{"conversions":30,"revenue":"435.00"}'),
    ):
        answers.print_changes(settings, **given, since="2000-01-01", format_=format_)
        assert said in capsys.readouterr().out
    with pytest.raises(Rejected) as caught:
        answers.print_changes(settings, **given, since="then", format_="json")
    assert caught.value.field == "--changed-since"
    with pytest.raises(Rejected) as caught:
        answers.print_changes(settings, **{**given, "model": "x"}, since="2000-01-01", format_="json")
    assert caught.value.field == "--model"
