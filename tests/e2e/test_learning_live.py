"""Learning in a running system: from simulated journeys to a conversion that is credited by what was learnt."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest
from clickhouse_connect.driver.client import Client

from runtime.collector_client import open_intake
from runtime.simulator.sender import send
from runtime.simulator.world import build_world
from runtime.up import Up, UpOptions
from sinks.checks import run_checks
from sinks.client import connect

LEARNT = {"markov", "shapley"}
LEARN = ("learn", "--dry-run"), ("learn",), ("learn", "--show")


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.2)


async def headwater(data_dir: Path, *arguments: str) -> tuple[int, str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "runtime.cli", *arguments, "--data-dir", str(data_dir)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


async def play(up: Up, client: Client, *, seed: int, people: int) -> None:
    """A simulated world, until all of its conversions are credited."""
    world = build_world(seed=seed, people=people, ends_at=int(time.time() * 1000) - 60_000)
    async with open_intake(up.run["collector"], up.run["site_key"]) as intake:
        await send(intake, world.hits, lambda _: None)

    async def is_credited() -> bool:
        counted = await asyncio.to_thread(
            client.query, "SELECT uniqExact(conversion_id) FROM headwater.credits WHERE model = 'linear'"
        )
        return bool(counted.result_rows[0][0] == world.truth.conversions)

    await until(is_credited, f"{world.truth.conversions} credited conversions")


async def come_and_buy(up: Up, visitor: str, at_ms: int) -> None:
    """Through a paid click and a letter to a purchase of 100.00."""
    page = {"site": up.run["site_key"], "visitor_id": visitor}
    hits = [
        {"url": "https://www.lumen-lamps.example/?gclid=abc", "occurred_at": at_ms - 7_200_000},
        {
            "url": "https://www.lumen-lamps.example/?utm_source=letter&utm_medium=email",
            "occurred_at": at_ms - 3_600_000,
        },
        {
            "url": "https://www.lumen-lamps.example/thanks",
            "occurred_at": at_ms - 3_590_000,
            "event": "purchase",
            "value": "100.00",
            "currency": "USD",
            "order_id": f"order-{visitor}",
        },
    ]
    async with aiohttp.ClientSession() as session:
        for number, hit in enumerate(hits):
            fields = {**page, "event_id": f"{visitor}-{number}", "sent_at": int(time.time() * 1000), **hit}
            async with session.get(f"{up.run['collector']}/p.gif?{urlencode(fields)}") as answer:
                assert answer.status == 200


@pytest.mark.slow
async def test_what_is_learnt_credits_what_comes_after(tmp_path: Path) -> None:
    """Dry first, then for good; an old conversion stays as it is, a new one is credited, and the books balance."""
    options = UpOptions(
        data_dir=tmp_path / "up", collector_port=0, api_port=0, env={"HEADWATER_LEARN_HOURS": "0"}
    )
    async with Up(options) as up:
        client: Client = await asyncio.to_thread(connect, up.run["clickhouse"], "headwater")

        async def rows(sql: str, **parameters: object) -> list[tuple[object, ...]]:
            found = await asyncio.to_thread(client.query, sql, parameters)
            return [tuple(row) for row in found.result_rows]

        code, said = await headwater(options.data_dir, "learn")
        assert code == 1, said
        assert "too few" in said or "no journeys" in said
        await play(up, client, seed=5, people=1_500)
        for arguments in LEARN:
            code, said = await headwater(options.data_dir, *arguments)
            assert code == 0, said
            assert "Paid Search" in said
            if "--dry-run" in arguments:
                assert await rows("SELECT count() FROM headwater.learnt_models") == [(0,)]
        stored = await rows(
            "SELECT model, channel, effect, share, low, high FROM headwater.learnt_models WHERE site = ''"
        )
        assert {row[0] for row in stored} == LEARNT
        assert all(low <= share <= high for _, _, _, share, low, high in stored)  # type: ignore[operator]
        effects = {(model, channel): max(0, effect) for model, channel, effect, *_ in stored}  # type: ignore[type-var]
        assert await rows("SELECT count() FROM headwater.credits WHERE model IN ('markov', 'shapley')") == [
            (0,)
        ]

        credited = (
            "SELECT model, channel, sum(amount) FROM headwater.credits"
            " WHERE visitor_id = {v:String} GROUP BY model, channel"
        )
        found: dict[tuple[object, object], object] = {}

        async def is_credited() -> bool:
            visitor = f"late-{len(visitors)}"
            visitors.append(visitor)
            await come_and_buy(up, visitor, int(time.time() * 1000))

            async def has_credit() -> bool:
                found.clear()
                for model, channel, amount in await rows(credited, v=visitor):
                    found[model, channel] = amount
                return ("linear", "Email") in found

            await until(has_credit, f"credit for {visitor}")
            return LEARNT <= {str(model) for model, _ in found}

        visitors: list[str] = []
        await until(is_credited, "workers that follow the active tables")
        for model in LEARNT:
            paid, letter = effects[model, "Paid Search"], effects[model, "Email"]
            expected = round(100 * float(paid / (paid + letter)), 2)  # type: ignore[operator]
            assert float(found.get((model, "Paid Search"), 0)) == pytest.approx(expected, abs=0.011)  # type: ignore[arg-type]
        versions = await rows(
            "SELECT DISTINCT policy_version FROM headwater.credits WHERE model IN ('markov', 'shapley')"
        )
        assert len(versions) == 1
        old = await rows(
            "SELECT count() FROM headwater.credits WHERE policy_version != {v:String}", v=versions[0][0]
        )
        assert old[0][0] > 1_000  # type: ignore[operator]
        policies = await rows(
            "SELECT policy FROM headwater.policies WHERE version = {v:String}", v=versions[0][0]
        )
        assert '"learnt":{"markov":' in str(policies[0][0])
        wrong = [
            check for check in await asyncio.to_thread(run_checks, client, "headwater") if not check.passed
        ]
        assert wrong == []


@pytest.mark.slow
async def test_a_running_system_learns_by_itself(tmp_path: Path) -> None:
    """As soon as there is enough, and without stopping for it."""
    options = UpOptions(
        data_dir=tmp_path / "up", collector_port=0, api_port=0, env={"HEADWATER_LEARN_HOURS": "0.001"}
    )
    async with Up(options) as up:
        client: Client = await asyncio.to_thread(connect, up.run["clickhouse"], "headwater")
        await play(up, client, seed=6, people=1_000)

        async def has_learnt() -> bool:
            _, said = await headwater(options.data_dir, "doctor")
            return "learning: active: markov" in said

        await until(has_learnt, "a table that is active", 180.0)
        log = (options.data_dir / "logs" / "worker.log").read_text()
        assert '"event": "learnt"' in log
        assert log.count('"event": "worker_started"') == 1
