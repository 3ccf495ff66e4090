"""How far the workers are: read from Redis to know which spool segments a volatile broker may forget."""

from __future__ import annotations

from typing import NamedTuple

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from attribution.errors import Transient
from streams.topics import HITS, fence_key

_TIMEOUT_SECONDS = 2.0


class Fence(NamedTuple):
    """One partition's fence."""

    broker: str
    """Cluster id of the log that ``offset`` counts in."""
    offset: int
    """Next offset to read; everything before it is done."""


class Fences:
    """Reads the fences of the hits topic. Connects when first asked."""

    def __init__(self, url: str, partitions: int) -> None:
        self._redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._keys = [fence_key(HITS, partition) for partition in range(partitions)]

    async def read(self) -> list[Fence | None]:
        """The fence of each partition, None where no worker has been. Raises ``Transient``."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in self._keys:
                    pipeline.hmget(key, "broker", "offset")
                answers = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise Transient(f"Redis is away: {error!r}") from error
        return [
            Fence(broker.decode(), int(offset)) if broker and offset else None for broker, offset in answers
        ]

    async def close(self) -> None:
        """Let go of the connection."""
        await self._redis.aclose()
