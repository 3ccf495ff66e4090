"""The self-audit of a running system finds a lost row and says so everywhere; the alert rules name what is there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from clickhouse_connect.driver.client import Client

from runtime.up import Up, UpOptions
from sinks.client import connect
from streams.audit_state import CHECKS

ROOT = Path(__file__).resolve().parents[2]
_TYPE = re.compile(r"^# TYPE (\w+) \w+$", re.MULTILINE)
_NAME = re.compile(r"\bheadwater_\w+")


async def get(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text(errors="replace")  # the pixel is none


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.2)


async def doctor(data_dir: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "runtime.cli", "doctor", "--data-dir", str(data_dir)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def value(metrics: str, name: str) -> float:
    """The sample of that name and labels; -1 when there is none."""
    return next(
        (float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(name + " ")), -1.0
    )


@pytest.mark.slow
async def test_a_row_that_is_lost_in_a_running_system_is_an_alarm(tmp_path: Path) -> None:
    """Well at first; then a hit is deleted behind the system's back."""
    options = UpOptions(
        data_dir=tmp_path / "up", collector_port=0, api_port=0, env={"HEADWATER_AUDIT_SECONDS": "1"}
    )
    async with Up(options) as up:
        client: Client = await asyncio.to_thread(connect, up.run["clickhouse"], "headwater")
        for visitor in range(20):
            await get(
                f"{up.run['collector']}/p.gif?site={up.run['site_key']}&visitor_id=v{visitor}"
                "&url=https%3A%2F%2Fshop.example%2F%3Futm_source%3Dx%26utm_medium%3Demail"
            )
        ports = json.loads((options.data_dir / "state.json").read_text())["ports"]
        worker = f"http://127.0.0.1:{ports['worker']}/metrics"

        async def is_stored() -> bool:
            count = await asyncio.to_thread(client.query, "SELECT count() FROM headwater.hits")
            return bool(count.result_rows[0][0] == 20)

        await until(is_stored, "20 hits")
        stored_at = time.time()

        async def is_audited() -> bool:
            return (
                value(await get(worker), 'headwater_audit_covered_from_timestamp_seconds{axis="hours"}')
                > stored_at
            )

        await until(is_audited, "a whole round of the audit after them", 400.0)
        shown = await get(worker)
        assert {
            check: value(shown, f'headwater_audit_difference{{check="{check}"}}') for check in CHECKS
        } == (dict.fromkeys(CHECKS, 0.0))
        code, said = await doctor(options.data_dir)
        assert code == 0, said
        assert "audit events: every event behind the fence" in said

        exposed = {
            name
            for url in (worker, f"{up.run['collector']}/metrics", f"{up.run['api']}/metrics")
            for name in _TYPE.findall(await get(url))
        }
        rules = (ROOT / "deploy" / "alerts.yml").read_text()
        expressions = re.findall(r"^ +expr: (.+)$", rules, re.MULTILINE)
        assert len(expressions) == rules.count("alert: ") > 10
        assert set(_NAME.findall(" ".join(expressions))) <= exposed

        await asyncio.to_thread(
            client.command,
            "ALTER TABLE headwater.hits DELETE WHERE visitor_id = 'v7'",
            settings={"mutations_sync": 2},
        )

        async def is_alarmed() -> bool:
            return value(await get(worker), 'headwater_audit_difference{check="events"}') == 1

        await until(is_alarmed, "an alarm", 400.0)  # a busy machine makes passes long, and pauses longer
        code, said = await doctor(options.data_dir)
        assert code == 1
        assert "WRONG audit events: not so (1)" in said
        assert "hits" in said
        assert '"audit_difference"' in (options.data_dir / "logs" / "worker.log").read_text()


def test_the_alert_rules_name_checks_that_exist() -> None:
    """Each pattern of a rule matches a check, and each check is in some rule."""
    rules = (ROOT / "deploy" / "alerts.yml").read_text()
    patterns = re.findall(r'\{check=~?"([^"]+)"\}', rules)
    alternatives = [part for pattern in patterns for part in pattern.split("|")]
    for part in alternatives:
        assert any(re.fullmatch(part, check) for check in CHECKS), part
    for check in CHECKS:
        assert any(re.fullmatch(part, check) for part in alternatives), check
