"""How far the workers are: read from Redis to know which spool segments a volatile broker may forget."""

from __future__ import annotations

from typing import NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from attribution.errors import Transient
from streams.topics import HITS, fence_key

READ_KEY = "hw:fences-read"
"""Written at each reading, so that ``WAITAOF`` has a write to wait for."""
_READ_KEY_SECONDS = 3600
_TIMEOUT_SECONDS = 2.0
_FSYNC_MS = 1500
"""Longest wait for the append-only file; ``appendfsync everysec`` is done within about a second."""


class Fence(NamedTuple):
    """One partition's fence."""

    broker: str
    """Cluster id of the log that ``offset`` counts in."""
    offset: int
    """Next offset to read; everything before it is done."""


class Fences:
    """Reads the fences of one topic. Connects when first asked."""

    def __init__(self, url: str, partitions: int, topic: str = HITS) -> None:
        self._redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._keys = [fence_key(topic, partition) for partition in range(partitions)]

    async def read(self) -> list[Fence | None]:
        """The fence of each partition, None where no worker has been, once they would survive a power cut.

        Raises ``Transient``, also while the append-only file is behind.
        """
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in self._keys:
                    pipeline.hmget(key, "broker", "offset")
                # WAITAOF waits for this connection's own writes, so there must be one, after what was read.
                pipeline.set(READ_KEY, 1, ex=_READ_KEY_SECONDS)
                pipeline.execute_command("WAITAOF", 1, 0, _FSYNC_MS)
                *answers, _, fsynced = await pipeline.execute(raise_on_error=False)
            if isinstance(fsynced, RedisError) and not isinstance(fsynced, ResponseError):
                raise fsynced
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        except (RedisError, OSError) as error:
            raise Transient(f"Redis is away: {error!r}") from error
        # A ResponseError: this Redis keeps no append-only file (or is older than 7.2); there is nothing to wait for.
        if not isinstance(fsynced, ResponseError) and fsynced[0] < 1:
            raise Transient("Redis has not yet fsynced the fences")
        return [
            Fence(broker.decode(), int(offset)) if broker and offset else None for broker, offset in answers
        ]

    async def close(self) -> None:
        """Let go of the connection."""
        await self._redis.aclose()
