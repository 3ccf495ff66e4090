"""``headwater import spend``: reports through a real collector, twice, corrected, in parts and spoilt."""

from __future__ import annotations

import asyncio
import io
import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from collector_kit import SITE, CollectorProcess, config_of, running
from rich.console import Console
from test_collector_spend import taken
from typer.testing import CliRunner

from attribution.errors import Misconfigured
from attribution.spend.fact import SpendFact
from attribution.spend.merging import newest
from runtime.cli import app as cli
from runtime.imports import spend as spend_module
from runtime.imports.spend import SpendImport, import_spend
from runtime.imports.spend_options import SpendOptions, spend_options

REAL = Path(__file__).parents[2] / "../shared/data/ad_cost_reports"
MADE_UP = Path(__file__).parents[1] / "unit" / "spend_reports"
ASSUMED = SpendOptions({"": "EUR", "x_ads": "USD"}, {}, {"x_ads": "America/Los_Angeles"})
HEAD = "day,ad_network,campaign_id,campaign,currency,cost,clicks\n"


async def load(
    files: list[Path], url: str, folder: Path, options: SpendOptions = ASSUMED, **more: Any
) -> tuple[SpendImport, str]:
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    run = {"collector": url, "site_key": SITE}
    result = await import_spend(files, run, options, data_dir=folder, console=console, **more)
    return result, screen.getvalue()


def told(directory: Path) -> dict[str, SpendFact]:
    return newest({}, [report.fact for _, report in taken(directory)])


def sums(facts: dict[str, SpendFact]) -> dict[tuple[str, str], int]:
    totals: defaultdict[tuple[str, str], int] = defaultdict(int)
    for fact in facts.values():
        totals[fact.ad_network, fact.currency] += fact.cost
    return dict(totals)


def plain(folder: Path, *lines: str, name: str = "plain.csv") -> Path:
    path = folder / name
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return path


async def test_the_real_reports_twice(tmp_path: Path, valkey: str) -> None:
    if not REAL.exists():
        pytest.skip("the real cost reports (../shared/data/ad_cost_reports) are not beside this repository")
    files = sorted(REAL.glob("*.csv"))
    options = SpendOptions({"": "USD"}, {}, {"x_ads": "America/Los_Angeles"})
    async with running(config_of(tmp_path / "spool", redis=valkey)) as (_, client):
        url = f"http://127.0.0.1:{client.port}"
        first, screen = await load(files, url, tmp_path, options)
        print(screen)
        assert (first.facts, first.counts["new"], first.refused.total()) == (482, 482, 0)
        assert first.is_reconciled
        assert first.bad_rows == 100, "creatives of LinkedIn without their campaign, or without cost"
        assert not first.is_complete
        assert sums(told(tmp_path / "spool")) == {
            ("google_ads", "USD"): 3_388_170_000,
            ("linkedin_ads", "USD"): 530_620_000,
            ("meta_ads", "USD"): 643_630_000,
            ("microsoft_ads", "USD"): 946_340_000,
            ("tiktok_ads", "USD"): 444_792_000,
            ("x_ads", "USD"): 138_535_734,
        }
        assert "x_ads          USD       138.535734  138.535734        0.00" in screen
        again, screen = await load(files, url, tmp_path, options)
        assert (again.counts["new"], again.counts["replaced"], again.counts["unchanged"]) == (0, 0, 482)
        assert "482 facts: 0 new, 0 replaced, 482 unchanged, 0 refused" in screen


@pytest.mark.parametrize("is_export", [False, True], ids=["connectors", "exports"])
async def test_made_up_reports_arrive_as_they_are_read(
    tmp_path: Path, empty_valkey: str, is_export: bool
) -> None:
    files = sorted(path for path in MADE_UP.glob("*.csv") if path.stem.endswith("_export") == is_export)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    expected = spend_module.read_reports(
        [spend_module.ReportFile(path.name, path.read_bytes(), now) for path in files], ASSUMED.assumed()
    )
    async with running(config_of(tmp_path / "spool", redis=empty_valkey)) as (_, client):
        result, screen = await load(files, f"http://127.0.0.1:{client.port}", tmp_path, now=now)
    assert result.is_reconciled, screen
    assert result.counts["new"] == result.facts > 5
    arrived = told(tmp_path / "spool")
    for key, fact in newest({}, expected.facts).items():
        assert arrived[key] == msgspec.structs.replace(fact, imported_at=arrived[key].imported_at)
    assert len(arrived) == result.facts


