"""Every figure of docs/performance.md in one run: ``python -m bench [--quick] [--only NAME]``.

Prints one table at the end. Ratios compare two things measured in the same run on the same core; no absolute time
is promised. Exit code 0 when every figure could be measured and everything that the worker kept was right.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from attribution.errors import HeadwaterError
from bench.collector import measure_collector, missing_tools
from bench.customers import measure_customers
from bench.freshness import measure_freshness
from bench.headwater import BenchFailed, Installation
from bench.identified import measure_identified
from bench.machine import Cores, describe, pick_cores, stay_on, using_both
from bench.models.section import ModelSizes, measure_models
from bench.paths import measure_paths
from bench.query import Latency, measure_scales, measure_visitors
from bench.recovery import Hour, measure_recovery
from bench.restate import measure_restate
from bench.rivals.section import Found, RivalSizes, measure_rivals, print_races
from bench.roll_up import Scale
from bench.stores import measure_memory, used_memory
from bench.traffic import Traffic, build_traffic, envelopes, singles
from bench.worker import PARTITIONS, Run, run_worker

PARTS = ("worker", "rivals", "memory", "query", "collector", "freshness", "models", "restate")
WHEN_ASKED = ("recovery", "identified", "paths", "customers")
"""Only by ``--only``: long, or (``paths``) a part of ``query`` already."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    hits: int
    """Of the runs in envelopes."""
    few_hits: int
    """Of the runs with one hit per record."""
    rounds: int
    rivals: RivalSizes
    models: ModelSizes
    collector_seconds: int
    burst_hits: int
    freshness_seconds: float
    queries: int
    scales: tuple[Scale, ...]
    """Of the roll-ups that the page's table is asked of, the smallest first."""
    came: tuple[int, int]
    """Conversions whose paths are asked for, few and many."""
    bought: tuple[int, ...]
    """Conversions whose customers are asked for, the fewest first."""
    hour: Hour
    """For which the worker was away."""
    restated: int
    """Conversions."""
    identified_hits: int


FULL_SCALES = (Scale(1_000_000, 10_000), Scale(100_000_000, 1_000_000))
QUICK_SCALES = (Scale(10_000, 100), Scale(100_000, 1_000))
FULL = Sizes(
    240_000,
    30_000,
    3,
    RivalSizes(),
    ModelSizes(),
    4,
    30_000,
    15.0,
    200,
    FULL_SCALES,
    (10_000, 1_000_000),
    (30_000, 300_000, 1_000_000),
    Hour(150.0, 3600),
    40_000,
    100_000,
)
QUICK = Sizes(
    8_000,
    2_000,
    1,
    RivalSizes(1_000, 3_000, 500, 1_000),
    ModelSizes(500, 1, (1_000, 10_000)),
    1,
    1_000,
    3.0,
    20,
    QUICK_SCALES,
    (100, 1_000),
    (100, 1_000),
    Hour(50.0, 60),
    1_000,
    4_000,
)


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    ours: str
    beside: str = ""
    ratio: str = ""
    target: str = ""


