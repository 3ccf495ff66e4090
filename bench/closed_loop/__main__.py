"""Plays the story, step by step, and compares every figure."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from attribution.errors import HeadwaterError
from bench.closed_loop.senders import DAY_MS, HUBSPOT_SECRET, STANDARD_SECRET, Senders
from bench.closed_loop.story import (
    BY_DAY,
    EMAIL,
    PAID_SEARCH,
    STEPS,
    USD_PER_EUR,
    WON,
    Step,
)
from runtime.collector_client import open_intake
from runtime.imports.rates import import_rates
from runtime.installation import settings_of
from runtime.up import Up, UpOptions

BEGAN_DAYS_AGO = 60
SETTLE_S = 45.0
_POLL_S = 0.3
OF_TOUCHES = frozenset({"revenue_roi"})
"""Metrics that are asked of the touches of a time and what came of them."""

Row = Sequence[Any]


@dataclass(frozen=True)
class Found:
    """What was to be read otherwise: (figure, expected, read)."""

    differences: tuple[tuple[str, object, object], ...]
    figures: int


class Reader:
    """Asks the query API."""

    def __init__(self, http: aiohttp.ClientSession, run: Mapping[str, Any]) -> None:
        self._http = http
        self._url = f"{run['api']}/v1/query"
        self._funnel = f"{run['api']}/v1/funnel?by=channel&currency=EUR"
        self._headers = {"Authorization": f"Bearer {run['read_key']}"}

    async def ask(self, metrics: str, dimensions: str = "", **more: Any) -> list[Row]:
        """Rows of an answer in EUR."""
        body = {"metrics": metrics.split(), "dimensions": dimensions.split(), "currency": "EUR", **more}
        async with self._http.post(self._url, json=body, headers=self._headers) as answer:
            told = await answer.json()
            if answer.status != 200:
                raise HeadwaterError(f"{body}: {told}")
            rows: list[Row] = told["rows"]
            return rows

    async def funnel(self) -> tuple[dict[str, tuple[object, ...]], dict[str, int]]:
        """The stages that anybody is at, as ``Expected.funnel`` says them; and people by channel."""
        async with self._http.get(self._funnel, headers=self._headers) as answer:
            told = await answer.json()
            if answer.status != 200:
                raise HeadwaterError(f"the funnel: {told}")
        names = ("persons", "lost", "median_seconds_from_first", "cost_per_person")
        stages = {
            one["stage"]: tuple(one[name] for name in names) for one in told["stages"] if one["persons"]
        }
        return stages, {one["channel"]: one["persons"] for one in told["channels"] if one["persons"]}


async def play(run: Mapping[str, Any], day_0: int, console: Console) -> bool:
    """Whether every figure was right at every step. ``day_0``: epoch milliseconds, midnight UTC."""
    async with aiohttp.ClientSession() as http, open_intake(run["collector"], run["site_key"]) as intake:
        senders = Senders(intake, http, run["collector"], run["site_key"], day_0)
        reader = Reader(http, run)
        is_right = True
        for number, step in enumerate(STEPS, 1):
            await step.act(senders)
            began = time.monotonic()
            found = await _until_right(reader, step)
            is_right = _print(console, f"{number}. {step.title}", found, began) and is_right
        began = time.monotonic()
        return _print(console, "When it came and went", await _dated(reader, senders), began) and is_right


async def _until_right(reader: Reader, step: Step) -> Found:
    """First under one model, again and again, then under all: what is wrong under any is waited for, too."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = await _compare(reader, step, ("linear",))
        if not found.differences or time.monotonic() > deadline:
            found = await _compare(reader, step, tuple(WON))
            if not found.differences or time.monotonic() > deadline:
                return found
        await asyncio.sleep(_POLL_S)


