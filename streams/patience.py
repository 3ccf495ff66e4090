"""Waiting for dependencies that are away: retry for as long as it takes, without moving anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from redis.exceptions import BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from attribution.errors import Transient

log = structlog.get_logger(__name__)
T = TypeVar("T")

AWAY = (
    Transient,
    RedisConnectionError,
    RedisTimeoutError,
    BusyLoadingError,
    KafkaConnectionError,
    KafkaTimeoutError,
    ConnectionError,
)
MAX_PAUSE_SECONDS = 2.0


async def patiently(call: Callable[[], Awaitable[T]], what: str) -> T:
    """The result of ``call``, called again while its service is away. ``call`` must be idempotent.

    Any other error goes through: the worker dies rather than guesses.
    """
    pause = 0.05
    while True:
        try:
            return await call()
        except AWAY as error:
            log.warning("waiting", what=what, error=str(error), pause_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
