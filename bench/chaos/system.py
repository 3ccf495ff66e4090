"""``headwater up`` as a child, and questions about how it is: which processes, is it idle."""

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

from attribution.errors import HeadwaterError
from bench.chaos.progress import Places, unfinished
from runtime.installation import RUN_FILE

START_WITHIN_S = 120.0
STOP_WITHIN_S = 60.0
_POLL_S = 0.05


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
            env={
                **os.environ,
                "HEADWATER_PARTITIONS": str(self.partitions),
                "HEADWATER_LEARN_HOURS": "0",  # the oracle knows of no learnt table
            },
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
            while any(is_alive(pid) for pid in pids):
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
        if pid is None or not is_alive(pid):
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
        spool = self.data_dir / "spool"
        return await unfinished(Places(self.run["kafka"], self.run["redis"], self.partitions, [spool]))


def is_alive(pid: int) -> bool:
    """True unless the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
