"""Events per second of one worker, whole job.

The topic is filled first; then the worker starts on a core of its own, the servers and this process share the
other. The clock runs from the moment at which the worker has its partitions and nothing else, until every hit, drop and
credited conversion is visible in ClickHouse.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.headwater import BenchFailed, Installation, until_ready
from bench.kafka import preload
from bench.machine import Cores, cpu_seconds
from bench.traffic import RecordOut, Traffic
from streams.topics import HITS

PARTITIONS = 4
_POLL_S = 0.2
_STALLED_S = 90.0


@dataclass(frozen=True)
class Run:
    """One worker's run over one topic."""

    name: str
    events: int
    seconds: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        """Events by the clock."""
        return self.events / self.seconds

    @property
    def cpu_ms_per_event(self) -> float:
        """Processor milliseconds of the worker process (all its threads) per event."""
        return 1000 * self.cpu_s / self.events

    @property
    def per_cpu_second(self) -> float:
        """Events per second of processor time: what a core that is not shared with anybody would do."""
        return self.events / self.cpu_s


async def run_worker(
    house: Installation, traffic: Traffic, records: Sequence[RecordOut], name: str, cores: Cores
) -> Run:
    """Headwater's worker over ``records``, which hold all of ``traffic``; everything it kept is checked.

    Raises ``BenchFailed`` if it ends, if nothing moves any more, or if anything is wrong.
    """
    await preload(house.servers.kafka, HITS, records)
    with house.worker(cores.measured) as (process, port):
        await until_ready(port, "/readyz", "the worker")
        began, used = time.monotonic(), cpu_seconds(process.pid)
        watch = Watch(name, process)
        while True:
            progress = await house.seen(len(traffic.hits), traffic.orders)
            if progress.is_settled:
                run = Run(name, len(traffic.hits), time.monotonic() - began, cpu_seconds(process.pid) - used)
                break
            watch.saw(progress.events)
            await asyncio.sleep(_POLL_S)
    house.check(traffic)
    return run


class Watch:
    """Raises ``BenchFailed`` when a process ends or nothing moves any more."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self._name = name
        self._process = process
        self._count = -1
        self._moved = time.monotonic()

    def saw(self, count: int) -> None:
        """This is how far the process has come."""
        if self._process.poll() is not None:
            raise BenchFailed(f"{self._name}: ended with exit code {self._process.returncode}")
        if count != self._count:
            self._count, self._moved = count, time.monotonic()
        if time.monotonic() - self._moved > _STALLED_S:
            raise BenchFailed(f"{self._name}: {count} counted, then nothing for {_STALLED_S:.0f} s")
