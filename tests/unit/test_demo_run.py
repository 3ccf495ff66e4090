"""The demo as a whole, played to a system that answers what is true, and to one that is off by a cent."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import runtime.demo
from api.plan import Conversion, Terms, build_plan
from api.requests import parse_query
from runtime.collector_client import SpendCounts
from runtime.demo import run_demo
from runtime.settings import Settings
from runtime.simulator.costs import EURO, Costs, exact_dollars
from runtime.simulator.crm import CURRENCY
from runtime.simulator.money import true_costs, true_metrics
from runtime.simulator.observer import MODELS, Amounts, Place, Snapshot, question_of
from runtime.simulator.programmes import PROGRAMMES
from runtime.simulator.shop_sender import write_sender
from runtime.simulator.world import World

RATES = {date(2020, 1, 1): Decimal("1.1172")}
Row = list[Any]


class _Collector:
    """Takes everything."""

    def __init__(self) -> None:
        self.repeated_hits = 0
        self.hits = 0
        self.webhooks: list[str] = []
        self.facts: list[Mapping[str, Any]] = []

    async def pixel(self, fields: Mapping[str, str], user_agent: str) -> None:
        self.hits += 1

    async def batch(self, hits: Sequence[Mapping[str, Any]]) -> list[None]:
        self.hits += len(hits)
        return [None] * len(hits)

    async def spend(self, facts: Sequence[Mapping[str, Any]], key: str = "") -> SpendCounts:
        self.facts += facts
        return SpendCounts({"new": len(facts)}, [])

    async def webhook(self, sender: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.webhooks.append(headers["webhook-id"])


class _System:
    """Answers as a system does that has understood everything; nothing before anything was sent."""

    def __init__(self, collector: _Collector, off: Mapping[str, int]) -> None:
        self.collector = collector
        self.world: World | None = None
        self.costs: Costs | None = None
        self._off = off

    async def models(self) -> list[str]:
        return list(MODELS)

    async def rates(self) -> dict[date, Decimal]:
        return RATES

    async def drops(self) -> dict[str, int]:
        return {}

    async def by_channel(self, model: str) -> dict[str, Amounts]:
        return {}

    async def snapshot(self, models: Sequence[str] = MODELS) -> Snapshot:
        if not self.collector.hits or self.world is None:
            return Snapshot({}, {model: {} for model in models}, {})
        truth = self.world.truth
        places: dict[str, Place] = {
            way.channel: (way.channel, way.source or "google", way.campaign)
            for programme in PROGRAMMES
            for way in programme.arrivals
        }
        traffic = {places[channel]: Amounts(sessions=n) for channel, n in truth.sessions.items()}
        first = next(iter(traffic))
        traffic[first] += Amounts(hits=truth.unique)
        credit = {first: Amounts(conversions=Decimal(truth.conversions), revenue=truth.revenue)}
        drops = {"bot": truth.bots, "duplicate": truth.duplicates}
        return Snapshot(traffic, dict.fromkeys(models, credit), drops)

    async def ask(
        self, metrics: Sequence[str], dimensions: Sequence[str], model: str, **more: Any
    ) -> list[Row]:
        question = question_of("s", metrics, dimensions, model, **more)
        request = parse_query(json.dumps(question).encode())
        for conversion in (None, Conversion((EURO, CURRENCY), 30_000)):
            build_plan(request, "headwater", MODELS, Terms(), conversion)  # the query API would refuse
        if not self.collector.facts or self.world is None or self.costs is None:
            return []
        truth, crm, costs = self.world.truth, self.world.truth.crm, self.costs.truth
        match list(dimensions):
            case ["campaign", "day"]:
                return [
                    [campaign, day, self._money("billed", cents)]
                    for (currency, campaign, day), cents in costs.billed.items()
                    if currency == more["currency"] and "convert" not in more
                ]
            case ["campaign"]:
                assert more["convert"]
                return [
                    [name, self._money("spend", cost.spend), *cost.counts]
                    for name, cost in true_costs(truth, costs, RATES).items()
                ]
            case ["conversion_type"]:
                net = crm.ordered - crm.refunded
                return [
                    ["purchase", truth.orders, self._money("purchase", net), "0.00"],
                    ["deal_won", crm.won_deals, self._money("won", crm.won), "0.00"],
                    ["opportunity", crm.opportunities, "0.00", self._money("pipeline", crm.pipeline)],
                    ["sql", Decimal(crm.qualified), "0.00", "0.00"],
                ]
            case ["channel", "source", "campaign"]:
                return [["Email", "newsletter", "mail_weekly", Decimal("1.5"), "12.00", None, Decimal(1)]]
            case ["channel"]:
                assert more["convert"]
                assert more["order_by"] == [["spend", "desc"]]
                return [["Email", "0.00", *[None] * (len(metrics) - 1)]]
        true = true_metrics(truth, costs, RATES)
        spend = sum(exact_dollars(costs.billed, RATES).values()) / 100
        assert true["spend"] == spend
        return [[self._metric(name, true) for name in metrics]]

    def _metric(self, name: str, true: Mapping[str, Any]) -> Any:
        if name not in true:
            return None
        value = true[name]
        if name in ("hits", "sessions", "impressions", "clicks", "views", "installs", "qualified_leads"):
            return int(value) + self._off.get(name, 0)
        if name in ("cr", "ctr", "mer", "conversions"):
            return Decimal(f"{float(value):.6f}")
        return f"{float(value):.4f}" if name in ("cpc", "cpv") else f"{float(value):.2f}"

    def _money(self, name: str, cents: int) -> str:
        return f"{Decimal(cents + self._off.get(name, 0)).scaleb(-2):.2f}"


Play = Callable[..., Any]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    """Plays the demo to a made-up system; ``off``: cents by which its answers are wrong."""

    async def played(**off: int) -> tuple[int, str, _System]:
        system = _System(_Collector(), off)
        real_world, real_costs = runtime.demo.build_world, runtime.demo.build_costs

        def world(**arguments: Any) -> World:
            system.world = real_world(**arguments)
            return system.world

        def costs(*arguments: Any, **named: Any) -> Costs:
            system.costs = real_costs(*arguments, **named)
            return system.costs

        @asynccontextmanager
        async def opened(what: object) -> AsyncIterator[object]:
            yield what

        async def learn(*_: object) -> bool:
            return True

        monkeypatch.setattr(runtime.demo, "build_world", world)
        monkeypatch.setattr(runtime.demo, "build_costs", costs)
        monkeypatch.setattr(runtime.demo, "open_intake", lambda *_: opened(system.collector))
        monkeypatch.setattr(runtime.demo, "open_observer", lambda *_: opened(system))
        monkeypatch.setattr(runtime.demo, "_learn", learn)
        monkeypatch.setattr(runtime.demo, "SETTLE_S", 0.0)
        write_sender(tmp_path, "s", tmp_path / "webhooks.toml")
        screen = io.StringIO()
        run = {"collector": "http://collector", "site_key": "s"}
        code = await run_demo(
            run,
            Settings(data_dir=tmp_path),
            exit_after=True,
            seed=11,
            people=120,
            console=Console(file=screen),
        )
        return code, screen.getvalue(), system

    return played


async def test_everything_is_sent_and_every_metric_shown(play: Play) -> None:
    """Exit code 0; hits, cost reports and webhooks, those that come twice included."""
    code, shown, system = await play()
    assert code == 0, shown
    assert system.world is not None
    assert system.costs is not None
    assert system.collector.hits == system.world.truth.sent
    assert system.collector.facts == system.costs.facts
    assert sorted(system.collector.webhooks) == sorted(m.message_id for m in system.world.messages)
    for words in (
        "What each programme cost",
        "pipeline ROI",
        "By channel, as POST /v1/query answers",
        *("revenue_roi", "maturity", "platform_value"),
        "deals won",
        "every metric whose truth is known",
        "Misplaced",
    ):
        assert words in shown
    assert " NO " not in shown


@pytest.mark.parametrize(
    ("off", "name"),
    [
        ("billed", "spend as billed, EUR, by campaign and day"),
        ("spend", "spend in USD, each day at its rate"),
        ("purchase", "orders less refunds, each refund once"),
        ("won", "deals won"),
        ("pipeline", "pipeline: deals that are open or won, no revenue"),
        ("clicks", "every metric whose truth is known"),
    ],
)
async def test_one_cent_makes_it_fail(play: Play, off: str, name: str) -> None:
    """Exit code 1, and the check is named."""
    code, shown, _ = await play(**{off: 1})
    assert code == 1
    assert " NO " in shown
    assert f"{name}: " in " ".join(shown.split())
