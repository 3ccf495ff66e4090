"""How long a stuck worker stays unnoticed, under the product's own limits: ``python -m bench.stuck``.

Eight installations side by side, each with a worker that gets stuck in another way as soon as it has something to do
(``bench/chaos/stuck_worker.py``), under the supervisor that ``headwater up`` uses. The hits wait on the log. The clock
runs from the moment at which the worker serves its health page, before it joins its group, until the process has ended,
and until its successor has credited every purchase; each row is then counted. Needs about 4 GB of memory and two
minutes; nearly all of it is waiting.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.chaos import stuck_worker
from bench.headwater import BenchFailed, Installation
from bench.kafka import preload
from bench.machine import describe
from bench.traffic import Traffic, build_traffic, envelopes
from runtime.embedded.probes import free_port, is_port_open
from runtime.supervisor import Process, Supervisor
from streams.topics import HITS

LIMIT_SECONDS = 60.0
WAYS = {
    "stage": "a batch that goes on for ever",
    "call": "a call to ClickHouse that never returns",
    "take-over": "a take-over that never ends",
    "join": "a worker that does not get its partitions",
    "fetcher": "a consumer that delivers nothing",
    "loop": "an event loop that does not turn",
    "interpreter": "something that holds the interpreter",
    "pump": "a pump that ends without an error",
}
_PARTITIONS = 2
_HITS = 500
_GIVE_UP_S = 180.0


class Measured(NamedTuple):
    """Seconds after the worker began to join its group; the hits were in the log."""

    ended: float
    credited: float


async def measure(how: str, house: Installation, traffic: Traffic, starting: asyncio.Lock) -> Measured:
    """One worker, stuck in the way ``how``, and its successor. ``starting``: one at a time. Raises ``BenchFailed``."""
    supervisor = Supervisor(house.folder / "logs")
    port = free_port(set())
    worker = Process(
        "worker",
        lambda: [sys.executable, str(Path(stuck_worker.__file__)), "work"],
        ready=lambda: is_port_open(port),
        env={
            **house.env,
            "HEADWATER_AUDIT_SECONDS": "0",
            "HEADWATER_LEARN_HOURS": "0",
            "HEADWATER_WORKER_METRICS_PORT": str(port),
            "STUCK_ONCE": str(house.folder / "once"),
            "STUCK_HOW": how,
        },
    )
    try:
        await preload(house.servers.kafka, HITS, envelopes(traffic.hits, _PARTITIONS))
        async with starting:
            await supervisor.start(worker)
            began = time.monotonic()
        ended = await _when(
            lambda: supervisor.restarts("worker") > 0, began, f"{how}: end of the first worker"
        )
        while not (await house.seen(len(traffic.hits), traffic.orders)).is_settled:
            if time.monotonic() - began > _GIVE_UP_S:
                raise BenchFailed(f"{how}: not credited within {_GIVE_UP_S:.0f} s")
            await asyncio.sleep(0.1)
        credited = time.monotonic() - began
        house.check(traffic)
        if supervisor.restarts("worker") != 1:
            raise BenchFailed(f"{how}: {supervisor.restarts('worker')} restarts")
        return Measured(ended, credited)
    finally:
        await supervisor.stop()


async def _when(condition: Callable[[], bool], began: float, what: str) -> float:
    while not condition():
        if time.monotonic() - began > _GIVE_UP_S:
            raise BenchFailed(f"not within {_GIVE_UP_S:.0f} s: {what}")
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def main(console: Console) -> bool:
    """Measure all ways at once and print them; whether each was replaced within the limit."""
    traffic = build_traffic(_HITS)
    async with AsyncExitStack() as stack:
        houses = [await stack.enter_async_context(Installation.open(_PARTITIONS)) for _ in WAYS]
        starting = asyncio.Lock()
        measuring = (measure(how, house, traffic, starting) for how, house in zip(WAYS, houses, strict=True))
        found = await asyncio.gather(*measuring)
    table = Table("the worker is stuck in", "ended after, s", "all credited after, s", box=SIMPLE_HEAD)
    for what, measured in zip(WAYS.values(), found, strict=True):
        table.add_row(what, f"{measured.ended:.1f}", f"{measured.credited:.1f}")
    console.print(table)
    console.print("Every hit once, every purchase credited under each model, to the cent.")
    return all(measured.ended < LIMIT_SECONDS for measured in found)


if __name__ == "__main__":
    screen = Console(width=110)
    screen.print(describe())
    try:
        is_within = asyncio.run(main(screen))
    except BenchFailed as error:
        screen.print(f"[red]Failed:[/red] {error}")
        sys.exit(1)
    if not is_within:
        screen.print(f"[red]Not within {LIMIT_SECONDS:.0f} s.[/red]")
    sys.exit(0 if is_within else 1)
