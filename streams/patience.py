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
from streams.vitals import CALL_SECONDS, Calling

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
_CLOSED_BY_UVLOOP = "the handler is closed"
"""What uvloop says, as a bare ``RuntimeError``, to whoever writes to a connection that was just reset."""
MAX_PAUSE_SECONDS = 2.0


async def patiently(call: Callable[[], Awaitable[T]], what: str) -> T:
    """The result of ``call``, called again while its service is away. ``call`` must be idempotent.

    Each call ends by limits of its own within ``CALL_SECONDS``; one that has not is stuck, not waiting. Any
    other error goes through: the worker dies rather than guesses.
    """
    pause = 0.05
    while True:
        try:
            with Calling(what, CALL_SECONDS):
                return await call()
        except (*AWAY, RuntimeError) as error:
            if not isinstance(error, AWAY) and _CLOSED_BY_UVLOOP not in str(error):
                raise
            log.warning("waiting", what=what, error=str(error), pause_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_SECONDS)
