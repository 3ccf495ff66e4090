"""A worker that was away for an hour: ``python -m bench.recovery [--rate R] [--seconds S] [--full-envelopes]``.

The hour waits on the log, then the worker starts while traffic goes on arriving through a real collector. Measured: how
fast it catches up, and its memory. Beside it one worker comes back to half the hour, and one takes the whole hour
and is never more than a tenth behind: what all hold alike does not come from the backlog. At the end every hit, drop,
order and cent is counted in each.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from attribution.hit import Hit
from bench.headwater import BenchFailed, Installation, until_ready
from bench.kafka import preload
from bench.machine import Cores, cpu_seconds, describe, pick_cores, stay_on
from bench.recovery_hour import Live, as_arrived, build_hour, traffic_of
from bench.recovery_memory import watching
from bench.traffic import SITE, RecordOut, envelopes
from bench.worker import PARTITIONS, Watch
from runtime.collector_client import open_intake
from streams.topics import HITS

PORTIONS = 10
_POLL_S = 0.2
_LIVE_S = 600
"""Traffic that is prepared for the time of catching up; a machine that needs longer is told so."""
_FELL_BEHIND_S = 1.0
"""The lag is gone when everything is visible that had been acknowledged so long ago."""
MIB = 1 << 20

Lay = Callable[[list[Hit]], list[RecordOut]]
"""How hits lie on the log."""


@dataclass(frozen=True)
class Hour:
    """What waits."""

    rate: float
    """Events a second."""
    seconds: int
    full_envelopes: bool = False
    """As under load (100 to 500 hits a record) instead of as they arrive at that rate (one or two)."""

    @property
    def hits(self) -> int:
        """Events of the backlog."""
        return int(self.rate * self.seconds)

    def lay(self, hits: list[Hit]) -> list[RecordOut]:
        """``hits`` as records."""
        return envelopes(hits, PARTITIONS) if self.full_envelopes else as_arrived(hits, PARTITIONS)


@dataclass(frozen=True)
class Away:
    """What came of it. Memory is resident bytes, the most of all looks."""

    events: int
    log_bytes: int
    seconds: float
    """From the worker's partitions being its own to the lag being gone."""
    caught_up: int
    """Events made visible in that time."""
    cpu_s: float
    settled_s: float
    tenths: tuple[int, ...]
    """Of the worker, while each ``PORTIONS``th part of the backlog became visible."""
    worker: int
    others: dict[str, int]
    broker_before: int
    broker_filled: int
    slowest_answer_s: float
    spool_bytes: int

    @property
    def later(self) -> int:
        """Most memory of the worker after the third tenth: by then a budget is full that an hour can fill."""
        return max(self.tenths[3:])

    @property
    def rate(self) -> float:
        """Events per second while catching up."""
        return self.caught_up / self.seconds


async def measure_away(hour: Hour, hits: list[Hit], cores: Cores) -> Away:
    """The worker comes back. Raises ``BenchFailed``, also when anything is lost or stands twice."""
    records = hour.lay(hits[: hour.hits])
    async with Installation.open(PARTITIONS) as house:
        servers = dict(house.servers.pids)
        async with watching(servers) as filling:
            await preload(house.servers.kafka, HITS, records)
        with (
            house.collector(cores.others) as (_, intake_port),
            house.worker(cores.measured) as (worker, port),
        ):
            await until_ready(intake_port, "/readyz", "the collector")
            async with (
                watching({**servers, "worker": worker.pid}) as memory,
                open_intake(f"http://127.0.0.1:{intake_port}", SITE) as intake,
            ):
                await until_ready(port, "/readyz", "the worker")
                live = Live(intake, hits[hour.hits :], hour.rate)
                began, used = time.monotonic(), cpu_seconds(worker.pid)
                async with live.arriving():
                    watch = Watch("the worker that was away", worker)
                    passed, visible = [0.0], 0
                    while visible < hour.hits + live.sent_by(time.monotonic() - _FELL_BEHIND_S):
                        await asyncio.sleep(_POLL_S)
                        visible = (await house.seen(len(hits), 0)).events
                        watch.saw(visible)
                        live.check()
                        while len(passed) <= PORTIONS and visible >= hour.hits * len(passed) // PORTIONS:
                            passed.append(time.monotonic())
                    took, used = time.monotonic() - began, cpu_seconds(worker.pid) - used
                traffic = traffic_of(hits[: hour.hits + live.sent])
                while not (await house.seen(len(traffic.hits), traffic.orders)).is_settled:
                    watch.saw(visible)
                    await asyncio.sleep(_POLL_S)
                settled = time.monotonic() - began
            house.check(traffic)
            spool = await _released(house.settings.data_dir / "spool")
    return Away(
        events=len(traffic.hits),
        log_bytes=sum(len(record.value) for record in records),
        seconds=took,
        caught_up=visible,
        cpu_s=used,
        settled_s=settled,
        tenths=tuple(memory.most("worker", until, since) for since, until in pairwise(passed)),
        worker=memory.most("worker"),
        others={name: memory.most(name) for name in servers},
        broker_before=filling.first("broker"),
        broker_filled=filling.most("broker"),
        slowest_answer_s=live.slowest_s,
        spool_bytes=spool,
    )


