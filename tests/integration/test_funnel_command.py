"""``headwater funnel`` and ``GET /v1/funnel``: the same answer, each in its form."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from api_store import Store, session
from clickhouse_connect.driver.client import Client
from sinks_rows import HOUR, NOON
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.config import ApiConfig
from attribution.errors import Rejected
from attribution.funnel_file import parse_funnel
from runtime.cli import app
from runtime.funnel import print_funnel
from runtime.settings import Settings
from sinks.client import connect

STAGES = """
[[stages]]
name = "visit"
reached_by = "page_view"

[[stages]]
name = "watched"
reached_by = "video_view"
"""
ASKED: dict[str, Any] = {"from": "2026-10-01", "to": "2026-10-31", "by": "channel"}


@pytest.fixture
def settings(engine: str, clean: tuple[Client, str], tmp_path: Path) -> Settings:
    store = Store(*clean)
    store.put("sessions", session("1", visitor_id="a", channel="=Display"), session("2", visitor_id="b"))
    store.put(
        "hits",
        *({"visitor_id": name, "event": "page_view", "occurred_at": NOON, "in_session": 1} for name in "ab"),
        {"visitor_id": "b", "event": "video_view", "occurred_at": NOON + 36 * HOUR, "in_session": 1},
    )
    (tmp_path / "funnel.toml").write_text(STAGES)
    return Settings(clickhouse=engine, database=clean[1], data_dir=tmp_path)


def test_the_command_prints_tables_csv_and_json(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    print_funnel(settings, ASKED, "table")
    table = capsys.readouterr().out
    assert "2 persons entered; spend 0.00 USD" in table
    assert "Direct: 1 person; spend 0.00 USD" in table
    assert "50.0 %" in table
    assert "1.5 d" in table
    print_funnel(settings, ASKED, "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(line["channel"], line["stage"], line["persons"]) for line in lines] == [
        ("", "visit", "2"),
        ("", "watched", "1"),
        ("'=Display", "visit", "1"),
        ("'=Display", "watched", "0"),
        ("Direct", "visit", "1"),
        ("Direct", "watched", "1"),
    ]
    assert lines[1]["median_seconds"] == str(36 * 3600)
    print_funnel(settings, ASKED, "json")
    answer = json.loads(capsys.readouterr().out)
    assert [stage["persons"] for stage in answer["stages"]] == [2, 1]


def test_a_wrong_option_is_named(settings: Settings) -> None:
    for given, option in (({"from": "may"}, "--from"), ({"by": "site"}, "--by"), ({"order": "x"}, "--order")):
        with pytest.raises(Rejected) as rejected:
            print_funnel(settings, given, "csv")
        assert rejected.value.field == option
    assert CliRunner().invoke(app, ["funnel", "--order", "sideways"]).exit_code == 2


def test_the_api_answers_the_same_over_http(
    settings: Settings, engine: str, clean: tuple[Client, str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = ApiConfig(clickhouse=engine, database=clean[1], read_keys=("k",), funnel=parse_funnel(STAGES))
    with TestClient(create_app(config, lambda: connect(engine, clean[1]))) as client:
        assert client.get("/v1/funnel").status_code == 401
        key = {"Authorization": "Bearer k"}
        found = client.get("/v1/funnel", params=ASKED, headers=key).json()
        print_funnel(settings, ASKED, "json")
        printed = json.loads(capsys.readouterr().out)
        for answer in (found, printed):
            del answer["meta"]["elapsed_ms"]
        assert found == printed
        for wrong, field in (({"by": "day"}, "by"), ({"to": "2026-13-01"}, "to"), ({"stage": "x"}, "stage")):
            refused = client.get("/v1/funnel", params=wrong, headers=key)
            assert (refused.status_code, refused.json()["field"]) == (422, field)
        assert "FunnelAnswer" in client.get("/openapi.json").json()["components"]["schemas"]
