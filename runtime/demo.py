"""``headwater demo``: a simulated shop played to a running system, a live table, and a report beside the truth.

Its visitors, what its advertising cost, and what its CRM and till tell of deals and refunds.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from statistics import quantiles
from typing import Any

from rich.console import Console
from rich.live import Live

from attribution.errors import Transient
from runtime.collector_client import Intake, carry_all, open_intake
from runtime.learn import LearnOptions, learn
from runtime.restate import RestateOptions, restate_command
from runtime.settings import Settings
from runtime.simulator import display, money_display
from runtime.simulator.costs import COSTED, Costs, build_costs
from runtime.simulator.instants import DAY_MS, MINUTE_MS
from runtime.simulator.money import (
    MoneySnapshot,
    build_cost_lines,
    build_money_checks,
    metrics_check,
    true_costs,
    true_metrics,
)
from runtime.simulator.money_observer import OF_CUSTOMERS, read_channels, read_metrics, read_money
from runtime.simulator.observer import MODELS, Amounts, Observer, Snapshot, open_observer
from runtime.simulator.report import Check, build_checks, build_lines
from runtime.simulator.sender import send
from runtime.simulator.shop_sender import secret_of, send_costs, send_messages
from runtime.simulator.world import World, build_world

DEFAULT_PEOPLE = 4_000
SETTLE_S = 60.0
"""How long the books may take to balance after the last hit was acknowledged."""
_REFRESH_S = 1.0
_SETTLE_POLL_S = 0.3
_TRICKLE_PEOPLE = 3
_TRICKLE_PAUSE_S = 1.0
_DAYS = 45


async def run_demo(
    run: Mapping[str, Any], settings: Settings, *, exit_after: bool, seed: int, people: int, console: Console
) -> int:
    """Play a world of ``people`` to the system that ``run`` (as in run.json) and ``settings`` describe, and report.

    When all is credited the learnt models learn from it, and it is restated, so that their error is shown, too.

    Returns 0 if everything balances, else 1. Without ``exit_after`` it then goes on with a trickle of new
    people and the live table until it is cancelled. Raises ``Transient`` when a part stays away.
    """
    began = time.monotonic()
    # Fresh ids: the demo can be run again in the same folder. The world itself depends on the seed only.
    now_ms = time.time_ns() // 1_000_000
    run_id, ends_at = f"{now_ms:x}", now_ms - MINUTE_MS
    world = build_world(seed=seed, people=people, ends_at=ends_at, days=_DAYS, run_id=run_id, has_crm=True)
    first_day = ends_at // DAY_MS - _DAYS
    costs = build_costs(world.truth.clicks, seed=seed, first_day=first_day, ends_at=ends_at, run_id=run_id)
    _print_plan(console, world, costs)
    async with open_intake(run["collector"], run["site_key"]) as intake, open_observer(run) as observer:
        before = await observer.snapshot(await observer.models())
        money_before = await read_money(observer)
        base = await observer.by_channel(display.LIVE_MODEL)
        play = _Play(world, costs, intake, observer, await observer.rates(), before, money_before)
        show = _Show(console, observer, base, before.drops, world.truth.sent)
        async with show.shown():
            started = time.monotonic()
            await carry_all(
                (
                    send(intake, world.hits, show.acknowledge),
                    send_costs(intake, costs.facts, settings.spend_key.get_secret_value()),
                    send_messages(intake, world.messages, secret_of(settings.data_dir)),
                )
            )
            sent_s = time.monotonic() - started
            found = await _settle(play)
            settled_s = time.monotonic() - started
        if all(check.is_met for check in found.checks) and await _learn(settings, console):
            found = await _settle(play, await observer.models())
        failed = [check for check in await _report(play, found, console) if not check.is_met]
        _print_times(console, world, sent_s, settled_s, time.monotonic() - began, show.ages)
        for check in failed:
            console.print(f"[red]{check.name}: {check.expected} simulated, {check.measured} measured[/]")
        if not exit_after:
            await _trickle(intake, observer, seed, console)
    return 1 if failed else 0


async def _learn(settings: Settings, console: Console) -> bool:
    """Markov and Shapley from the journeys so far, and everything credited under them, too; False if these are few."""
    began = time.monotonic()
    quiet = Console(quiet=True)
    if await asyncio.to_thread(learn, settings, LearnOptions(), quiet) != 0:
        console.print("Too few journeys for Markov and Shapley to learn from.")
        return False
    learnt_s = time.monotonic() - began
    await asyncio.to_thread(restate_command, settings, RestateOptions(), quiet)
    console.print(
        f"Markov and Shapley have learnt from these journeys ({learnt_s:.1f} s), and all conversions are restated"
        f" ({time.monotonic() - began - learnt_s:.1f} s).",
        highlight=False,
        soft_wrap=True,
    )
    return True


@dataclass(frozen=True)
class _Play:
    """What is played to which system, and what stood there before."""

    world: World
    costs: Costs
    intake: Intake
    observer: Observer
    rates: Mapping[date, Decimal]
    """Dollars for one euro."""
    before: Snapshot
    money_before: MoneySnapshot

    @property
    def is_all(self) -> bool:
        """Nothing was there before, so that ratios of everything are those of the simulated world."""
        credit = any(self.before.credit.values())
        return not (self.before.traffic or credit or any(self.money_before.billed.values()))

    async def look(self, models: Sequence[str]) -> _Found:
        """What stands now, and whether it is right."""
        snapshot = (await self.observer.snapshot(models)).since(self.before)
        money = await read_money(self.observer)
        truth = self.world.truth
        checks = build_checks(truth, snapshot, self.intake.repeated_hits)
        checks += build_money_checks(truth, self.costs.truth, self.money_before, money, self.rates)
        return _Found(checks, snapshot, money.since(self.money_before))


@dataclass(frozen=True)
class _Found:
    """What has come since the demo began, and the checks of it."""

    checks: list[Check]
    snapshot: Snapshot
    money: MoneySnapshot


async def _settle(play: _Play, models: Sequence[str] = MODELS) -> _Found:
    """What is found as soon as all checks are met, or as they are after ``SETTLE_S``."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        found = await play.look(models)
        if all(check.is_met for check in found.checks) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(_SETTLE_POLL_S)


