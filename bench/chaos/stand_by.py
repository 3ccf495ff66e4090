"""A worker that owns nothing must still be there when it is needed, however long it has idled.

A client that does not fetch leaves its group after ``max.poll.interval`` and may never come back (Faust's default is
1,000 s, after which nobody would take over).
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.request import ProxyHandler, build_opener

from attribution.errors import HeadwaterError
from bench.chaos.cluster import Cluster
from runtime.supervisor import Supervisor

_SETTLE_WITHIN_S = 60.0
_OWNED = re.compile(rb"^headwater_worker_partitions (\d+)", re.MULTILINE)
_TOPICS = 2
_UNKNOWN = -1_000
"""Partitions of a worker that does not answer: no sum with it comes out right."""
_DIRECTLY = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Taken:
    """How it went."""

    idle_s: float
    took_over_in: float
    """Seconds from the others' falling asleep until purchases of every partition were credited."""


async def take_over(cluster: Cluster, idle_s: float, works: Callable[[], Awaitable[float]]) -> Taken:
    """Add workers until one has nothing, let it idle, put all others to sleep; then wake them as zombies.

    ``works`` returns when the whole system is seen to work. Raises ``HeadwaterError`` if it does not.
    """
    guests = Supervisor(cluster.place.logs)
    wanted = cluster.shape.partitions + 1 - len(cluster.workers)
    names = [f"stand-by-{number}" for number in range(1, wanted + 1)]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(guests.stop)
        await guests.start(*(cluster.worker(name) for name in names))
        idle = await _idle_one(cluster, [*cluster.workers, *names])
        await asyncio.sleep(idle_s)
        pids = {**cluster.pids, **guests.pids}
        others = [pids[name] for name in (*cluster.workers, *names) if name != idle and name in pids]
        if await _partitions_of(cluster, idle) != 0:
            raise HeadwaterError(f"{idle} was given partitions while it should have idled")
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            seconds = await works()
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
        await works()
        return Taken(idle_s, seconds)


async def _idle_one(cluster: Cluster, names: list[str]) -> str:
    """The worker that has nothing while the others have everything."""
    deadline = asyncio.get_running_loop().time() + _SETTLE_WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        owned = {name: await _partitions_of(cluster, name) for name in names}
        if sum(owned.values()) == _TOPICS * cluster.shape.partitions and 0 in owned.values():
            return next(name for name, count in owned.items() if count == 0)
        await asyncio.sleep(0.5)
    raise HeadwaterError(f"no worker is without partitions: {owned}")


async def _partitions_of(cluster: Cluster, name: str) -> int:
    url = f"http://127.0.0.1:{cluster.metrics_port(name)}/metrics"

    def ask() -> int:
        try:
            with _DIRECTLY.open(url, timeout=5) as answer:
                found = _OWNED.search(answer.read())
        except OSError:
            return _UNKNOWN
        return int(found[1]) if found else _UNKNOWN

    return await asyncio.to_thread(ask)
