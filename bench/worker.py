"""Events per second of one worker: Headwater's, whole job, beside a plain Faust pipeline on the same events.

The topic is filled first; then the worker starts on a core of its own, the servers and this process share the
other. Headwater's clock runs from the moment at which the worker has its partitions and nothing else, until every hit,
drop and credited conversion is visible in ClickHouse; plain Faust's from its first to its last record in the output
topic, so that the idle second of its start does not count against it.
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
from bench.headwater import BenchFailed, Installation, Progress, until_ready
from bench.kafka import OutputCounter, create_topics, preload
from bench.machine import Cores, cpu_seconds, start, stop
from bench.traffic import RecordOut, Traffic, singles
from runtime.embedded.servers import BROKER, EmbeddedServers
from runtime.place import Place
from streams.topics import HITS

PARTITIONS = plain_faust.PARTITIONS
_POLL_S = 0.2
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


async def run_worker(
    house: Installation, traffic: Traffic, records: Sequence[RecordOut], name: str, cores: Cores
) -> Run:
    """Headwater's worker over ``records``, which hold all of ``traffic``; everything it kept is checked."""
    await preload(house.servers.kafka, HITS, records)
    with house.worker(cores.measured) as (process, port):
        await until_ready(port, "/readyz", "the worker")
        run = await _clock(name, process, len(traffic.hits), lambda: house.seen(traffic), 0)
    house.check(traffic)
    return run


async def run_plain_faust(traffic: Traffic, cores: Cores) -> Run:
    """The plain pipeline over the same hits, one per record."""
    records = singles(traffic.hits, PARTITIONS)
    with tempfile.TemporaryDirectory(prefix="hw-bench-") as folder, Place(Path(folder)) as place:
        async with EmbeddedServers(place, names=[BROKER]) as servers:
            topics = (plain_faust.HITS, plain_faust.TOUCHED, "plain-faust-visits-changelog")
            await create_topics(servers.kafka, PARTITIONS, topics)
            await preload(servers.kafka, plain_faust.HITS, records)
            command = [sys.executable, "-m", "bench.plain_faust", "worker", "--without-web", "-l", "warn"]
            env = {"PLAIN_FAUST_KAFKA": servers.kafka, "FAUST_DATADIR": folder}
            with (Path(folder) / "plain_faust.log").open("wb") as log:
                process = start(command, cores.measured, env, log)
                try:
                    async with OutputCounter(servers.kafka, plain_faust.TOUCHED, PARTITIONS) as output:

                        async def seen() -> Progress:
                            return Progress(output.count, True)

                        while output.count == 0 and process.poll() is None:
                            await asyncio.sleep(_POLL_S / 10)
                        return await _clock("plain Faust", process, len(records), seen, output.count)
                finally:
                    stop(process)


async def _clock(
    name: str,
    process: subprocess.Popen[bytes],
    total: int,
    seen: Callable[[], Awaitable[Progress]],
    begun: int,
) -> Run:
    """Poll from now on, when ``begun`` events are visible, until all are. Raises ``BenchFailed`` if nothing moves."""
    began, used = time.monotonic(), cpu_seconds(process.pid)
    moved, count = began, begun
    while True:
        if process.poll() is not None:
            raise BenchFailed(f"{name}: the worker ended with exit code {process.returncode}")
        progress = await seen()
        now = time.monotonic()
        if progress.events != count:
            count, moved = progress.events, now
        if progress.events >= total and progress.is_settled:
            return Run(name, total - begun, now - began, cpu_seconds(process.pid) - used)
        if now - moved > _STALLED_S:
            raise BenchFailed(f"{name}: {count} of {total} events, then nothing for {_STALLED_S:.0f} s")
        await asyncio.sleep(_POLL_S)
