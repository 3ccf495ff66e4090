"""``headwater up`` as a child, and questions about how it is: which processes, is it idle, what do its stores hold."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from attribution.errors import HeadwaterError
from runtime.installation import RUN_FILE
from streams.kafka_admin import cluster_id
from streams.topics import CONVERSIONS, HITS, dirty_key, fence_key, outbox_key

START_WITHIN_S = 120.0
STOP_WITHIN_S = 60.0
_POLL_S = 0.05
_SEGMENT_HEAD_BYTES = 8
"""Length of a spool segment that holds nothing."""


class System:
    """The whole system of one data folder, running as the command would."""

    def __init__(self, data_dir: Path, partitions: int, workers: int) -> None:
        self.data_dir = data_dir
        self.partitions = partitions
        self.workers = workers
        self.run: dict[str, Any] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start it; ready when this returns."""
        await self.start()
        return self

    async def start(self) -> None:
        """Run ``headwater up``; ready when this returns. Raises ``HeadwaterError``."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        output = os.open(self.data_dir / "up.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        command = ["up", "--data-dir", str(self.data_dir), "--collector-port", "0", "--api-port", "0"]
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "runtime.cli", *command, "--workers", str(self.workers)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "HEADWATER_PARTITIONS": str(self.partitions)},
        )
        os.close(output)
        addresses = {name: value for name, value in self.run.items() if name != "pids"}
        async with asyncio.timeout(START_WITHIN_S):
            while not self._is_announced(self._process.pid):
                if self._process.returncode is not None:
                    raise HeadwaterError(f"up did not start:\n{self.tail_of('../up')}")
                await asyncio.sleep(_POLL_S)
        self.run = self.read_run()
        if moved := {name for name in addresses if addresses[name] != self.run[name]}:
            raise HeadwaterError(f"After a restart of up these are others than before: {', '.join(moved)}.")

    async def die(self) -> None:
        """Kill ``headwater up`` itself; returns when all its parts have gone with it."""
        assert self._process is not None
        pids = self.read_run()["pids"].values()
        self._process.kill()
        await self._process.wait()
        async with asyncio.timeout(STOP_WITHIN_S):
            while any(_is_alive(pid) for pid in pids):
                await asyncio.sleep(_POLL_S)

    def _is_announced(self, pid: int) -> bool:
        """True when ``run.json`` is that of the ``up`` with this process id."""
        with suppress(FileNotFoundError):
            return bool(self.read_run()["pids"]["up"] == pid)
        return False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    @property
    def is_running(self) -> bool:
        """False once ``up`` itself has ended, which no kill of a part may cause."""
        return self._process is not None and self._process.returncode is None

    def read_run(self) -> dict[str, Any]:
        """``run.json`` as it is now."""
        run: dict[str, Any] = json.loads((self.data_dir / RUN_FILE).read_text())
        return run

    def pid(self, name: str) -> int | None:
        """Process id of a part, None while it is dead."""
        pid = self.read_run()["pids"].get(name)
        if pid is None or not _is_alive(pid):
            return None
        return int(pid)

    def tail_of(self, name: str, lines: int = 12) -> str:
        """The end of a part's log."""
        with suppress(OSError):
            text = (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")
            return "\n".join(line[:400] for line in text.splitlines()[-lines:])
        return ""

    async def unfinished(self) -> list[str]:
        """What is still on its way, in words; nothing when all effects of all events are there."""
        try:
            return [*self._spool(), *await self._stores()]
        except Exception as error:  # a part that is away is a reason to wait, whichever way it shows
            return [f"cannot ask: {error!r}"]

    def _spool(self) -> list[str]:
        sizes = []
        for path in (self.data_dir / "spool").glob("*.spool"):
            with suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
        held = [size for size in sizes if size > _SEGMENT_HEAD_BYTES]
        return [f"spool holds {len(held)} segments, {sum(held)} bytes"] if held else []

    async def _stores(self) -> list[str]:
        said: list[str] = []
        broker = await cluster_id(self.run["kafka"])
        ends = await self._ends()
        redis = Redis.from_url(
            self.run["redis"], socket_timeout=5, decode_responses=True, encoding_errors="replace"
        )
        try:
            for partition in range(self.partitions):
                for key, what in ((dirty_key(partition), "dirty"), (outbox_key(partition), "outbox")):
                    if count := await redis.hlen(key):
                        said.append(f"{what} {partition}: {count}")
                for topic in (HITS, CONVERSIONS):
                    fence = await redis.hgetall(fence_key(topic, partition))
                    end = ends[topic, partition]
                    offset = int(fence.get("offset", "0")) if fence.get("broker") == broker else 0
                    if fence.get("pending"):
                        said.append(f"{topic} {partition}: pending {fence['pending']!r}")
                    if offset < end:
                        said.append(f"{topic} {partition}: at {offset} of {end}")
        finally:
            await redis.aclose()
        return said

    async def _ends(self) -> dict[tuple[str, int], int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.run["kafka"], enable_auto_commit=False)
        partitions = [TopicPartition(t, p) for t in (HITS, CONVERSIONS) for p in range(self.partitions)]
        try:
            await consumer.start()
            ends = await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()
        return {(tp.topic, tp.partition): offset for tp, offset in ends.items()}


def _is_alive(pid: int) -> bool:
    """True unless the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
