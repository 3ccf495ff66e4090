"""The touches that spend is joined to, as ClickHouse last told them: one look for all partitions of a worker."""

from __future__ import annotations

from attribution.spend.labels import Touches, by_network
from streams.ownership import Ownership
from streams.shared_look import SharedLook

LOOK_EVERY_SECONDS = 30.0
NO_TOUCHES = Touches()


class TouchBook:
    """Touches by site and network. Use from one event loop."""

    def __init__(self, every_seconds: float = LOOK_EVERY_SECONDS) -> None:
        """``every_seconds``: how old what it says may be; 0 = it looks each time."""
        self._look: SharedLook[dict[tuple[str, str], Touches]] = SharedLook("touches", every_seconds, {})

    def of(self, site: str, ad_network: str) -> Touches:
        """Those of a site's network, as of the last look."""
        return self._look.found.get((site, ad_network), NO_TOUCHES)

    async def look(self, own: Ownership) -> None:
        """Ask ClickHouse, unless somebody did a moment ago. Waits while it is away."""

        async def ask() -> dict[tuple[str, str], Touches]:
            return by_network(await own.touch_labels())

        await self._look.look(ask)
