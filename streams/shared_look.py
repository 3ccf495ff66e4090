"""A question to ClickHouse that all partitions of a worker share: one look serves them all for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from streams.vitals import Calling

SHARE_OF_TIME = 50
"""A look that takes long is taken less often: this many times as long passes before the next."""
T = TypeVar("T")


class SharedLook(Generic[T]):
    """What the last look ``found``. Use from one event loop."""

    def __init__(self, what: str, every_seconds: float, nothing: T) -> None:
        """``what`` is looked at, for people; ``every_seconds``: how old the answer may be; 0 = it looks each time."""
        self.found = nothing
        self._what = what
        self._every_seconds = every_seconds
        self._next_look = float("-inf")
        self._looking = asyncio.Lock()

    async def look(self, ask: Callable[[], Awaitable[T]]) -> None:
        """``ask``, unless somebody did a moment ago. Waits while ClickHouse is away."""
        # Whoever waits for another's look is not stuck: that one is watched.
        with Calling(f"another partition's look at {self._what}", float("inf")):
            await self._looking.acquire()
        try:
            began = time.monotonic()
            if began < self._next_look:
                return
            self.found = await ask()
            ended = time.monotonic()
            pause = max(self._every_seconds, SHARE_OF_TIME * (ended - began)) if self._every_seconds else 0.0
            self._next_look = ended + pause
        finally:
            self._looking.release()
