"""Nodes of an ``ApacheKafka`` as processes that nobody starts again: for tests, faults and one-off runs.

``headwater up`` runs the same command lines under its supervisor instead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from attribution.errors import HeadwaterError, Transient
from runtime.embedded.apache_kafka import ApacheKafka, NodePorts
from runtime.embedded.apache_kafka_install import Installed
from runtime.embedded.probes import free_port
from runtime.supervisor import die_with_parent

_READY_SECONDS = 120.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.05


def free_ports(nodes: int) -> list[NodePorts]:
    """Ports for that many nodes that nobody uses now."""
    taken: set[int] = set()

    def port() -> int:
        taken.add(found := free_port(taken))
        return found

    return [NodePorts(port(), port()) for _ in range(nodes)]


class ApacheKafkaNodes:
    """A cluster of one node or three in ``folder``, each node a child process; it ends with this process.

    Nodes are numbered from 1. A node that was killed or stopped and is started again finds its log.
    """

    def __init__(
        self, installed: Installed, folder: Path, nodes: int = 1, java_options: Sequence[str] = ()
    ) -> None:
        """Format the nodes, or find them formatted. Nothing runs yet."""
        self.cluster = ApacheKafka(installed, folder, free_ports(nodes), java_options)
        self.cluster.prepare()
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap(self) -> str:
        """Addresses for clients: host:port[,host:port]."""
        return self.cluster.bootstrap

    @property
    def numbers(self) -> range:
        """The nodes' numbers."""
        return self.cluster.numbers

    @property
    def pids(self) -> dict[int, int]:
        """Process id by number, of those that run (a paused node runs)."""
        return {n: process.pid for n, process in self._processes.items() if process.poll() is None}

    def log_dir(self, number: int) -> Path:
        """Where a node keeps its records."""
        return self.cluster.log_dir(number)

    def output(self, number: int) -> Path:
        """What a node has printed."""
        return self._folder / f"node-{number}.log"

    def spawn(self, *numbers: int) -> None:
        """Start nodes (none named: all) without waiting for them. A node that runs stays as it is."""
        for number in numbers or self.numbers:
            if number in self.pids:
                continue
            with self.output(number).open("ab") as output:
                self._processes[number] = subprocess.Popen(
                    self.cluster.command(number),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=partial(die_with_parent, os.getpid()),
                )

    async def start(self, *numbers: int) -> None:
        """Start nodes (none named: all) and wait until each serves clients. Raises ``HeadwaterError``."""
        self.spawn(*numbers)
        await asyncio.gather(*(self.ready(number) for number in numbers or self.numbers))

    async def ready(self, number: int) -> None:
        """Wait until a started node serves clients and the cluster counts it in. Raises ``HeadwaterError``."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while True:
                    with suppress(Transient):
                        if await self.cluster.is_ready(number):
                            return
                    if number not in self.pids:
                        raise self._failure(number, "ended while it started")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise self._failure(number, f"was not ready within {_READY_SECONDS:g} s") from error

    def kill(self, *numbers: int) -> None:
        """SIGKILL for nodes (none named: all), also for paused ones."""
        running = [self._processes[n] for n in numbers or self.numbers if n in self.pids]
        for process in running:
            process.kill()
        for process in running:
            process.wait()

    def pause(self, number: int) -> None:
        """SIGSTOP: the node keeps its connections and answers nothing."""
        os.kill(self.pids[number], signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT."""
        os.kill(self.pids[number], signal.SIGCONT)

    def stop(self, *numbers: int) -> None:
        """SIGTERM for nodes (none named: all) and wait; SIGKILL for what takes too long."""
        running = [self._processes[n] for n in numbers or self.numbers if n in self.pids]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill what runs: whoever wants a clean end calls ``stop`` before."""
        self.kill()

    def _failure(self, number: int, what: str) -> HeadwaterError:
        tail = self.output(number).read_text(errors="replace")[-2000:]
        return HeadwaterError(f"Node {number} of Apache Kafka {what}:\n{tail}")
