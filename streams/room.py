"""Room for batches: how many hits all partitions of a worker may have in work at the same time.

A batch in work is its records, its rows and the requests that carry them: several times its size on the log. Who is
behind has a full batch of every partition, however many these are; one that computes and three that wait for ClickHouse
or Redis keep a core busy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.vitals import Calling

BATCHES = 4
"""Of the largest size, at the same time."""
DEFAULT_HITS = BATCHES * 20_000


class Room:
    """Lets in who comes first, one larger than the whole alone. Use from one event loop."""

    def __init__(self, hits: int = DEFAULT_HITS) -> None:
        self._hits = hits
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken(self) -> int:
        """Hits in work."""
        return self._taken

    @property
    def waiting(self) -> int:
        """Batches that wait for room."""
        return len(self._waiting)

    @asynccontextmanager
    async def of(self, hits: int) -> AsyncIterator[None]:
        """Inside, there is room for ``hits``. Whoever waits for it is not stuck: those inside are watched."""
        hits = min(hits, self._hits)
        if self._waiting or self._taken + hits > self._hits:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((hits, turn))
            try:
                with Calling("room among the batches", float("inf")):
                    await turn
            except asyncio.CancelledError:
                if not turn.cancelled():  # let in at the very moment at which it was cancelled
                    self._taken -= hits
                self._let_in()
                raise
        else:
            self._taken += hits
        try:
            yield
        finally:
            self._taken -= hits
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            hits, turn = self._waiting[0]
            if turn.cancelled():
                self._waiting.popleft()
                continue
            if self._taken + hits > self._hits:
                return
            self._waiting.popleft()
            self._taken += hits
            turn.set_result(None)
