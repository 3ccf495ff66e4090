"""The ways out of the collector: each topic has a spool of its own and a producer that empties it.

A topic that stands still holds up no other, and what takes long to be done there keeps nobody else's disk. Hits have a
way out from the start; deals and spend once something of theirs comes, or is found on disk.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from attribution.errors import Misconfigured
from collector.config import CollectorConfig
from collector.metrics import CollectorMetrics, Gauged
from collector.producer import Producer
from collector.spool import Spool
from streams.topics import DEALS, HITS, SPEND

_FOLDERS = {HITS: "", DEALS: "deals", SPEND: "spend"}
"""Within the spool's folder; that of hits is the spool's own, as it was before there were others."""
SMALL_PART = 8
"""Deals and spend have this part of the space of hits each, beside it."""
LEAST_BYTES = 8 << 20
"""But never less: one delivery may have a megabyte."""


class Outlet:
    """One topic's way out."""

    def __init__(self, config: CollectorConfig, topic: str, metrics: CollectorMetrics) -> None:
        self.topic = topic
        self.metrics = metrics.of(topic)
        self.spool = Spool(_folder(config, topic), _max_bytes(config, topic), self.metrics)
        self.producer = Producer(config, topic, self.spool, self.metrics)
        self.is_open = False

    async def open(self) -> None:
        """Take over what an earlier process left and begin to send. Raises ``Misconfigured``."""
        await self.spool.open()
        self.is_open = True
        spool, gauge = self.spool, self.metrics.gauge
        gauge(Gauged.spool_bytes, lambda: float(spool.stored_bytes))
        gauge(Gauged.spool_oldest, lambda: spool.oldest_seconds(time.time()))
        gauge(Gauged.spool_limit, lambda: float(spool.max_bytes))
        self.producer.start()

    async def close(self, drain_seconds: float) -> bool:
        """Make durable what was accepted and let go of everything; True if Kafka has it all."""
        drained = await self.producer.drain(drain_seconds)
        await self.producer.stop()
        await self.spool.close()
        return drained


class Outlets:
    """All of them. Belongs to the running event loop."""

    def __init__(self, config: CollectorConfig, metrics: CollectorMetrics) -> None:
        self._all = {topic: Outlet(config, topic, metrics) for topic in _FOLDERS}
        self._folders = {topic: _folder(config, topic) for topic in _FOLDERS}
        self._opening = asyncio.Lock()
        self._watches: set[asyncio.Task[None]] = set()
        self._has_crashed = asyncio.Event()

    @property
    def hits(self) -> Outlet:
        """That of hits, which is always open."""
        return self._all[HITS]

    async def start(self) -> None:
        """Open what is needed from the start. Raises ``Misconfigured``."""
        try:
            for topic, folder in self._folders.items():
                if topic == HITS or folder.is_dir():
                    await self._open(topic)
        except Misconfigured:
            await self.stop(0.0)
            raise

    async def spool_of(self, topic: str) -> Spool:
        """The spool of ``topic``, opened if it is the first time. Raises ``Misconfigured``."""
        async with self._opening:
            if not self._all[topic].is_open:
                await self._open(topic)
        return self._all[topic].spool

    async def crashed(self) -> None:
        """Wait for an error that nobody foresaw in any of them, and raise it."""
        await self._has_crashed.wait()
        for watch in self._watches:
            if watch.done():
                watch.result()

    async def stop(self, drain_seconds: float) -> bool:
        """Close all that are open; True if Kafka has everything."""
        for watch in self._watches:
            watch.cancel()
        opened = [outlet for outlet in self._all.values() if outlet.is_open]
        return all(await asyncio.gather(*(outlet.close(drain_seconds) for outlet in opened)))

    async def _open(self, topic: str) -> None:
        outlet = self._all[topic]
        await outlet.open()
        watch = asyncio.create_task(outlet.producer.crashed())
        watch.add_done_callback(lambda _: self._has_crashed.set())
        self._watches.add(watch)


def _folder(config: CollectorConfig, topic: str) -> Path:
    return config.spool_dir / _FOLDERS[topic]


def _max_bytes(config: CollectorConfig, topic: str) -> int:
    if topic == HITS:
        return config.spool_max_bytes
    return max(config.spool_max_bytes // SMALL_PART, LEAST_BYTES)