async def _report(play: _Play, found: _Found, console: Console) -> list[Check]:
    """Print everything; the checks, the last of them of every metric if the simulated world is all that there is."""
    truth = play.world.truth
    lines = build_lines(truth, found.snapshot)
    told = await read_metrics(play.observer)
    true = true_metrics(truth, play.costs.truth, play.rates) if play.is_all else {}
    checks = [*found.checks, *([metrics_check(true, told)] if play.is_all else [])]
    true_by_campaign = true_costs(truth, play.costs.truth, play.rates)
    cost_lines = build_cost_lines(lines, true_by_campaign, found.money)
    tables = [
        money_display.cost_table(cost_lines),
        money_display.return_table(cost_lines),
        money_display.channel_table(await read_channels(play.observer)),
        money_display.channel_table(await read_channels(play.observer, OF_CUSTOMERS), OF_CUSTOMERS),
        money_display.metrics_table(told, true),
    ]
    display.print_report(console, truth, lines, checks, tables)
    return checks


class _Show:
    """The live view: acknowledges counted, the channel table asked for again every second."""

    def __init__(
        self,
        console: Console,
        observer: Observer,
        base: Mapping[str, Amounts],
        base_drops: Mapping[str, int],
        total: int,
    ) -> None:
        self._console = console
        self._observer = observer
        self._base = base
        self._base_drops = sum(base_drops.values())
        self._total = total
        self._progress = display.new_progress()
        self._task = self._progress.add_task("sent", total=total)
        self._counts: list[int] = []
        self._times: list[float] = []
        self.ages: list[float] = []
        """Seconds: age of the oldest acknowledged hit that was not yet to be seen, at every look."""

    @property
    def sent(self) -> int:
        """Hits acknowledged."""
        return self._counts[-1] if self._counts else 0

    def acknowledge(self, hits: int) -> None:
        """Note that ``hits`` more are acknowledged now."""
        self._counts.append(self.sent + hits)
        self._times.append(time.monotonic())
        self._progress.advance(self._task, hits)

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """While inside, the view is refreshed."""
        view = Live(self._progress, console=self._console, transient=True, auto_refresh=False)
        task = asyncio.create_task(self._refresh(view))
        try:
            if self._console.is_terminal:
                with view:
                    yield
            else:
                yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _refresh(self, view: Live) -> None:
        while True:
            await asyncio.sleep(_REFRESH_S)
            try:
                asked_at = time.monotonic()
                drops = await self._observer.drops()
                channels = _less(await self._observer.by_channel(display.LIVE_MODEL), self._base)
            except Transient as error:
                self._console.print(str(error), markup=False)
                continue
            age = self._oldest_unseen(asked_at, channels, drops)
            if self._console.is_terminal:
                note = f"{age:.1f} s behind"
                view.update(display.live_view(channels, self._progress, note), refresh=True)
            else:
                line = display.one_line(channels, self.sent, self._total, age)
                self._console.print(line, highlight=False, soft_wrap=True)

    def _oldest_unseen(
        self, asked_at: float, channels: Mapping[str, Amounts], drops: Mapping[str, int]
    ) -> float:
        """Hits are seen about in the order of their acknowledgement; a dropped hit counts as seen."""
        seen = sum(amounts.hits for amounts in channels.values()) + sum(drops.values()) - self._base_drops
        position = bisect_right(self._counts, seen)
        age = max(0.0, asked_at - self._times[position]) if position < len(self._times) else 0.0
        self.ages.append(age)
        return age


