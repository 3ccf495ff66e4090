"""Settings that cannot work are refused at the start, by name; the running system's rules hold in every terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from api.plan import QUALIFIED_LEADS
from attribution.errors import Misconfigured
from runtime.cli import app, main
from runtime.installation import running, settings_of
from runtime.settings import Settings
from runtime.wiring import words_of

RUN: dict[str, Any] = {
    "clickhouse": "http://default:secret@127.0.0.1:1",
    "redis": "redis://127.0.0.1:2/0",
    "kafka": "127.0.0.1:3",
    "site_key": "site_x",
    "settings": {"partitions": 2, "currency": "EUR", "conversion_lookbacks": "purchase=1"},
    "pids": {"up": os.getpid()},
}


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """``main`` sends the log to the standard error of its test, which is closed afterwards."""
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HEADWATER_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SESSION_GAP_MINUTES", "0"),
        ("SESSION_GAP_MINUTES", "-5"),
        ("RATE_PER_SECOND", "-1"),
        ("SPOOL_MAX_BYTES", "1"),
        ("BATCH_MAX_HITS", "0"),
        ("BATCH_WAIT_MS", "-1"),
        ("COLLECTOR_PORT", "99999"),
        ("API_PORT", "-1"),
        ("WORKER_METRICS_PORT", "65536"),
        ("CURRENCY", "EURO"),
        ("CONVERSION_LOOKBACKS", "purchase"),
        ("CONVERSION_LOOKBACKS", "purchase=-1"),
        ("CONVERSION_LOOKBACKS", " , "),
        ("REDIS", "foo"),
        ("KAFKA", "foo"),
        ("KAFKA", "broker:9092,other"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is started: ``up`` reads the settings first."""
    monkeypatch.setenv(f"HEADWATER_{name}", value)
    monkeypatch.setattr(sys, "argv", ["headwater", "report"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"HEADWATER_{name}: ")
    assert "Value error" not in line


def test_qualified_leads_are_those_of_the_query_api_unless_somebody_says_otherwise() -> None:
    assert words_of(Settings().qualified_leads) == QUALIFIED_LEADS


def test_a_currency_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_CURRENCY", " eur")
    assert Settings().currency == "EUR"


@pytest.mark.parametrize("option", ["--collector-port", "--api-port"])
def test_a_port_that_does_not_exist_is_wrong_use(option: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["up", option, "99999", "--data-dir", str(tmp_path)])
    assert result.exit_code == 2
    assert option in result.stderr


def test_an_explanation_has_no_csv() -> None:
    assert CliRunner().invoke(app, ["explain", "A1", "--format", "csv"]).exit_code == 2


def test_a_command_judges_by_the_rules_of_the_running_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by those of its own terminal, unless that names them."""
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    settings = settings_of(tmp_path)
    assert (settings.partitions, settings.currency, settings.conversion_lookbacks) == (2, "EUR", "purchase=1")
    assert (settings.clickhouse, settings.sites, settings.data_dir) == (RUN["clickhouse"], "site_x", tmp_path)
    monkeypatch.setenv("HEADWATER_CURRENCY", "CHF")
    assert settings_of(tmp_path).currency == "CHF"


def test_the_file_of_a_killed_up_is_no_running_system(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "run.json").write_text(json.dumps({**RUN, "pids": {"up": gone.pid}}))
    assert running(tmp_path) is None
    with pytest.raises(Misconfigured, match="Nothing runs in"):
        settings_of(tmp_path)


def test_a_key_that_stands_in_every_page_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same value as write key and as read key is refused, and not shown."""
    monkeypatch.setenv("HEADWATER_SITES", "shop-key, blog-key")
    monkeypatch.setenv("HEADWATER_READ_KEYS", "a secret,blog-key")
    monkeypatch.setattr(sys, "argv", ["headwater", "serve"])
    monkeypatch.setattr("runtime.processes.run_api", lambda _: pytest.fail("it started"))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("HEADWATER_READ_KEYS: A read key is also a write key")
    assert "a secret" not in said
    assert "blog-key" not in said
    monkeypatch.setenv("HEADWATER_READ_KEYS", "a secret")
    assert Settings().read_keys.get_secret_value() == "a secret"


def test_a_key_that_stands_in_every_page_takes_no_spend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_SITES", "shop-key, blog-key")
    monkeypatch.setenv("HEADWATER_SPEND_KEY", "blog-key")
    with pytest.raises(ValueError, match="write key"):
        Settings()
    monkeypatch.setenv("HEADWATER_SPEND_KEY", "a secret")
    assert "a secret" not in repr(Settings())
