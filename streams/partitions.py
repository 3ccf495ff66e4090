"""The partitions in this worker's hands: a pump for each, from take-over to the moment they are taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set

import structlog
from faust.types import TP

from streams import metrics
from streams.pump import Pump
from streams.records import Record
from streams.takeover import KINDS, Tools, take_over
from streams.vitals import Finding, Vitals, watched_as

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.5
"""How long a running batch may go on when its partition is taken away. It must be shorter than the rebalance timeout
of ``create_app``, or the group goes on without this worker and has to meet once more."""


class Partitions:
    """What this worker owns. ``on_failure`` hears of an error that must end the worker."""

    def __init__(
        self,
        tools: Tools,
        *,
        batch_max_hits: int,
        batch_wait_seconds: float,
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self._tools = tools
        self._batch_max_hits = batch_max_hits
        self._batch_wait_seconds = batch_wait_seconds
        self._on_failure = on_failure
        self._pumps: dict[TP, Pump] = {}
        self._taking: dict[TP, Vitals] = {}
        self._changing = asyncio.Lock()
        self.is_ready = False
        """Assigned (maybe nothing: a stand-by) and every fence read."""

    def __len__(self) -> int:
        return len(self._pumps)

    def finding(self) -> Finding:
        """The partition that has made no progress for longest, of those that have something to do."""
        vitals = [*self._taking.values(), *(pump.vitals for pump in self._pumps.values())]
        return max(
            (one.finding() for one in vitals), key=lambda found: found.seconds, default=Finding("", 0.0, "")
        )

    @property
    def is_taking(self) -> bool:
        """A take-over is under way."""
        return bool(self._taking)

    @property
    def wanted(self) -> dict[TP, int]:
        """The next record of each partition that has nothing to do until it is delivered."""
        return {tp: pump.next_offset for tp, pump in self._pumps.items() if pump.wants_records}

    @property
    def has_room(self) -> bool:
        """False while some pump takes no more: the consumer may then wait with everything else, too."""
        return all(pump.has_room for pump in self._pumps.values())

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest record that waits in any partition."""
        return max((pump.lag_seconds for pump in self._pumps.values()), default=0.0)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the records that wait in all partitions."""
        return sum(pump.buffered_bytes for pump in self._pumps.values())

    async def own(self, assignment: Set[TP]) -> dict[TP, int]:
        """Own exactly ``assignment`` and say where each partition starts. What is owned already goes on as it was.

        One call at a time: Faust seeks after a rebalance and again when it fetches while the flow is off, and
        two take-overs of one partition would fence each other.
        """
        async with self._changing:
            for tp in [tp for tp in self._pumps if tp not in assignment]:
                await self._pumps.pop(tp).close(FLUSH_SECONDS)
            await asyncio.gather(*(self._take(tp) for tp in assignment if tp not in self._pumps))
            metrics.PARTITIONS.set(len(self._pumps))
            self.is_ready = True
            return {tp: self._pumps[tp].next_offset for tp in assignment}

    async def _take(self, tp: TP) -> None:
        vitals = self._taking[tp] = Vitals(f"{tp.topic} {tp.partition}")
        watched_as(vitals)
        vitals.does("take-over")
        try:
            taken = await take_over(self._tools, tp.topic, tp.partition)
        except Exception as error:
            self._on_failure(f"take-over of {tp.topic} {tp.partition}", error)
            raise
        finally:
            del self._taking[tp]
        kind = KINDS[tp.topic]
        pump = self._pumps[tp] = Pump(
            tp.topic,
            tp.partition,
            self._tools.broker,
            taken.stage,
            next_offset=taken.next_offset,
            ranges=taken.ranges,
            max_events=self._batch_max_hits if kind.max_events is None else kind.max_events,
            wait_seconds=self._batch_wait_seconds if kind.wait_seconds is None else kind.wait_seconds,
        )
        pump.start().add_done_callback(lambda task: self._pump_done(tp, pump, task))

    def _pump_done(self, tp: TP, pump: Pump, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None and self._pumps.get(tp) is pump:
            error = RuntimeError("the pump ended, and nobody had asked it to")
        if error is not None:
            self._on_failure(task.get_name(), error)

    async def deliver(self, topic: str, partition: int, record: Record) -> None:
        """Hand a record to its pump; records of partitions that are not ours are passed over."""
        pump = self._pumps.get(TP(topic, partition))
        if pump is not None:
            await pump.put(record)

    async def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Let running batches end, but no longer than ``seconds``, and own nothing."""
        async with self._changing:
            self.is_ready = False
            pumps, self._pumps = list(self._pumps.values()), {}
            await asyncio.gather(*(pump.close(seconds) for pump in pumps))
            metrics.PARTITIONS.set(0)
