"""Events per second of one worker: Headwater's, whole job, beside a plain Faust pipeline on the same events.

The topic is filled first; then the worker starts on a core of its own, the servers and this process share the
other. The clock runs from the first visible event to the last: in ClickHouse for Headwater (hits, drops, and every
conversion credited), in the output topic for plain Faust.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import plain_faust
from bench.headwater import BenchFailed, Installation, Progress
from bench.kafka import OutputCounter, create_topics, preload
from bench.machine import Cores, cpu_seconds, start, stop
from bench.traffic import RecordOut, Traffic, singles
from runtime.embedded.servers import BROKER, EmbeddedServers
from runtime.place import Place
from streams.topics import HITS

PARTITIONS = plain_faust.PARTITIONS
_POLL_S = 0.04
_STALLED_S = 90.0


@dataclass(frozen=True)
class Run:
    """One worker's run over one topic."""

    name: str
    events: int
    """Counted between the first and the last poll."""
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


async def measure_headwater(traffic: Traffic, records: Sequence[RecordOut], name: str, cores: Cores) -> Run:
    """Headwater's worker over ``records``, which hold all of ``traffic``."""
    async with Installation.open(PARTITIONS) as house:
        await preload(house.servers.kafka, HITS, records)
        with house.worker(cores.measured) as process:
            run = await _clock(name, process, len(traffic.hits), lambda: house.seen(traffic))
        house.check(traffic)
    return run


async def measure_plain_faust(traffic: Traffic, cores: Cores) -> Run:
    """The plain pipeline over the same hits, one per record."""
    records = singles(traffic.hits, PARTITIONS)
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder, Place(Path(folder)) as place:
        async with EmbeddedServers(place, names=[BROKER]) as servers:
            topics = (plain_faust.HITS, plain_faust.TOUCHED, "plain-faust-visits-changelog")
            await create_topics(servers.kafka, PARTITIONS, topics)
            await preload(servers.kafka, plain_faust.HITS, records)
            command = [sys.executable, "-m", "bench.plain_faust", "worker", "--without-web", "-l", "warn"]
            env = {"PLAIN_FAUST_KAFKA": servers.kafka, "FAUST_DATADIR": folder}
            with open(Path(folder) / "plain_faust.log", "wb") as log:
                process = start(command, cores.measured, env, log)
                try:
                    async with OutputCounter(servers.kafka, plain_faust.TOUCHED, PARTITIONS) as output:

                        async def seen() -> Progress:
                            return Progress(output.count, True)

                        return await _clock("plain Faust", process, len(records), seen)
                finally:
                    stop(process)


async def _clock(
    name: str, process: subprocess.Popen[bytes], total: int, seen: Callable[[], Awaitable[Progress]]
) -> Run:
    """Poll until all of ``total`` events are seen. Raises ``BenchFailed`` when nothing moves any more."""
    moved = time.monotonic()
    first = -1.0
    first_count = last_count = 0
    first_cpu = 0.0
    while True:
        if process.poll() is not None:
            raise BenchFailed(f"{name}: the worker ended with exit code {process.returncode}")
        progress = await seen()
        now = time.monotonic()
        if progress.events != last_count:
            last_count, moved = progress.events, now
            if first < 0:
                first, first_count, first_cpu = now, last_count, cpu_seconds(process.pid)
        if progress.events >= total and progress.is_settled:
            return Run(name, last_count - first_count, now - first, cpu_seconds(process.pid) - first_cpu)
        if now - moved > _STALLED_S:
            raise BenchFailed(f"{name}: {last_count} of {total} events, then nothing for {_STALLED_S:.0f} s")
        await asyncio.sleep(_POLL_S)