async def test_a_corrected_report_replaces_and_an_old_one_does_not(tmp_path: Path, valkey: str) -> None:
    first = plain(tmp_path, "2026-10-01,acme_a,1,Shoes,EUR,10.00,3", "2026-10-02,acme_a,1,Shoes,EUR,20.00,4")
    corrected = plain(tmp_path, "2026-10-01,acme_a,1,Shoes,EUR,11.50,3", name="corrected.csv")
    async with running(config_of(tmp_path / "spool", redis=valkey)) as (_, client):
        url = f"http://127.0.0.1:{client.port}"
        result, _ = await load([first], url, tmp_path, now=datetime(2026, 10, 3, tzinfo=UTC))
        assert (result.counts["new"], result.is_complete) == (2, True)
        result, _ = await load([corrected], url, tmp_path, now=datetime(2026, 10, 5, tzinfo=UTC))
        assert result.counts["replaced"] == 1
        result, _ = await load([first], url, tmp_path, now=datetime(2026, 10, 4, tzinfo=UTC))
        assert result.counts["unchanged"] == 2
    assert sums(told(tmp_path / "spool")) == {("acme_a", "EUR"): 31_500_000}


async def test_bad_rows_are_listed_with_remedies_and_strict_takes_nothing(
    tmp_path: Path, valkey: str
) -> None:
    file = plain(tmp_path, "2026-10-01,acme_b,1,Shoes,EUR,10.00,3", "2026-10-02,acme_b,1,Shoes,EUR,ten,4")
    async with running(config_of(tmp_path / "spool", redis=valkey)) as (_, client):
        url = f"http://127.0.0.1:{client.port}"
        result, screen = await load([file], url, tmp_path, SpendOptions(is_strict=True))
        assert (result.counts.total(), result.bad_rows) == (0, 1)
        assert "Nothing was sent" in screen
        assert not (tmp_path / "spool" / "spend").exists()
        result, screen = await load([file], url, tmp_path)
        assert (result.counts["new"], result.is_complete) == (1, False)
        assert "plain.csv line 3: cost 'ten': Write a decimal number" in screen
        assert "2 rows = 1 used + 0 dropped + 1 bad" in screen
    (cell,) = map(json.loads, (tmp_path / "rejected" / "spend.jsonl").read_text().splitlines())
    assert (cell["file"], cell["line"], cell["column"], cell["reason"]) == (
        "plain.csv",
        3,
        "cost",
        "bad_number",
    )
    assert cell["remedy"]


async def test_a_dry_run_asks_nobody(tmp_path: Path) -> None:
    file = plain(tmp_path, "2026-10-01,acme_c,1,Shoes,EUR,10.00,3", "2026-10-02,acme_c,1,Shoes,EUR,2.345,1")
    result, screen = await load(
        [file], "http://127.0.0.1:9", tmp_path, SpendOptions(is_dry_run=True, by_day=True)
    )
    assert (result.facts, result.counts.total(), result.is_complete) == (2, 0, True)
    assert "acme_c   EUR       2026-10-02  2.345  2.345        0.00" in screen


async def test_what_cannot_be_read_stops_before_anything_is_sent(tmp_path: Path) -> None:
    good = plain(tmp_path, "2026-10-01,acme_d,1,Shoes,EUR,10.00,3")
    bad = tmp_path / "letter.csv"
    bad.write_text("dear,sir\nno,report\n")
    nobody = "http://127.0.0.1:9"
    with pytest.raises(Misconfigured, match=r"letter\.csv is not read"):
        await load([good, bad], nobody, tmp_path)
    other = plain(tmp_path, "2026-10-01,acme_d,1,Shoes,EUR,12.00,3", name="other.csv")
    with pytest.raises(Misconfigured, match="neither says that it is newer"):
        await load([good, other], nobody, tmp_path)
    with pytest.raises(Misconfigured, match="assumption"):
        await load([good], nobody, tmp_path, SpendOptions({"": "EURO"}))


