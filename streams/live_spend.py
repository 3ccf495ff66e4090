"""What clicks said that they cost, as the spend stage takes it in: the days of a partition on which that has changed.

Nobody sends live costs to the stage: it looks for them as it looks for touches. ``click_costs`` has each accepted hit
once, in whatever order and through whatever crash, so a day's live figures are a function of it, and are asked for
again whenever the day has other rows than at the last look (decision 0033).
"""

from __future__ import annotations

from typing import NamedTuple

from attribution.spend.click_costs import live_fact
from attribution.spend.fact import SpendFact
from attribution.spend.report import partition_key
from streams.ownership import Ownership
from streams.shared_look import SharedLook
from streams.spend_batch import Place
from streams.topics import partition_of

LOOK_EVERY_SECONDS = 2.0
DAYS_OF_A_TURN = 20
"""Days that one idle turn asks for: reports that arrive meanwhile do not wait for more."""


class ClickCostBook:
    """How many hits said on which days what their clicks cost: one look for all partitions of a worker."""

    def __init__(self, every_seconds: float = LOOK_EVERY_SECONDS) -> None:
        """``every_seconds``: how old what it says may be; 0 = it looks each time."""
        self._look: SharedLook[dict[Place, int]] = SharedLook("click costs", every_seconds, {})

    @property
    def hits(self) -> dict[Place, int]:
        """As of the last look; the same object until the next one."""
        return self._look.found

    async def look(self, own: Ownership) -> None:
        """Ask ClickHouse, unless somebody did a moment ago. Waits while it is away."""

        async def ask() -> dict[Place, int]:
            return {
                Place(site, network, day): hits for site, network, day, hits in await own.click_cost_days()
            }

        await self._look.look(ask)


class LiveDay(NamedTuple):
    """All that clicks said of a day: what was known of it before is over."""

    place: Place
    facts: list[SpendFact]
    heard_at: int
    """When the collector heard the last of these clicks, epoch ms; 0 = no click is of that day."""


class LiveSpend:
    """The live figures of one partition's days."""

    def __init__(self, own: Ownership, partitions: int, book: ClickCostBook) -> None:
        self._own = own
        self._partitions = partitions
        self._book = book
        self._looked_at: dict[Place, int] | None = None
        self._known: dict[Place, int] = {}
        """Hits of each day when it was asked for. Nothing at first: a new owner asks for all."""
        self._waiting: dict[Place, bool] = {}
        """Days to ask for; whether it is because of their own hits."""

    async def changed(self) -> list[LiveDay]:
        """The days that were asked for in this turn, each once; the newest first, which somebody looks at."""
        await self._book.look(self._own)
        hits = self._book.hits
        if hits is not self._looked_at:
            self._looked_at = hits
            for place, count in hits.items():
                if self._known.get(place) != count and self._is_mine(place):
                    self._waiting[place] = True
        found: dict[Place, LiveDay] = {}
        while self._waiting and len(found) < DAYS_OF_A_TURN:
            place = max(self._waiting, key=lambda place: (place.day, place))
            is_its_own = self._waiting.pop(place)
            # Before the day is read: a hit that comes in between is seen by the next look.
            self._known[place] = hits.get(place, 0)
            figures, later = await self._own.click_costs(*place)
            if is_its_own:
                # An earlier hit of a click takes it away from the day that it counted on.
                for day in later:
                    self._waiting.setdefault(place._replace(day=day), False)
            facts = [live_fact(place.ad_network, place.day, figure) for figure in figures]
            # A day that an earlier one sends back here is read again: that is what it comes to by then.
            found[place] = LiveDay(place, facts, max((figure.heard_at for figure in figures), default=0))
        return list(found.values())

    def _is_mine(self, place: Place) -> bool:
        key = partition_key(place.site, place.ad_network)
        return partition_of(key, self._partitions) == self._own.partition
