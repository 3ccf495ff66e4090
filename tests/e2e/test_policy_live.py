"""A policy file in a running system: what it says is credited, under its version; a wrong one stops the start."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from runtime.up import Up, UpOptions
from sinks.client import connect

HOUR_MS = 3_600_000
POLICY = """
[touches]
direct = "only_if_alone"

[[channels.rules]]
channel = "Podcast"
landing_page = { starts_with = "/podcast" }

[credit]
models = ["linear", "ends"]

[models.ends]
kind = "weights"
first = 3
last = 1

[identity]
blocked_ids = ["TILL"]
"""
SHOP = "https://shop.example"
HITS: list[dict[str, Any]] = [
    # One person on two devices; the till, whose user name many visitors say, is nobody.
    {"visitor_id": "phone", "user_id": "42", "url": f"{SHOP}/podcast/7", "hours_ago": 6.0},
    {"visitor_id": "phone", "user_id": "till", "url": f"{SHOP}/", "hours_ago": 5.0},
    {
        "visitor_id": "stranger",
        "user_id": "till",
        "url": f"{SHOP}/?utm_source=news&utm_medium=email",
        "hours_ago": 4.0,
    },
    {
        "visitor_id": "laptop",
        "user_id": "42",
        "url": f"{SHOP}/?utm_source=google&utm_medium=cpc",
        "hours_ago": 3.0,
    },
    {"visitor_id": "laptop", "event": "purchase", "value": "100.00", "order_id": "A1", "hours_ago": 2.9},
    # Somebody of whom nothing is known but that he came.
    {"visitor_id": "alone", "url": f"{SHOP}/", "hours_ago": 2.0},
    {"visitor_id": "alone", "event": "purchase", "value": "50.00", "order_id": "A2", "hours_ago": 1.9},
]
CREDITED = {
    "ends": {"Direct": "50.00", "Paid Search": "25.00", "Podcast": "75.00"},
    "linear": {"Direct": "50.00", "Paid Search": "50.00", "Podcast": "50.00"},
}


async def headwater(data_dir: Path, *words: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "runtime.cli", *words, "--data-dir", str(data_dir)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


async def visit(run: dict[str, Any]) -> None:
    """All hits, each at its time."""
    now = int(time.time() * 1000)
    async with aiohttp.ClientSession() as session:
        for hit in HITS:
            fields = {name: value for name, value in hit.items() if name != "hours_ago"}
            occurred_at = now - round(hit["hours_ago"] * HOUR_MS)
            given = {"site": run["site_key"], "currency": "USD", "occurred_at": occurred_at, "sent_at": now}
            async with session.get(f"{run['collector']}/p.gif?{urlencode({**given, **fields})}") as answer:
                assert answer.status == 200


async def credited(run: dict[str, Any], model: str) -> dict[str, str]:
    """Revenue of each channel that has any."""
    question = {"metrics": ["revenue"], "dimensions": ["channel"], "model": model}
    headers = {"Authorization": f"Bearer {run['read_key']}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{run['api']}/v1/query", json=question) as answer:
            assert answer.status == 200, await answer.text()
            return {
                channel: revenue for channel, revenue in (await answer.json())["rows"] if revenue != "0.00"
            }


@pytest.mark.slow
async def test_what_the_policy_file_says_is_credited_under_its_version(tmp_path: Path) -> None:
    """Own channels, Direct only where it is alone, weights of one's own, and an id that joins nobody."""
    options = UpOptions(data_dir=tmp_path / "up", collector_port=0, api_port=0)
    options.data_dir.mkdir()
    (options.data_dir / "policy.toml").write_text(POLICY)
    async with Up(options) as up:
        await visit(up.run)
        deadline = time.monotonic() + 60
        while (found := {model: await credited(up.run, model) for model in CREDITED}) != CREDITED:
            assert time.monotonic() < deadline, f"{found} did not become {CREDITED}"
            await asyncio.sleep(0.1)

        code, shown, _ = await headwater(options.data_dir, "policy")
        assert code == 0
        assert 'blocked_ids = ["till"]  # default: []' in shown
        version = shown.removeprefix("# Policy ")[:10]
        with connect(up.run["clickhouse"], "headwater") as client:
            books = client.query(
                "SELECT DISTINCT policy_version, model FROM headwater.credits ORDER BY model"
            ).result_rows
        assert books == [(version, "ends"), (version, "linear")]

        code, out, _ = await headwater(options.data_dir, "explain", "A1", "--format", "json")
        assert code == 0
        explained = json.loads(out)
        assert explained["conversion"]["policy_version"] == version
        assert explained["person"]["visitor_ids"] == ["laptop", "phone"]
        reasons = [(touch["channel"], touch["reason"]) for touch in explained["touchpoints"]]
        assert reasons == [
            ("Podcast", "in_window"),
            ("Direct", "direct_not_alone"),
            ("Paid Search", "in_window"),
        ]
        assert set(explained["balanced"].values()) == {True}


async def test_a_wrong_policy_file_stops_the_start_with_one_line(tmp_path: Path) -> None:
    """Before anything runs: exit code 2, the place in the file, and what to write."""
    file = tmp_path / "policy.toml"
    file.write_text('[touches]\ndirect = "alone"\n')
    code, out, err = await headwater(tmp_path, "up", "--collector-port", "0", "--api-port", "0")
    assert (code, out) == (2, "")
    assert err.strip().splitlines() == [err.strip()], err
    assert f"{file}: touches.direct: should be 'count', 'only_if_alone' or 'never'" in err
    assert not (tmp_path / "run.json").exists()
