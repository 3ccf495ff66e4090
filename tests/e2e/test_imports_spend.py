"""``headwater import spend`` against the running system: what the files say is what the ledger of spend adds up to."""

from __future__ import annotations

import asyncio
import io
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from runtime.imports.spend import SpendImport, import_spend
from runtime.imports.spend_options import SpendOptions
from runtime.up import Up, UpOptions
from sinks.client import connect

REPORTS = Path(__file__).parents[2] / "../shared/data/ad_cost_reports"
OPTIONS = SpendOptions({"": "USD"}, {}, {"x_ads": "America/Los_Angeles"})
Sums = dict[tuple[str, str, str], Decimal]

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    """run.json of a system of this module's own."""
    options = UpOptions(data_dir=tmp_path_factory.mktemp("up"), collector_port=0, api_port=0)
    async with Up(options) as up:
        yield up.run


async def load(files: list[Path], run: dict[str, Any], folder: Path, now: datetime) -> SpendImport:
    console = Console(file=io.StringIO(), width=200)
    return await import_spend(files, run, OPTIONS, data_dir=folder, console=console, now=now)


def sums(run: dict[str, Any], networks: str) -> Sums:
    """Amounts in the ledger by network, currency and day, without those that are nothing."""
    sql = (
        "SELECT ad_network, currency, toString(day), sum(amount) FROM spend"
        " WHERE site = {site:String} AND match(ad_network, {networks:String})"
        " GROUP BY ad_network, currency, day HAVING sum(amount) != 0"
    )
    rows = connect(run["clickhouse"], "headwater").query(sql, {"site": run["site_key"], "networks": networks})
    return {(network, currency, day): amount for network, currency, day, amount in rows.result_rows}


async def becomes(run: dict[str, Any], networks: str, expected: Sums) -> None:
    """Wait until the ledger says ``expected``."""
    for _ in range(300):
        if await asyncio.to_thread(sums, run, networks) == expected:
            return
        await asyncio.sleep(0.1)
    assert await asyncio.to_thread(sums, run, networks) == expected


def plain(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("day,ad_network,campaign_id,currency,cost,clicks\n" + "\n".join(lines) + "\n")
    return path


async def test_a_report_twice_then_corrected_then_the_old_one_again(
    run: dict[str, Any], tmp_path: Path
) -> None:
    lines = [
        "2026-10-01,made_up,1,EUR,10.005,3",
        "2026-10-01,made_up,2,USD,7,1",
        "2026-10-02,made_up,1,EUR,2,4",
    ]
    first = plain(tmp_path, "first.csv", *lines)
    corrected = plain(
        tmp_path, "corrected.csv", "2026-10-01,made_up,1,EUR,9.5,3", "2026-10-02,made_up,1,EUR,0,4"
    )
    read_at = datetime(2026, 10, 3, tzinfo=UTC)
    eur, usd = ("made_up", "EUR", "2026-10-01"), ("made_up", "USD", "2026-10-01")
    expected = {eur: Decimal("10.005"), usd: Decimal(7), ("made_up", "EUR", "2026-10-02"): Decimal(2)}
    assert (await load([first], run, tmp_path, read_at)).counts["new"] == 3
    await becomes(run, "made_up", expected)
    assert (await load([first], run, tmp_path, read_at + timedelta(hours=1))).counts["unchanged"] == 3
    result = await load([corrected], run, tmp_path, read_at + timedelta(days=2))
    assert result.counts["replaced"] == 2
    await becomes(run, "made_up", {eur: Decimal("9.5"), usd: Decimal(7)})
    assert (await load([first], run, tmp_path, read_at + timedelta(days=1))).counts["unchanged"] == 3
    marker = plain(tmp_path, "marker.csv", "2026-10-05,made_up,9,EUR,1,1")
    await load([marker], run, tmp_path, read_at)
    # Of one site and network the stage takes what comes in its order: the old figures are behind it by now.
    await becomes(
        run,
        "made_up",
        {eur: Decimal("9.5"), usd: Decimal(7), ("made_up", "EUR", "2026-10-05"): Decimal(1)},
    )


async def test_the_real_reports_twice_add_up_to_the_micro(run: dict[str, Any], tmp_path: Path) -> None:
    if not REPORTS.exists():
        pytest.skip("the real cost reports (../shared/data/ad_cost_reports) are not beside this repository")
    files = sorted(REPORTS.glob("*.csv"))
    now = datetime(2026, 11, 1, tzinfo=UTC)
    first = await load(files, run, tmp_path, now)
    assert (first.counts["new"], first.is_reconciled, first.refused.total()) == (482, True, 0)
    totals = {
        ("google_ads", "USD"): Decimal("3388.17"),
        ("linkedin_ads", "USD"): Decimal("530.62"),
        ("meta_ads", "USD"): Decimal("643.63"),
        ("microsoft_ads", "USD"): Decimal("946.34"),
        ("tiktok_ads", "USD"): Decimal("444.792"),
        ("x_ads", "USD"): Decimal("138.535734"),
    }

    async def by_network() -> tuple[dict[tuple[str, str], Decimal], Sums]:
        found = await asyncio.to_thread(sums, run, "_ads$")
        added: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for (network, currency, _), amount in found.items():
            added[network, currency] += amount
        return dict(added), found

    for _ in range(300):
        if (await by_network())[0] == totals:
            break
        await asyncio.sleep(0.1)
    added, once = await by_network()
    assert added == totals
    again = await load(files, run, tmp_path, now + timedelta(hours=1))
    assert (again.counts["new"], again.counts["replaced"], again.counts["unchanged"]) == (0, 0, 482)
    # What the second import brought is behind the stage once it has taken what came later, network by network.
    marker = plain(tmp_path, "marker.csv", *(f"2026-10-05,{network},9,USD,1,1" for network, _ in totals))
    await load([marker], run, tmp_path, now)
    await becomes(run, "_ads$", once | {(network, "USD", "2026-10-05"): Decimal(1) for network, _ in totals})
