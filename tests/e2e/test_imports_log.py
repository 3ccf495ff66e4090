"""``headwater import`` against the running system: every line ends in one place, twice over."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from attribution.errors import Misconfigured
from runtime.imports.run import ImportResult, import_files
from runtime.up import Up, UpOptions
from sinks.client import connect

LOG = Path(__file__).parents[2] / ".." / "shared" / "data" / "access_log" / "combined.log.gz"

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    """run.json of a system of this module's own."""
    options = UpOptions(data_dir=tmp_path_factory.mktemp("up"), collector_port=0, api_port=0)
    async with Up(options) as up:
        yield up.run


async def _import(kind: str, file: Path, run: dict[str, Any], folder: Path) -> tuple[ImportResult, str]:
    screen = io.StringIO()
    console = Console(file=screen, width=200)
    return await import_files(kind, [file], run, data_dir=folder, console=console), screen.getvalue()


def _rows(run: dict[str, Any], sql: str) -> list[tuple[Any, ...]]:
    client = connect(run["clickhouse"], "headwater")
    return list(client.query(sql, {"site": run["site_key"]}).result_rows)


async def test_ten_thousand_real_lines_and_the_same_again(run: dict[str, Any], tmp_path: Path) -> None:
    """accepted + dropped by reason + dead-lettered = 10,000; a repeat accepts nothing."""
    if not LOG.exists():
        pytest.skip("../shared/data/access_log/combined.log.gz is not here")
    first, screen = await _import("log", LOG, run, tmp_path)
    print(screen)
    assert first.balances
    assert first.read == 10_000
    assert first.accepted + first.dropped.total() + first.refused.total() == 10_000
    assert first.refused == {"malformed_line": 1}
    assert first.dropped["bot"] > 100
    assert first.dropped["duplicate"] == 0
    kept = _rows(
        run,
        "SELECT count(), uniqExact(event_id), uniqExact(visitor_id), min(occurred_at) >= '2015-05-17 00:00:00',"
        " max(occurred_at) < '2015-05-21 00:00:00', countIf(NOT startsWith(url, 'http://www.semicomplete.com/'))"
        " FROM hits WHERE site = {site:String}",
    )[0]
    assert kept[:2] == (first.accepted, first.accepted)
    assert 100 < kept[2] <= first.accepted
    assert kept[3:] == (1, 1, 0)
    # The site's own pages are no referrers, search engines are.
    channels = dict(
        _rows(
            run,
            "SELECT channel, toInt64(sum(sign)) FROM sessions WHERE site = {site:String} GROUP BY channel",
        )
    )
    assert channels["Organic Search"] > 100
    assert channels["Direct"] > 100

    (refused_file,) = first.refused_files
    (refused,) = [json.loads(line) for line in refused_file.read_text().splitlines()]
    assert refused["line"] == 8_899
    assert refused["remedy"]

    again, _ = await _import("log", LOG, run, tmp_path)
    assert again.balances
    assert again.accepted == 0
    assert again.dropped["duplicate"] == first.accepted
    assert again.dropped["bot"] == first.dropped["bot"]


async def test_csv_with_errors_of_every_kind_keeps_the_rest(run: dict[str, Any], tmp_path: Path) -> None:
    """What the reader refuses, what the collector refuses, and what is kept, with money to the cent."""
    file = tmp_path / "hits.csv"
    lines = [
        "visitor_id,occurred_at,event,url,value,currency,order_id,props.plan",
        "csv-1,2026-10-01T10:00:00Z,page_view,https://shop.example/?utm_source=x&utm_medium=email,,,,",
        "csv-1,2026-10-01T10:05:00Z,purchase,https://shop.example/thanks,19.90,USD,CSV-1,pro",
        "csv-2,not a time,page_view,https://shop.example/,,,,",
        "csv-3,2026-10-01T10:00:00Z,purchase,https://shop.example/,-5,USD,CSV-2,",
        "csv-4,2026-10-01T10:00:00Z,purchase,https://shop.example/,5,NOPE,CSV-3,",
        "csv-5,2026-10-01T10:00:00Z,page_view,javascript:alert(1),,,,",
    ]
    file.write_text("\n".join(lines))
    result, screen = await _import("hits", file, run, tmp_path)
    assert result.balances
    assert (result.read, result.accepted, result.refused.total()) == (6, 2, 4)
    refused = [json.loads(line) for line in result.refused_files[0].read_text().splitlines()]
    assert {(line["line"], line["field"]) for line in refused} == {
        (4, "occurred_at"),
        (5, "value"),
        (6, "currency"),
        (7, "url"),
    }
    assert all(line["remedy"] and line["raw"] for line in refused)
    assert "6 lines = 2 accepted + 0 dropped + 4 dead-lettered" in screen
    purchase = _rows(
        run, "SELECT toString(value), props FROM hits WHERE site = {site:String} AND order_id = 'CSV-1'"
    )
    assert [(float(value), json.loads(props)) for value, props in purchase] == [(19.9, {"plan": "pro"})]


async def test_wrong_site_key_is_a_wrong_use(run: dict[str, Any], tmp_path: Path) -> None:
    """Not ten thousand refused lines."""
    file = tmp_path / "hits.jsonl"
    file.write_text('{"visitor_id": "v", "occurred_at": 1790000000000}\n')
    with pytest.raises(Misconfigured, match="site key"):
        await _import("hits", file, {**run, "site_key": "nobody"}, tmp_path)
