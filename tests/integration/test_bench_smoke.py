"""``python -m bench --quick`` measures everything. How fast anything is depends on the machine: not asserted."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from bench.__main__ import PARTS, QUICK, Bench, print_table
from bench.collector import missing_tools
from bench.machine import pick_cores

WORKER = (
    "worker, envelopes: events/s",
    "worker, envelopes: events per CPU second",
    "worker, one hit a record: events/s",
    "worker, one hit a record: events per CPU second",
    "worker, envelopes: CPU seconds per 1,000 events",
)
STORES = (
    "Redis bytes per visitor: timeline key",
    "Redis bytes per visitor: growth of all",
    *(
        f"{question}: {figure}"
        for question in ("dashboard table", "visitors by channel, counted")
        for figure in ("p50", "p95", "engine CPU")
    ),
    *(
        f"{question}: {figure}"
        for question in ("paths", "paths, without the roll-up")
        for figure in ("p50", "p95", "engine CPU")
    ),
    *(
        f"paths: {figure} {what}"
        for figure in ("p95", "engine CPU")
        for what in ("of many to few", "without the roll-up to with it")
    ),
    "dashboard table: p95 of the largest to the smallest",
    "dashboard table: engine CPU of the largest to the smallest",
)
COLLECTOR = ("collector: durable pixel requests/s", "collector: durable pixel requests per CPU second")
FRESHNESS = ("whole system, HTTP to channel_metrics: events/s", "freshness p50", "freshness p99")


@pytest.mark.slow
async def test_restating_is_measured() -> None:
    """Whole way under five policies, and computation alone."""
    bench = Bench(QUICK, pick_cores(), ["restate"])
    await bench.run()
    assert len(bench.figures) == 12
    assert all(float(figure.ours.replace(",", "")) > 0 for figure in bench.figures)


@pytest.mark.slow
async def test_questions_about_customers_are_measured() -> None:
    """Of what is kept and of what is read anew, over few and many conversions."""
    bench = Bench(QUICK, pick_cores(), ["customers"])
    await bench.run()
    assert len(bench.figures) == 2 * 3 * len(QUICK.bought)


@pytest.mark.slow
async def test_people_who_log_in_are_measured() -> None:
    """Nobody, some and all of them; every row is checked."""
    bench = Bench(QUICK, pick_cores(), ["identified"])
    await bench.run()
    assert len(bench.figures) == 3
    assert all(float(figure.ours.replace(",", "")) > 0 for figure in bench.figures)


@pytest.mark.slow
async def test_every_figure_is_measured() -> None:
    """All parts but those with rivals (they have tests of their own), small; the worker's also checks every row."""
    bench = Bench(
        QUICK, pick_cores(), [part for part in PARTS if part not in ("rivals", "models", "restate")]
    )
    await bench.run()
    measured = {
        figure.name: float(re.sub(r"[^0-9.]", "", figure.ours or figure.ratio)) for figure in bench.figures
    }
    expected = {*WORKER, *STORES, *FRESHNESS}
    if missing_tools():
        assert "nginx" in " ".join(bench.notes)
    else:
        expected |= set(COLLECTOR)
    assert expected == measured.keys()
    assert [name for name, value in measured.items() if value <= 0] == []
    printed = io.StringIO()
    print_table(Console(file=printed, width=150), bench.figures, bench.notes)
    assert all(name in printed.getvalue() for name in expected)
