"""Fences are believed only when they are on disk: a spool segment is deleted on their word."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from conftest import ServerThread
from redis.asyncio import Redis

from attribution.errors import Transient
from collector.fences import Fence, Fences
from runtime.embedded.servers import VALKEY
from streams.topics import HITS, fence_key


async def read(fences: Fences) -> list[Fence | None]:
    """The fences, as soon as Redis has them on disk."""
    async with asyncio.timeout(15):
        while True:
            try:
                return await fences.read()
            except Transient:
                await asyncio.sleep(0.05)


async def test_a_fence_that_was_read_is_on_disk(tmp_path: Path) -> None:
    with ServerThread(tmp_path, VALKEY) as servers:
        async with Redis.from_url(servers.redis) as redis:
            fences = Fences(servers.redis, 2)
            await redis.hset(fence_key(HITS, 1), mapping={"broker": "b", "offset": 7})
            assert await read(fences) == [None, Fence("b", 7)]
            # With fsync switched off nothing reaches the disk for certain, so nothing may be believed.
            await redis.config_set("appendfsync", "no")
            await redis.hset(fence_key(HITS, 1), "offset", 8)
            with pytest.raises(Transient, match="fsync"):
                await fences.read()
            await redis.config_set("appendfsync", "everysec")
            await redis.hset(fence_key(HITS, 1), "offset", 9)
            assert await read(fences) == [None, Fence("b", 9)]
            await fences.close()


async def test_a_redis_without_append_only_file_has_nothing_to_wait_for(tmp_path: Path) -> None:
    with ServerThread(tmp_path, VALKEY) as servers:
        async with Redis.from_url(servers.redis) as redis:
            await redis.config_set("appendonly", "no")
            await redis.hset(fence_key(HITS, 0), mapping={"broker": "b", "offset": 3})
            fences = Fences(servers.redis, 1)
            assert await fences.read() == [Fence("b", 3)]
            await fences.close()


async def test_a_redis_that_is_away_is_said_so(tmp_path: Path) -> None:
    with ServerThread(tmp_path, VALKEY) as servers:
        fences = Fences(servers.redis, 1)
        pid = servers.pids[VALKEY]
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Transient, match="away"):
                await fences.read()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await read(fences) == [None]
        await fences.close()
