"""What a run has left behind in Redis: bytes per visitor."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bench.headwater import BenchFailed, Installation
from bench.traffic import Traffic


@dataclass(frozen=True)
class Memory:
    """Bytes of Redis per visitor, all of them with about five touches and eight hits."""

    timeline: float
    """``MEMORY USAGE`` of a timeline's key, its overhead included: mean of the sample."""
    growth: float
    """Growth of ``used_memory`` over the whole run, conversions included, divided by the visitors."""
    visitors: int


def used_memory(house: Installation) -> int:
    """Bytes that Redis says it uses."""
    info: Any = house.redis.info("memory")
    return int(info["used_memory"])


def measure_memory(house: Installation, traffic: Traffic, used_before: int, *, sample: int) -> Memory:
    """Look at up to ``sample`` timelines. Raises ``BenchFailed`` when there are none."""
    keys = list(islice(house.redis.scan_iter(match="t{h*", count=1000), sample))
    if not keys:
        raise BenchFailed("no timelines in Redis")
    pipeline: Any = house.redis.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("MEMORY", "USAGE", key, "SAMPLES", "0")
    sizes = pipeline.execute()
    growth = (used_memory(house) - used_before) / traffic.visitors
    return Memory(statistics.fmean(sizes), growth, traffic.visitors)