async def _trickle(intake: Intake, observer: Observer, seed: int, console: Console) -> None:
    """New people every second until cancelled, with the live table."""
    console.print("A trickle of new people goes on. Ctrl-C stops.")
    view = Live(console=console, auto_refresh=False)
    number = 0
    with view if console.is_terminal else nullcontext():
        while True:
            number += 1
            now_ms = time.time_ns() // 1_000_000
            run_id = f"{now_ms:x}"
            world = build_world(
                seed=seed + number, people=_TRICKLE_PEOPLE, ends_at=now_ms, days=3, run_id=run_id
            )
            await send(intake, world.hits, lambda hits: None)
            if console.is_terminal:
                channels = await observer.by_channel(display.LIVE_MODEL)
                view.update(display.live_view(channels, "", "Ctrl-C stops"), refresh=True)
            await asyncio.sleep(_TRICKLE_PAUSE_S)


def _print_plan(console: Console, world: World, costs: Costs) -> None:
    truth, crm = world.truth, world.truth.crm
    for line in (
        f"{truth.people:,} people on {truth.visitors:,} devices, {_DAYS} days, {truth.sent:,} hits to send: "
        f"{truth.bots:,} by robots, {truth.duplicates:,} twice, some days late.",
        f"{costs.truth.facts:,} cost reports of {len(COSTED)} campaigns, {costs.truth.corrected:,} corrected later; "
        f"{crm.deals:,} deals, {crm.reopened:,} of them opened again; {crm.refunds:,} refunds by the till, "
        f"{crm.refunds_by_hits:,} by hits of the shop's server. "
        f"{crm.messages:,} webhooks, {crm.deliveries - crm.messages:,} of them twice, in no order.",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _less(after: Mapping[str, Amounts], before: Mapping[str, Amounts]) -> dict[str, Amounts]:
    return {channel: amounts + -before.get(channel, Amounts()) for channel, amounts in after.items()}


def _print_times(
    console: Console, world: World, sent_s: float, settled_s: float, all_s: float, ages: list[float]
) -> None:
    late = sum(hit.send_at - int(hit.fields["occurred_at"]) > DAY_MS for hit in world.hits)
    console.print(
        f"Sent {world.truth.sent:,} hits in {sent_s:.1f} s ({world.truth.sent / sent_s:,.0f}/s), {late:,} of them "
        f"more than a day late. Everything credited {settled_s - sent_s:.1f} s after the last one. "
        f"Demo: {all_s:.1f} s.",
        highlight=False,
        soft_wrap=True,
    )
    if len(ages) > 1:
        median = quantiles(ages, n=2)[0]
        console.print(
            f"Freshness under full load, {len(ages)} looks: oldest hit not yet in the report "
            f"{median:.2f} s (median), {max(ages):.2f} s (worst).",
            highlight=False,
            soft_wrap=True,
        )
