"""``bench.held`` and ``bench.scaling`` on small sizes: what they fill, count and compare. How fast is not asserted."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.headwater import BenchFailed
from bench.held import climb
from bench.machine import cpu_seconds, pick_cores
from bench.quota import limited_to
from bench.scaling import Part, gain


@pytest.mark.slow
async def test_held_fills_both_stores_as_far_as_it_says_and_counts_what_the_worker_makes_of_new_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADWATER_AUDIT_SECONDS", "0")
    core = pick_cores().measured
    first, second = await climb([4_000, 20_000], history=2_000, new=1_000, most_rows=8_000, core=core)
    assert first.held == pytest.approx(4_000, rel=0.1)
    assert second.held == pytest.approx(20_000, rel=0.1)
    assert second.redis_bytes - first.redis_bytes > 40 * (second.held - first.held)
    assert first.rows < second.rows <= 8_000 + 1_000, "ClickHouse is filled no further than told"
    assert second.disk_bytes > first.disk_bytes
    assert first.events == pytest.approx(1_000, rel=0.1)
    assert min(first.worker_cpu_s, first.servers_cpu_s) > 0


def test_two_workers_are_compared_without_the_part_that_warms_up() -> None:
    def part(workers: int, seconds: float) -> Part:
        return Part(workers, 1_000, 1_000, (1.0,) * workers, 1.0, seconds, 1)

    found = [part(1, 99.0), part(1, 2.0), part(1, 4.0), part(2, 50.0), part(2, 1.0), part(2, 2.0)]
    assert gain(found) == pytest.approx(2.0)
    assert gain(found[:3]) is None


def test_a_process_gets_no_more_than_its_share_of_a_core() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with limited_to(busy.pid, 0.1):
            before, began = cpu_seconds(busy.pid), os.times().elapsed
            while os.times().elapsed - began < 1.0:
                os.sched_yield()
            used = cpu_seconds(busy.pid) - before
        assert used < 0.3
    except BenchFailed as why:
        pytest.skip(str(why))
    finally:
        busy.kill()
        busy.wait()
