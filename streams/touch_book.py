"""The touches that spend is joined to, as ClickHouse last told them: one look for all partitions of a worker."""

from __future__ import annotations

import asyncio
import time

from attribution.spend.labels import Touches, by_network
from streams.ownership import Ownership
from streams.vitals import Calling

LOOK_EVERY_SECONDS = 30.0
SHARE_OF_TIME = 50
"""A look that takes long is taken less often: this many times as long passes before the next."""
NO_TOUCHES = Touches()


class TouchBook:
    """Touches by site and network. Use from one event loop."""

    def __init__(self, every_seconds: float = LOOK_EVERY_SECONDS) -> None:
        """``every_seconds``: how old what it says may be; 0 = it looks each time."""
        self._every_seconds = every_seconds
        self._found: dict[tuple[str, str], Touches] = {}
        self._next_look = float("-inf")
        self._looking = asyncio.Lock()

    def of(self, site: str, ad_network: str) -> Touches:
        """Those of a site's network, as of the last look."""
        return self._found.get((site, ad_network), NO_TOUCHES)

    async def look(self, own: Ownership) -> None:
        """Ask ClickHouse, unless somebody did a moment ago. Waits while it is away."""
        # Whoever waits for another's look is not stuck: that one is watched.
        with Calling("another partition's look at touches", float("inf")):
            await self._looking.acquire()
        try:
            began = time.monotonic()
            if began < self._next_look:
                return
            self._found = by_network(await own.touch_labels())
            ended = time.monotonic()
            pause = max(self._every_seconds, SHARE_OF_TIME * (ended - began)) if self._every_seconds else 0.0
            self._next_look = ended + pause
        finally:
            self._looking.release()
