"""Faust workers of one consumer group on one topic, started, killed and looked at from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from streams.kafka_admin import ensure_topics

_EXIT_SECONDS = 60.0


class Group:
    """A fresh topic with one partition and the workers of a fresh group. Use ``async with Group.open(...)``."""

    def __init__(self, kafka: str, folder: Path, admin: Any) -> None:
        self.name = f"facts-{uuid.uuid4().hex[:8]}"
        self.begun = folder / f"{self.name}.begun"
        """Exists once an agent has a batch in hand that it will not finish."""
        self._kafka = kafka
        self._folder = folder
        self._admin = admin
        self._handled = folder / f"{self.name}.handled"
        self._workers: list[subprocess.Popen[bytes]] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, kafka: str, folder: Path) -> AsyncIterator[Group]:
        """Make the topic; kill what still runs at the end."""
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        group = cls(kafka, folder, admin)
        try:
            await ensure_topics(kafka, 1, names=[group.name])
            yield group
        finally:
            for worker in group._workers:
                worker.kill()
                worker.wait()
            await admin.close()

    async def produce(self, first: int, count: int) -> None:
        """Records whose values are their numbers."""
        async with AIOKafkaProducer(bootstrap_servers=self._kafka, acks="all") as producer:
            for number in range(first, first + count):
                await producer.send_and_wait(self.name, b"%d" % number, partition=0)

    def start(self, mode: str, max_poll_seconds: float = 1_000.0) -> subprocess.Popen[bytes]:
        """One more worker of ``bench.facts.agents``."""
        env = {
            **os.environ,
            "FACTS_KAFKA": self._kafka,
            "FACTS_TOPIC": self.name,
            "FACTS_GROUP": self.name,
            "FACTS_HANDLED": str(self._handled),
            "FACTS_BEGUN": str(self.begun),
            "FACTS_MAX_POLL": str(max_poll_seconds),
        }
        with (self._folder / f"{self.name}.log").open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "bench.facts.agents", mode], env=env, stdout=output, stderr=output
            )
        self._workers.append(worker)
        return worker

    async def end(self, worker: subprocess.Popen[bytes], number: signal.Signals) -> int:
        """Send a signal and wait for the exit code."""
        worker.send_signal(number)
        return await asyncio.to_thread(worker.wait, _EXIT_SECONDS)

    def handled(self) -> list[int]:
        """The numbers of the records that agents have finished, in order of number."""
        return sorted(number for number, _ in self._notes())

    def last_handler(self) -> subprocess.Popen[bytes]:
        """The worker that has finished the last record."""
        _, pid = self._notes()[-1]
        return next(worker for worker in self._workers if worker.pid == pid)

    def _notes(self) -> list[tuple[int, int]]:
        """Number and process id, in the order of handling."""
        if not self._handled.exists():
            return []
        fields = (line.split() for line in self._handled.read_text().splitlines())
        return [(int(number), int(pid)) for number, pid in fields]

    async def committed(self) -> int | None:
        """The group's committed offset; None if it never committed."""
        offsets = await self._admin.list_consumer_group_offsets(self.name)
        found = offsets.get(TopicPartition(self.name, 0))
        return found.offset if found is not None and found.offset >= 0 else None

    async def members(self) -> int:
        """How many members the broker counts; 0 while it has no coordinator for the group."""
        try:
            (answer,) = await self._admin.describe_consumer_groups([self.name])
        except GroupCoordinatorNotAvailableError:
            return 0
        return len(answer.groups[0][5])


async def reached(check: Callable[[], bool | Awaitable[bool]], seconds: float) -> bool:
    """True as soon as ``check`` is; False if it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found if isinstance(found, bool) else await found:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