async def test_a_secret_key_is_sent_and_a_wrong_one_named(tmp_path: Path, valkey: str) -> None:
    file = plain(tmp_path, "2026-10-01,acme_e,1,Shoes,EUR,10.00,3")
    async with running(config_of(tmp_path / "spool", redis=valkey, spend_key="secret")) as (_, client):
        url = f"http://127.0.0.1:{client.port}"
        with pytest.raises(Misconfigured) as refused:
            await load([file], url, tmp_path)
        assert "HEADWATER_SPEND_KEY" in refused.value.hint
        result, _ = await load([file], url, tmp_path, spend_key="secret")
        assert result.counts["new"] == 1


async def test_what_the_collector_refuses_is_named_and_not_complete(tmp_path: Path, valkey: str) -> None:
    file = plain(tmp_path, "2026-10-01,acme_f,1,Shoes,EUR,10.00,3")
    async with running(config_of(tmp_path / "spool", redis=valkey)) as (_, client):
        later = datetime(2098, 1, 1, tzinfo=UTC)
        result, screen = await load([file], f"http://127.0.0.1:{client.port}", tmp_path, now=later)
    assert (result.refused, result.is_complete) == ({"bad_instant": 1}, False)
    assert "Refused: acme_f|2026-10-01|campaign" in screen


async def test_many_facts_go_in_parts(tmp_path: Path, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spend_module, "MAX_FACTS", 7)
    lines = [
        f"2026-10-{1 + day:02d},acme_g,{number},c{number},EUR,0.01,1"
        for day in range(30)
        for number in range(5)
    ]
    async with running(config_of(tmp_path / "spool", redis=valkey)) as (_, client):
        result, _ = await load([plain(tmp_path, *lines)], f"http://127.0.0.1:{client.port}", tmp_path)
    assert (result.counts["new"], result.is_complete) == (150, True)
    assert sums(told(tmp_path / "spool")) == {("acme_g", "EUR"): 1_500_000}


def test_the_command_and_its_exit_codes(tmp_path: Path, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    good = plain(tmp_path, "2026-10-01,acme_h,1,Shoes,,10.00,3")
    spoilt = plain(
        tmp_path, "2026-10-01,acme_h,2,Shoes,EUR,10.00,3", "x,acme_h,2,Shoes,EUR,1,1", name="spoilt.csv"
    )
    process = CollectorProcess(config_of(tmp_path / "spool", redis=valkey))
    asyncio.run(process.ready())
    monkeypatch.setenv("HEADWATER_COLLECTOR_PORT", str(process.config.port))
    monkeypatch.setenv("HEADWATER_SITES", SITE)
    monkeypatch.setenv("HEADWATER_CLICKHOUSE", "http://127.0.0.1:9")
    monkeypatch.setenv("HEADWATER_DATA_DIR", str(tmp_path))

    def run(*arguments: object) -> tuple[int, str]:
        outcome = CliRunner().invoke(cli, ["import", "spend", *map(str, arguments)])
        if isinstance(outcome.exception, Misconfigured):
            return 2, str(outcome.exception)
        return outcome.exit_code, outcome.output

    try:
        code, screen = run(good)
        assert code == 1
        assert "give it (--currency USD)" in screen
        code, screen = run(good, "--currency", "EUR", "--account", "A1")
        assert (code, "1 facts: 1 new" in screen) == (0, True), screen
        assert {fact.account_id for fact in told(tmp_path / "spool").values()} == {"A1"}
        assert run(spoilt, "--strict")[0] == 1
        assert run(spoilt)[0] == 1
        assert run(good, "--base-url", "https://a.example")[0] == 2
        assert run(good, "--currency", "google_ads=")[0] == 2
    finally:
        process.terminate()


def test_options_are_by_network_and_those_for_all_fill_what_one_leaves_open() -> None:
    options = spend_options(
        ["USD", "linkedin_ads=EUR"],
        None,
        ["x_ads=Europe/Paris"],
        by_day=False,
        is_strict=False,
        is_dry_run=False,
    )
    assumed = options.assumed()
    assert (assumed["x_ads"].currency, assumed["x_ads"].time_zone) == ("USD", "Europe/Paris")
    assert (assumed["linkedin_ads"].currency, assumed["linkedin_ads"].time_zone) == ("EUR", "")
    assert SpendOptions().is_default
    with pytest.raises(Misconfigured):
        spend_options(["USD", "EUR"], None, None, by_day=False, is_strict=False, is_dry_run=False)
