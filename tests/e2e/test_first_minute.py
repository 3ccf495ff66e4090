"""What a newcomer does: up, one visit, one purchase, report, explain, doctor; stop, and up again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runtime.up import Up, UpOptions

PAGE = "https://shop.example/?utm_source=linkedin&utm_medium=paid-social&utm_campaign=spring"
QUESTION = {
    "metrics": ["hits", "sessions", "conversions", "revenue"],
    "dimensions": ["channel"],
    "filters": [["channel", "is", ["Paid Social"]]],
}


async def pixel(run: dict[str, Any], **fields: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(
            f"{run['collector']}/p.gif", params={"site": run["site_key"], **fields}
        ) as answer:
            assert answer.status == 200
            assert len(await answer.read()) == 43


async def ask(run: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {run['read_key']}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{run['api']}/v1/query", json=question) as answer:
            assert answer.status == 200, await answer.text()
            said: dict[str, Any] = await answer.json()
            return said


async def until_rows(run: dict[str, Any], rows: list[list[Any]], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while (found := (await ask(run, QUESTION))["rows"]) != rows:
        assert time.monotonic() < deadline, f"{found} did not become {rows}"
        await asyncio.sleep(0.1)


async def headwater(data_dir: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "runtime.cli", *words, "--data-dir", str(data_dir)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kafka", ["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
async def test_a_visit_and_a_purchase_are_reported_explained_and_survive_a_restart(
    kafka: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """State survives, also where the broker keeps nothing; a later visit still finds its visitor."""
    if kafka == "apache":
        request.getfixturevalue("apache_kafka_installed")
    options = UpOptions(data_dir=tmp_path / "up", collector_port=0, api_port=0, workers=2, kafka=kafka)
    async with Up(options) as up:
        await pixel(up.run, visitor_id="ada", url=PAGE)
        await pixel(up.run, visitor_id="ada", event="purchase", value="120.50", currency="USD", order_id="A1")
        await until_rows(up.run, [["Paid Social", 1, 1, 1, "120.50"]])
        code, out, _ = await headwater(options.data_dir, "report", "--format", "csv")
        assert code == 0
        assert "Paid Social,1,1,1,1,120.50,1,120.50" in out
        code, out, _ = await headwater(options.data_dir, "explain", "A1", "--format", "json")
        assert code == 0
        explained = json.loads(out)
        assert explained["conversion"]["value"] == "120.50"
        assert [touch["decision"] for touch in explained["touchpoints"]] == ["in"]
        assert set(explained["balanced"].values()) == {True}
        code, _, err = await headwater(options.data_dir, "explain", "no-such-order")
        assert code == 1
        assert "no conversion" in err

    async with Up(options) as up:
        await until_rows(up.run, [["Paid Social", 1, 1, 1, "120.50"]])
        await pixel(up.run, visitor_id="ada", url="https://shop.example/more")
        await until_rows(up.run, [["Paid Social", 2, 1, 1, "120.50"]])
        code, out, _ = await headwater(options.data_dir, "doctor")
        assert code == 0, out

    code, _, err = await headwater(tmp_path / "nowhere", "report")
    assert code == 2
    assert "headwater up" in err