class Bench:
    """Collects figures; says what it is doing on standard error."""

    def __init__(self, sizes: Sizes, cores: Cores, wanted: Sequence[str]) -> None:
        self._sizes = sizes
        self._cores = cores
        self._wanted = frozenset(wanted)
        self.figures: list[Figure] = []
        self.rivals = Found()
        self.notes: list[str] = []
        if not cores.are_apart:
            self.notes.append(
                "One core only: what is measured shares it with the servers and the load generator."
            )

    async def run(self) -> None:
        """Measure everything that is wanted. Raises ``BenchFailed``."""
        if "worker" in self._wanted:
            await self._worker()
        elif self._wanted & {"memory", "query"}:
            await self._envelopes(build_traffic(self._sizes.hits), is_last=True)
        if "query" in self._wanted:
            await self._query()
        if self._wanted & {"query", "paths"}:
            await self._paths()
        if "customers" in self._wanted:
            await self._customers()
        if "rivals" in self._wanted:
            await self._rivals()
        if "collector" in self._wanted:
            await self._collector()
        if "freshness" in self._wanted:
            await self._freshness()
        if "models" in self._wanted:
            self._models()
        if "restate" in self._wanted:
            rows = await measure_restate(self._sizes.restated, self._cores, self._say)
            self.figures += [Figure(*row) for row in rows]
        if "identified" in self._wanted:
            sizes = self._sizes
            rows = await measure_identified(sizes.identified_hits, sizes.rounds, self._cores, self._say)
            self.figures += [Figure(*row) for row in rows]
        if "recovery" in self._wanted:
            found = await measure_recovery(self._sizes.hour, self._cores, self._say)
            self.figures += [Figure(*row) for row in found.rows()]

    async def _worker(self) -> None:
        """Rounds of both, one after the other, so that what else the machine does meets all of them."""
        sizes, cores = self._sizes, self._cores
        traffic, few = build_traffic(sizes.hits), build_traffic(sizes.few_hits)
        single: list[Run] = []
        full: list[Run] = []
        for number in range(1, sizes.rounds + 1):
            self._say(f"round {number} of {sizes.rounds}: worker, {len(few.hits):,} records of one hit")
            async with Installation.open(PARTITIONS) as house:
                records = singles(few.hits, PARTITIONS)
                single.append(await run_worker(house, few, records, "worker, single records", cores))
            full.append(await self._envelopes(traffic, is_last=number == sizes.rounds))
        for name, runs in (("worker, envelopes", full), ("worker, one hit a record", single)):
            self._add(f"{name}: events/s", f"{statistics.median(run.per_second for run in runs):,.0f}")
            self._add(
                f"{name}: events per CPU second",
                f"{statistics.median(run.per_cpu_second for run in runs):,.0f}",
            )
        cpu = statistics.median(run.cpu_s / run.events * 1e6 for run in full)
        self._add("worker, envelopes: CPU seconds per 1,000 events", f"{cpu / 1000:.4f}")

    async def _envelopes(self, traffic: Traffic, *, is_last: bool) -> Run:
        """One run in envelopes, and what is looked at in the stores afterwards."""
        records = envelopes(traffic.hits, PARTITIONS)
        self._say(f"worker, {len(traffic.hits):,} hits in {len(records):,} records")
        async with Installation.open(PARTITIONS) as house:
            used_before = used_memory(house)
            run = await run_worker(house, traffic, records, "worker, envelopes", self._cores)
            if is_last and "memory" in self._wanted:
                memory = measure_memory(house, traffic, used_before, sample=5_000)
                count = f"{memory.visitors:,} visitors"
                self._add(
                    "Redis bytes per visitor: timeline key", f"{memory.timeline:,.0f}", count, "", "450"
                )
                self._add("Redis bytes per visitor: growth of all", f"{memory.growth:,.0f}", count)
            if is_last and "query" in self._wanted:
                self._say("visitors by channel")
                latency = await measure_visitors(house, self._cores, times=self._sizes.queries)
                what = f"{traffic.kept:,} hits of {traffic.visitors:,} visitors"
                self._add_latency("visitors by channel, counted", latency, what)
        return run

    async def _query(self) -> None:
        sizes = self._sizes
        found = await measure_scales(sizes.scales, self._cores, times=sizes.queries, say=self._say)
        for one in found:
            what = f"{one.scale.hits:,} hits, {one.scale.conversions:,} conversions, {one.rows:,} rows"
            self._add_latency("dashboard table", one.latency, what, "50 ms")
        small, large = found[0].latency, found[-1].latency
        times = f"{found[-1].scale.hits // found[0].scale.hits} x the hits"
        for name, ratio in (
            ("p95", large.p95_ms / small.p95_ms),
            ("engine CPU", large.engine_cpu_ms / small.engine_cpu_ms if small.engine_cpu_ms else 0.0),
        ):
            self._add(
                f"dashboard table: {name} of the largest to the smallest", "", times, f"{ratio:.2f} x", "2 x"
            )

    async def _paths(self) -> None:
        found = await measure_paths(self._sizes.came, self._cores, times=self._sizes.queries, say=self._say)
        for one in found:
            what = f"{one.conversions:,} conversions, {one.different:,} paths, {one.rows:,} rows"
            self._add_latency("paths", one.latency, what, "50 ms")
            self._add_latency("paths, without the roll-up", one.from_rows, what)
        few, many = found[0].latency, found[-1].latency
        rows = found[-1].from_rows
        times = f"{found[-1].conversions // found[0].conversions} x the conversions"
        for name, old, new, least in (
            ("p95", rows.p95_ms, many.p95_ms, few.p95_ms),
            ("engine CPU", rows.engine_cpu_ms, many.engine_cpu_ms, few.engine_cpu_ms),
        ):
            self._add(f"paths: {name} without the roll-up to with it", "", "", f"{old / max(new, 1):.2f} x")
            self._add(f"paths: {name} of many to few", "", times, f"{new / max(least, 1):.2f} x", "2 x")

    async def _customers(self) -> None:
        times = max(10, self._sizes.queries // 10)
        for one in await measure_customers(self._sizes.bought, self._cores, times=times, say=self._say):
            what = f"{one.conversions:,} conversions, {one.entries:,} entries of the model"
            self._add_latency("customers by channel", one.kept, what)
            self._add_latency("customers by channel, read anew", one.read, what)

    async def _rivals(self) -> None:
        self.rivals = await measure_rivals(self._sizes.rivals, self._cores, self._say)
        self.notes += self.rivals.notes

    def _models(self) -> None:
        found = measure_models(self._sizes.models, self._cores, self._say)
        self.figures += [Figure(*row) for row in found.rows]
        self.notes += found.notes

    async def _collector(self) -> None:
        reason = missing_tools()
        if reason:
            self.notes.append(f"No comparison of the collector with nginx: {reason}.")
            return
        self._say("collector and nginx")
        sizes = self._sizes
        found = await measure_collector(self._cores, seconds=sizes.collector_seconds, rounds=sizes.rounds)
        self._add(
            "collector: durable pixel requests/s",
            f"{found.collector:,.0f}",
            f"nginx empty_gif {found.nginx:,.0f}",
            f"{found.ratio:.3f} x",
            "0.30 x",
        )
        self._add(
            "collector: durable pixel requests per CPU second",
            f"{found.collector_per_cpu:,.0f}",
            f"nginx empty_gif {found.nginx_per_cpu:,.0f}",
            f"{found.cpu_ratio:.3f} x",
        )

    async def _freshness(self) -> None:
        self._say("freshness")
        sizes = self._sizes
        with using_both(self._cores):
            found = await measure_freshness(burst_hits=sizes.burst_hits, seconds=sizes.freshness_seconds)
        what = f"{found.markers} markers, {found.load:,.0f} hits/s"
        self._add("whole system, HTTP to channel_metrics: events/s", f"{found.sustained:,.0f}")
        self._add("freshness p50", f"{found.p50_ms:,.0f} ms", what, "", "500 ms")
        self._add("freshness p99", f"{found.p99_ms:,.0f} ms", what, "", "1,500 ms")

    def _add_latency(self, name: str, latency: Latency, what: str, target: str = "") -> None:
        self._add(f"{name}: p50", f"{latency.p50_ms:.1f} ms", what)
        self._add(f"{name}: p95", f"{latency.p95_ms:.1f} ms", what, "", target)
        self._add(f"{name}: engine CPU", f"{latency.engine_cpu_ms:.1f} ms", what)

    def _add(self, name: str, ours: str, beside: str = "", ratio: str = "", target: str = "") -> None:
        self.figures.append(Figure(name, ours, beside, ratio, target))

    def _say(self, text: str) -> None:
        print(f"... {text}", file=sys.stderr, flush=True)


def print_table(console: Console, figures: Sequence[Figure], notes: Sequence[str]) -> None:
    """The table if there is one, then the notes."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("figure", "Headwater", "beside", "ratio", "target"):
        table.add_column(column, justify="left" if column in ("figure", "beside") else "right")
    for figure in figures:
        table.add_row(figure.name, figure.ours, figure.beside, figure.ratio, figure.target)
    if figures:
        console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that it works, not how fast it is"
    )
    parser.add_argument(
        "--only", choices=PARTS + WHEN_ASKED, action="append", help="one part; may be given several times"
    )
    options = parser.parse_args(argv)
    # A topic's first records meet leaders that are still being chosen, and are sent again.
    logging.getLogger("aiokafka.producer").setLevel(logging.ERROR)
    cores = pick_cores()
    stay_on(cores.others)
    began, before = time.monotonic(), describe()
    bench = Bench(QUICK if options.quick else FULL, cores, options.only or PARTS)
    try:
        asyncio.run(bench.run())
    except (BenchFailed, HeadwaterError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    console = Console(width=150, soft_wrap=True)
    if bench.rivals.ours:
        print_races(console, bench.rivals)
    print_table(console, bench.figures, bench.notes)
    console.print(
        f"before: {before}\nafter:  {describe()}\n{time.monotonic() - began:.0f} s", highlight=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
