"""A race: one process over one topic, started on the measured core, in two parts, checked to the cent.

Two figures, because a process pays once for starting (interpreter, imports, JIT, joining its group) and then for each
event. *Cold*: from its birth until the first part of the events is counted. *Warm*: it is stopped (SIGSTOP), the
second part is produced, it goes on (SIGCONT), until everything is counted. Processor time is that of all threads of
the process (for Java its collector and compiler as well); that of broker and stores during the warm part is given
beside it, because some leave more of the work to them than others.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.headwater import BenchFailed, Installation, until_ready
from bench.kafka import newest_values, preload
from bench.machine import cpu_seconds, start, stop
from bench.rivals.entrants import SINGLES, Rival
from bench.rivals.job import Sums, expected_sums
from bench.traffic import RecordOut, Traffic, envelopes, singles
from bench.worker import PARTITIONS, Watch
from streams.kafka_admin import ensure_topics
from streams.topics import HITS

OURS = "Headwater (whole job)"
_POLL_S = 0.05
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Race:
    """What one run took."""

    name: str
    form: str
    cold_events: int
    cold_cpu_s: float
    warm_events: int
    warm_cpu_s: float
    warm_s: float
    warm_servers_cpu_s: float
    """Of broker and stores."""

    @property
    def per_cpu_second(self) -> float:
        """Events per second of processor time, warm."""
        return self.warm_events / self.warm_cpu_s

    @property
    def per_cpu_second_cold(self) -> float:
        """The same for the first events, the start included."""
        return self.cold_events / self.cold_cpu_s

    @property
    def per_second(self) -> float:
        """Events by the clock, warm."""
        return self.warm_events / self.warm_s

    @property
    def servers_us(self) -> float:
        """Microseconds of the servers' processor time per event, warm."""
        return 1e6 * self.warm_servers_cpu_s / self.warm_events


class Course:
    """The events of a race in two parts, as records, and what must come of them."""

    def __init__(self, traffic: Traffic, cold: int, form: str) -> None:
        self.traffic = traffic
        self.form = form
        self.parts = (traffic.hits[:cold], traffic.hits[cold:])
        plain: list[Mapping[str, object]] = [msgspec.to_builtins(hit) for hit in traffic.hits]
        self.expected = (expected_sums(plain[:cold]), expected_sums(plain))
        self.reached = (
            (cold, len({hit.order_id for hit in self.parts[0] if hit.order_id})),
            (len(traffic.hits), traffic.orders),
        )
        """Hits and orders after each part."""

    def records(self, part: int) -> list[RecordOut]:
        """Part 0 or 1 as the form wants it. An envelope's key names its partition: Quix keeps state by key."""
        if self.form == SINGLES:
            return singles(self.parts[part], PARTITIONS)
        return [
            RecordOut(r.partition, f"p{r.partition}".encode(), r.value)
            for r in envelopes(self.parts[part], PARTITIONS)
        ]


async def run_ours(house: Installation, course: Course, core: int) -> Race:
    """Headwater's worker over ``course``: every row that it kept is checked. Raises ``BenchFailed``."""
    await preload(house.servers.kafka, HITS, course.records(0))
    with house.worker(core) as (process, port):
        await until_ready(port, "/readyz", "the worker")

        async def settled(part: int) -> None:
            watch = Watch(OURS, process)
            while True:
                seen = await house.seen(*course.reached[part])
                if seen.is_settled:
                    return
                watch.saw(seen.events)
                await asyncio.sleep(_POLL_S)

        race = await _two_parts(OURS, house, HITS, course, process, settled)
    house.check(course.traffic)
    return race


async def run_rival(rival: Rival, house: Installation, course: Course, core: int, attempt: int = 1) -> Race:
    """Run to the end of ``course``. Raises ``NotInstalled``, or ``BenchFailed`` if it stops or adds up wrongly.

    Each attempt has topics and a group of its own.
    """
    kafka = house.servers.kafka
    with tempfile.TemporaryDirectory(prefix="hw-rival-") as folder:
        state = Path(folder) / "state"
        state.mkdir()
        command = rival.prepare(state)
        group = f"{rival.name.split()[0].lower()}-{course.form}-{attempt}"
        hits, sums = f"{group}-hits", f"{group}-sums"
        await ensure_topics(kafka, PARTITIONS, names=[hits, sums])
        await preload(kafka, hits, course.records(0))
        env = {
            "PYTHONPATH": str(_ROOT),
            "RIVAL_KAFKA": kafka,
            "RIVAL_HITS": hits,
            "RIVAL_FORM": course.form,
            "RIVAL_SUMS": sums,
            "RIVAL_GROUP": group,
            "RIVAL_STATE": str(state),
            "RIVAL_PARTITIONS": str(PARTITIONS),
        }
        log_path = Path(folder) / "log"
        with log_path.open("wb") as log:
            process = start(command, core, env, log)
            try:
                async with newest_values(kafka, sums, PARTITIONS, Sums) as newest:

                    async def settled(part: int) -> None:
                        await until_counted(rival.name, process, newest, course.expected[part])

                    return await _two_parts(rival.name, house, hits, course, process, settled)
            except BenchFailed as error:
                said = log_path.read_text(errors="replace").strip().splitlines()[-3:]
                raise BenchFailed(f"{error}; it said: {' | '.join(said)[-600:]}") from error
            finally:
                process.send_signal(signal.SIGCONT)
                stop(process)


async def _two_parts(
    name: str,
    house: Installation,
    topic: str,
    course: Course,
    process: subprocess.Popen[bytes],
    settled: Callable[[int], Awaitable[None]],
) -> Race:
    await settled(0)
    cold = cpu_seconds(process.pid)
    process.send_signal(signal.SIGSTOP)
    await preload(house.servers.kafka, topic, course.records(1))
    began, before, servers = time.monotonic(), cpu_seconds(process.pid), house.servers_cpu()
    process.send_signal(signal.SIGCONT)
    await settled(1)
    took, warm = time.monotonic() - began, cpu_seconds(process.pid) - before
    first, second = map(len, course.parts)
    return Race(name, course.form, first, cold, second, warm, took, house.servers_cpu() - servers)


async def until_counted(
    name: str, process: subprocess.Popen[bytes], newest: Mapping[bytes, Sums], expected: Mapping[str, Sums]
) -> None:
    """Wait for these sums. Raises ``BenchFailed`` if they are passed or nothing moves."""
    goal, watch = _counted(expected.values()), Watch(name, process)
    while {total["channel"]: total for total in newest.values()} != expected:
        counted = _counted(newest.values())
        if counted > goal:
            raise BenchFailed(f"{name}: {counted} sessions and conversions counted, there are {goal}")
        watch.saw(counted)
        await asyncio.sleep(_POLL_S)


def _counted(sums: Iterable[Sums]) -> int:
    return sum(total["sessions"] + total["conversions"] for total in sums)