async def measure_portions(hour: Hour, hits: list[Hit], cores: Cores) -> int:
    """The most memory of a worker that takes the same hour in ``PORTIONS``. Raises ``BenchFailed``."""
    async with Installation.open(PARTITIONS) as house:
        with house.worker(cores.measured) as (worker, port):
            await until_ready(port, "/readyz", "the worker")
            async with watching({"worker": worker.pid}) as memory:
                for number in range(PORTIONS):
                    begin, end = (hour.hits * n // PORTIONS for n in (number, number + 1))
                    worker.send_signal(signal.SIGSTOP)
                    try:
                        await preload(house.servers.kafka, HITS, hour.lay(hits[begin:end]))
                    finally:
                        worker.send_signal(signal.SIGCONT)
                    traffic, watch = traffic_of(hits[:end]), Watch("the worker in portions", worker)
                    while not (seen := await house.seen(end, traffic.orders)).is_settled:
                        watch.saw(seen.events)
                        await asyncio.sleep(_POLL_S)
            house.check(traffic)
    return memory.most("worker")


async def _released(spool: Path) -> int:
    """Bytes that the collector still keeps once the worker is done: nothing, after some seconds."""
    deadline = time.monotonic() + 30
    while True:
        held = sum(path.stat().st_size for path in spool.glob("*.spool"))
        if held <= 8 or time.monotonic() > deadline:  # a segment's head
            return held
        await asyncio.sleep(_POLL_S)


@dataclass(frozen=True)
class Recovery:
    """All three workers."""

    hour: Hour
    away: Away
    half: Away
    """The worker that was away for half the time."""
    portions: int
    """Memory of the worker that was never more than a tenth behind."""

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Lines of a table: what, Headwater, beside, ratio, target."""
        hour, away = self.hour, self.away
        waiting = max(0, away.broker_filled - away.broker_before)
        form = "envelopes of 100 to 500" if hour.full_envelopes else "as it arrives"
        what = f"{hour.hits:,} events, {away.log_bytes / MIB:,.0f} MiB, {form}"
        others = ", ".join(f"{name} {held / MIB:,.0f}" for name, held in away.others.items())
        return [
            (
                "an hour away: catch-up, events/s" if hour.seconds == 3600 else "away: catch-up, events/s",
                f"{away.rate:,.0f}",
                f"arrival {hour.rate:,.0f}; {what}",
                f"{away.rate / hour.rate:.1f} x",
                "3 x",
            ),
            (
                "lag gone after",
                f"{away.seconds:,.0f} s",
                f"all settled after {away.settled_s:,.0f} s",
                "",
                "",
            ),
            ("worker CPU per event", f"{1e6 * away.cpu_s / away.caught_up:,.0f} us", "", "", ""),
            (
                "worker memory, most",
                f"{away.worker / MIB:,.0f} MiB",
                f"same events, a tenth behind at most: {self.portions / MIB:,.0f} MiB",
                f"{away.worker / self.portions:.2f} x",
                "",
            ),
            (
                "the same",
                f"{away.worker / MIB:,.0f} MiB",
                f"half the backlog: {self.half.worker / MIB:,.0f} MiB",
                f"{away.worker / self.half.worker:.2f} x",
                "1.1 x",
            ),
            (
                "worker memory after the third tenth",
                f"{away.later / MIB:,.0f} MiB",
                f"each tenth: {', '.join(f'{held / MIB:,.0f}' for held in away.tenths)} MiB",
                f"{away.later / max(1, *away.tenths[:3]):.2f} x",
                "1.1 x",
            ),
            ("servers' memory, most, MiB", "", others, "", ""),
            (
                "broker memory per waiting event",
                f"{waiting / hour.hits:,.0f} bytes",
                f"{away.log_bytes / hour.hits:,.0f} bytes of payload",
                f"{waiting / away.log_bytes:.2f} x",
                "",
            ),
            ("slowest answer of the collector", f"{away.slowest_answer_s * 1000:,.0f} ms", "", "", ""),
            ("spool at the end", f"{away.spool_bytes:,} bytes", "", "", ""),
        ]


async def measure_recovery(hour: Hour, cores: Cores, say: Callable[[str], Any]) -> Recovery:
    """All three workers, one after the other. Raises ``BenchFailed``."""
    began_at = int((time.time() - hour.seconds) * 1000)
    hits = build_hour(hour.hits + int(hour.rate * _LIVE_S), hour.rate, began_at=began_at)
    say(f"{hour.hits:,} events in {PORTIONS} portions")
    portions = await measure_portions(hour, hits, cores)
    aways = []
    for which in (replace(hour, seconds=hour.seconds // 2), hour):
        say(f"{which.hits:,} events at once, and {hour.rate:,.0f} a second")
        aways.append(await measure_away(which, hits, cores))
    half, away = aways
    return Recovery(hour, away, half, portions)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.recovery", description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=150.0, help="events a second that arrive")
    parser.add_argument("--seconds", type=int, default=3600, help="how long the worker was away")
    parser.add_argument(
        "--full-envelopes", action="store_true", help="records as under load, not as they arrive"
    )
    options = parser.parse_args(argv)
    # A topic's first records meet leaders that are still being chosen, and are sent again.
    logging.getLogger("aiokafka.producer").setLevel(logging.ERROR)
    cores = pick_cores()
    stay_on(cores.others)
    before, began = describe(), time.monotonic()
    hour = Hour(options.rate, options.seconds, options.full_envelopes)
    try:
        found = asyncio.run(measure_recovery(hour, cores, lambda text: print("...", text, file=sys.stderr)))
    except BenchFailed as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    table = Table(box=SIMPLE_HEAD)
    for column in ("figure", "Headwater", "beside", "ratio", "target"):
        table.add_column(column, justify="left" if column in ("figure", "beside") else "right")
    for row in found.rows():
        table.add_row(*row)
    console = Console(width=150, soft_wrap=True)
    console.print(table)
    console.print(
        f"before: {before}\nafter:  {describe()}\nseed 1, {time.monotonic() - began:.0f} s", highlight=False
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
