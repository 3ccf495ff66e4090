"""How the worker's price holds up: ``python -m bench.scaling [--hits N] [--parts N] [--share 0.25]``.

Two questions. Does an event cost more when much is held already? One worker takes the traffic in parts; after each the
processor time per event and Redis' memory are printed. Do two workers share the work? The same traffic again with two
of them, each with the same ``--share`` of a core, so that the servers have what they need beside either (whole workers
and their servers want more than the two cores of a small machine). The first part warms up and does not count.

Before each part the workers are stopped (SIGSTOP) and the part is produced, so that the producer is not measured.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.headwater import BenchFailed, Installation, until_ready
from bench.kafka import preload
from bench.machine import Cores, cpu_seconds, describe, pick_cores, stay_on, using_both
from bench.quota import limited_to
from bench.stores import used_memory
from bench.traffic import Traffic, build_traffic, envelopes
from bench.worker import PARTITIONS, Watch
from streams.topics import HITS

_POLL_S = 0.2


@dataclass(frozen=True)
class Part:
    """One stretch of the traffic."""

    workers: int
    events: int
    held: int
    """Events of all parts up to the end of this one."""
    cpu_s: tuple[float, ...]
    """Of each worker."""
    servers_cpu_s: float
    seconds: float
    redis_bytes: int


async def measure(
    traffic: Traffic, cores: Cores, *, workers: int, parts: int, share: float = 0.0
) -> list[Part]:
    """Take ``traffic`` in ``parts``, each worker with ``share`` of a core (0 = all that is there).

    Everything that was kept is checked. Raises ``BenchFailed``.
    """
    async with Installation.open(PARTITIONS) as house:
        with ExitStack() as running:
            processes: list[subprocess.Popen[bytes]] = []
            for number in range(workers):
                core = cores.measured if number == 0 else cores.others
                process, port = running.enter_context(house.worker(core))
                await until_ready(port, "/readyz", "the worker")
                if share:
                    running.enter_context(limited_to(process.pid, share))
                processes.append(process)
            found = []
            for number in range(parts):
                found.append(await _part(house, processes, traffic, number, parts))
                print(f"... {workers} x {found[-1].held:,} of {len(traffic.hits):,}", file=sys.stderr)
        house.check(traffic)
    return found


async def _part(
    house: Installation,
    processes: Sequence[subprocess.Popen[bytes]],
    traffic: Traffic,
    number: int,
    parts: int,
) -> Part:
    total = len(traffic.hits)
    begin, end = number * total // parts, (number + 1) * total // parts
    orders = len({hit.order_id for hit in traffic.hits[:end] if hit.order_id})
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        await preload(house.servers.kafka, HITS, envelopes(traffic.hits[begin:end], PARTITIONS))
        began, before = time.monotonic(), [cpu_seconds(process.pid) for process in processes]
        servers = house.servers_cpu()
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)
    watches = [Watch(f"worker {index + 1}", process) for index, process in enumerate(processes)]
    while not (seen := await house.seen(end, orders)).is_settled:
        for watch in watches:
            watch.saw(seen.events)
        await asyncio.sleep(_POLL_S)
    took = time.monotonic() - began
    used = tuple(cpu_seconds(p.pid) - past for p, past in zip(processes, before, strict=True))
    return Part(
        len(processes), end - begin, end, used, house.servers_cpu() - servers, took, used_memory(house)
    )


def print_parts(console: Console, found: Sequence[Part]) -> None:
    """One line for each part."""
    table = Table(box=SIMPLE_HEAD)
    for column in (
        "workers",
        "events held",
        "worker us/event",
        "of each, s",
        "servers us/event",
        "events/s",
        "Redis MB",
    ):
        table.add_column(column, justify="right")
    for part in found:
        table.add_row(
            str(part.workers),
            f"{part.held:,}",
            f"{1e6 * sum(part.cpu_s) / part.events:.1f}",
            " + ".join(f"{used:.1f}" for used in part.cpu_s),
            f"{1e6 * part.servers_cpu_s / part.events:.1f}",
            f"{part.events / part.seconds:,.0f}",
            f"{part.redis_bytes / 1e6:,.0f}",
        )
    console.print(table)


def gain(found: Sequence[Part]) -> float | None:
    """How much faster two workers are than one, by the clock, without the first part of each; ``None`` = not known."""
    rates = []
    for workers in (1, 2):
        parts = [part for part in found if part.workers == workers][1:]
        if not parts:
            return None
        rates.append(sum(part.events for part in parts) / sum(part.seconds for part in parts))
    return rates[1] / rates[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--hits", type=int, default=400_000)
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], choices=(1, 2))
    parser.add_argument(
        "--share", type=float, default=0.0, help="of a core for each worker; 0 = all (default)"
    )
    options = parser.parse_args(argv)
    cores = pick_cores()
    stay_on(cores.others)
    before, found = describe(), list[Part]()
    traffic = build_traffic(options.hits)
    try:
        with using_both(cores):
            for workers in options.workers:
                found += asyncio.run(
                    measure(traffic, cores, workers=workers, parts=options.parts, share=options.share)
                )
    except BenchFailed as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    console = Console(width=130, soft_wrap=True)
    print_parts(console, found)
    times = gain(found)
    if times is not None:
        console.print(f"two workers: {times:.2f} x one (target 1.8)", highlight=False)
    console.print(f"before: {before}\nafter:  {describe()}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
