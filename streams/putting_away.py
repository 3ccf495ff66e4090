"""Timelines of visitors who have not been heard of for long leave Redis: one worker at a time looks for them.

Each leaves a mark (``lua/mark.lua``). So whoever needs it later knows to make it again from the hits that ClickHouse
keeps (``streams.recalling``), and whoever finds neither knows that the visitor is new.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import structlog
from redis.exceptions import RedisError

from streams import metrics
from streams.fence import SPARE_SECONDS, FenceStore
from streams.topics import PUTTING_AWAY_KEY, TIMELINE_PREFIX

log = structlog.get_logger(__name__)

PAGE = 1_000
"""Keys that Redis looks through in one call: about half a millisecond."""
PAUSE_SECONDS = 0.02
_OFTENEST_SECONDS = 1.0
_RAREST_SECONDS = 6 * 3600.0


def seconds_between(timeline_seconds: float) -> float:
    """How long after a look the next one is due: a fiftieth of the time that a timeline may stay, in bounds."""
    return min(max(timeline_seconds / 50, _OFTENEST_SECONDS), _RAREST_SECONDS)


async def put_away(store: FenceStore, spare_ms: int = SPARE_SECONDS * 1000) -> int:
    """Look through all timelines once; how many went. ``spare_ms``: those that have less to live."""
    gone, cursor = 0, 0
    while True:
        found: Any = await store.redis.scan(cursor, match=TIMELINE_PREFIX + b"*", count=PAGE)
        cursor, keys = int(found[0]), found[1]
        by_partition: dict[int, list[bytes]] = defaultdict(list)
        for key in keys:
            by_partition[int(key[len(TIMELINE_PREFIX) : key.index(b"}")])].append(key)
        for partition, its_keys in by_partition.items():
            gone += await store.put_away(partition, its_keys, spare_ms)
        if not cursor:
            return gone
        await asyncio.sleep(PAUSE_SECONDS)


async def keep_putting_away(store: FenceStore) -> None:
    """Whenever it is due and no other worker has begun. Never ends and never raises."""
    pause = seconds_between(store.timeline_seconds)
    while True:
        try:
            if await store.redis.set(PUTTING_AWAY_KEY, "1", nx=True, px=int(pause * 1000)):
                gone = await put_away(store)
                metrics.PUT_AWAY.inc(gone)
                if gone:
                    log.info("put_away", timelines=gone)
        except (RedisError, OSError) as error:
            log.warning("putting_away_waits", error=str(error))
        await asyncio.sleep(pause)
