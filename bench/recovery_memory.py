"""How much memory processes hold, looked at again and again (Linux)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_LOOK_S = 0.2


def rss_of(pid: int) -> int:
    """Resident bytes of a process. Raises ``OSError`` when there is none."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


class Memory:
    """What processes held at each look. ``now`` and ``most`` are bytes by name."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self.samples: list[tuple[float, dict[str, int]]] = []
        """(monotonic seconds, bytes by name)"""
        self.look()

    def look(self) -> None:
        """Take a sample."""
        self.samples.append((time.monotonic(), {name: rss_of(pid) for name, pid in self._pids.items()}))

    def most(self, name: str, until: float = float("inf"), since: float = 0.0) -> int:
        """The largest figure of a process from one instant up to another."""
        return max((held[name] for at, held in self.samples if since <= at <= until), default=0)

    def first(self, name: str) -> int:
        """The figure at the first look."""
        return self.samples[0][1][name]


@asynccontextmanager
async def watching(pids: Mapping[str, int]) -> AsyncIterator[Memory]:
    """Inside, the processes are looked at five times a second."""
    memory = Memory(pids)

    async def look() -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            with suppress(OSError):  # a process that has ended is somebody else's to notice
                memory.look()

    looking = asyncio.create_task(look())
    try:
        yield memory
    finally:
        looking.cancel()