async def _compare(reader: Reader, step: Step, models: Sequence[str]) -> Found:
    expected, figures = step.expected, 0
    differences: list[tuple[str, object, object]] = []

    def check(name: str, wanted: object, read: object) -> None:
        nonlocal figures
        figures += 1
        if wanted != read:
            differences.append((name, wanted, read))

    for model in models:
        rows = await reader.ask("conversions revenue pipeline", "conversion_type channel", model=model)
        number: dict[str, Decimal] = defaultdict(Decimal)
        worth: dict[str, Decimal] = defaultdict(Decimal)
        shares = {of: {PAID_SEARCH: "0.00", EMAIL: "0.00"} for of in ("deal_won", "purchase")}
        for type_, channel, conversions, revenue, pipeline in rows:
            number[type_] += Decimal(str(conversions))
            worth[type_] += Decimal(revenue) + Decimal(pipeline)
            if type_ in shares:
                shares[type_][channel] = revenue
        standing = {type_: (int(count), f"{worth[type_]:.2f}") for type_, count in number.items() if count}
        check(f"{model}: what stands", dict(expected.standing), standing)
        for what, of, by_model in (
            ("deal", "deal_won", expected.deal),
            ("order", "purchase", expected.order),
        ):
            wanted = by_model.get(model, ("0.00", "0.00"))
            check(f"{model}: the {what}", {PAID_SEARCH: wanted[0], EMAIL: wanted[1]}, shares[of])
    if expected.funnel:
        stages, channels = await reader.funnel()
        check("the funnel", dict(expected.funnel), stages)
        check("the funnel by channel", {PAID_SEARCH: 1}, channels)
    for basis in ("conversion", "touch"):
        names = [name for name in expected.metrics if (name in OF_TOUCHES) == (basis == "touch")]
        if names:
            (row,) = await reader.ask(" ".join(names), model="linear", basis=basis)
            for name, read in zip(names, row, strict=True):
                check(name, expected.metrics[name], read if read is None else str(read))
    return Found(tuple(differences), figures)


async def _dated(reader: Reader, senders: Senders) -> Found:
    differences: list[tuple[str, object, object]] = []
    for (type_, basis), days in BY_DAY.items():
        only = [["conversion_type", "is", [type_]]]
        rows = await reader.ask("revenue", "day", basis=basis, filters=only, model="linear")
        wanted = [[senders.text(day)[:10], amount] for day, amount in days]
        if wanted != [list(row) for row in rows]:
            differences.append((f"{type_} by day of {basis}", wanted, rows))
    return Found(tuple(differences), sum(map(len, BY_DAY.values())))


def _print(console: Console, title: str, found: Found, began: float) -> bool:
    mark = "[red]wrong[/]" if found.differences else "[green]right[/]"
    took = time.monotonic() - began
    console.print(f"{mark} {title}: {found.figures} figures, {took:.1f} s", highlight=False)
    for name, wanted, read in found.differences:
        console.print(f"   {name}: expected {wanted}, read {read}", highlight=False, markup=False)
    return not found.differences


async def run_story(folder: Path, console: Console) -> bool:
    """Play it to a system that lives in ``folder``, which is empty."""
    webhooks = folder / "webhooks.toml"
    env = {"HEADWATER_WEBHOOKS_FILE": str(webhooks), "HEADWATER_LEARN_HOURS": "0"}
    up = Up(UpOptions(data_dir=folder / "up", collector_port=0, api_port=0, env=env))
    site, url = up.run["site_key"], up.run["collector"]
    written = [f'public_url = "{url}"']
    for sender, field, secret in (
        ("hubspot", "client_secrets", HUBSPOT_SECRET),
        ("standard", "secrets", STANDARD_SECRET),
    ):
        (folder / sender).write_text(secret)
        written += ["[[webhook]]", f'site = "{site}"', f'sender = "{sender}"', f'{field} = ["file:{sender}"]']
    webhooks.write_text("\n".join(written))
    async with up:
        day_0 = (int(time.time()) // 86_400 - BEGAN_DAYS_AGO) * DAY_MS
        rates = folder / "rates.csv"
        rates.write_text(f"day,currency,rate\n{date.fromtimestamp(day_0 / 1000)},USD,{USD_PER_EUR}\n")
        settings = settings_of(folder / "up")
        if await asyncio.to_thread(import_rates, settings, [rates], Console(quiet=True)) != 0:
            return False
        return await play(up.run, day_0, console)


def main() -> int:
    """Exit code 0 when every figure was right."""
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="headwater-story-") as folder:
        try:
            is_right = asyncio.run(run_story(Path(folder), console))
        except HeadwaterError as error:
            console.print(str(error), markup=False)
            return 2
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
