"""Learnt tables in Redis: those that are active now, looked up every few seconds, and every earlier one by its version.

Keeping a table and making it active are two steps, in this order, so that whoever finds a version finds its table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from attribution.errors import HeadwaterError
from attribution.learnt.tables import LEARNT_MODELS, LearntTable, UnreadableTable
from streams.fence import FenceStore
from streams.topics import LEARNT_ACTIVE_KEY, LEARNT_TABLES_KEY

log = structlog.get_logger(__name__)

Find = Callable[[str], Awaitable[LearntTable | None]]
"""A table by its version, from elsewhere."""
LOOK_SECONDS = 2.0
"""How soon a worker credits new conversions under a table that became active."""


class LearntBook:
    """What one worker knows of learnt tables; shared by its partitions."""

    def __init__(self, store: FenceStore) -> None:
        self._store = store
        self.active: Mapping[str, str] = {}
        """Model to table version. A new mapping whenever it changes; its tables are at hand."""
        self.tables: dict[str, LearntTable] = {}
        """By version."""

    async def load(self, versions: Iterable[str], find: Find | None = None) -> list[str]:
        """Have the tables of these versions at hand; those that nobody knows. ``find``: asked for what Redis lost."""
        missing = []
        for version in sorted(set(versions) - self.tables.keys()):
            packed = await self._store.field(LEARNT_TABLES_KEY, version)
            try:
                if packed is not None:
                    self.tables[version] = LearntTable.from_bytes(packed, version)
                    continue
            except UnreadableTable as error:
                log.error("learnt_table_unreadable", error=str(error))
            table = await find(version) if find is not None else None
            if table is not None and table.version == version:
                self.tables[version] = table
                await self._store.put_new_field(LEARNT_TABLES_KEY, version, table.to_bytes())
                continue
            missing.append(version)
        return missing

    async def look(self) -> None:
        """Follow what is active now. A table that cannot be had leaves all as it was."""
        found = await self._store.fields(LEARNT_ACTIVE_KEY)
        active = {model.decode(): version.decode() for model, version in found.items()}
        active = {model: version for model, version in active.items() if model in LEARNT_MODELS}
        if active == self.active:
            return
        if missing := await self.load(active.values()):
            log.warning("learnt_table_unknown", tables=missing)
            return
        self.active = active
        log.info("learnt_tables_active", **active)

    async def run(self) -> None:
        """Look again and again. Never ends and never raises."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except (RedisError, HeadwaterError, OSError) as error:
                log.warning("learnt_tables_wait", error=str(error))


async def active_tables(redis: Redis) -> dict[str, str]:
    """Learnt model to the version of its active table. Raises ``RedisError``."""
    found: Any = await redis.hgetall(LEARNT_ACTIVE_KEY)
    return {model.decode(): version.decode() for model, version in found.items()}


async def keep_tables(redis: Redis, tables: Iterable[LearntTable]) -> None:
    """Put ``tables`` where workers find them; nothing is credited by them yet. Raises ``RedisError``."""
    for table in tables:
        await redis.hsetnx(LEARNT_TABLES_KEY, table.version, table.to_bytes())


async def activate_tables(redis: Redis, tables: Iterable[LearntTable]) -> None:
    """Credit new conversions by ``tables``, which are kept already, all from the same moment on."""
    await redis.hset(LEARNT_ACTIVE_KEY, mapping={table.model: table.version for table in tables})
