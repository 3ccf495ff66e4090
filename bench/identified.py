"""What identity costs the worker: the same traffic with nobody, some and all of its people logged in, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from bench.headwater import Installation
from bench.machine import Cores
from bench.traffic import build_traffic, envelopes
from bench.worker import PARTITIONS, Run, run_worker

SHARES = (0.0, 0.3, 1.0)


async def measure_identified(
    hits: int, rounds: int, cores: Cores, say: Callable[[str], None]
) -> list[tuple[str, str, str, str, str]]:
    """Rows of the bench's table. Raises ``BenchFailed``."""
    traffics = {share: build_traffic(hits, identified=share) for share in SHARES}
    runs: dict[float, list[Run]] = {share: [] for share in SHARES}
    for number in range(1, rounds + 1):
        for share, traffic in traffics.items():
            say(f"round {number} of {rounds}: worker, {share:.0%} of the people logged in")
            records = envelopes(traffic.hits, PARTITIONS)
            async with Installation.open(PARTITIONS) as house:
                run = await run_worker(house, traffic, records, f"worker, {share:.0%} logged in", cores)
            say(f"{run.per_cpu_second:,.0f} events per CPU second, {run.per_second:,.0f}/s by the clock")
            runs[share].append(run)
    cpu = {share: statistics.median(run.cpu_ms_per_event for run in found) for share, found in runs.items()}
    return [
        (
            f"worker, {share:.0%} of people logged in: events per CPU second",
            f"{statistics.median(run.per_cpu_second for run in runs[share]):,.0f}",
            f"{statistics.median(run.per_second for run in runs[share]):,.0f}/s by the clock",
            f"{cpu[share] / cpu[SHARES[0]]:.2f} x the CPU",
            "1.5 x" if share == 1.0 else "",
        )
        for share in SHARES
    ]
