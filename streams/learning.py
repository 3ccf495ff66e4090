"""Learning on a schedule: one worker at a time lets a child process learn, which nobody has to wait for.

A process of its own, because learning keeps a core busy for seconds and needs memory that no worker should grow by.
It stores and activates its tables itself; workers see them at their next look (``streams.learnt``). While there is too
little to learn from it is tried again after ``RETRY_SECONDS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from streams.topics import LEARNT_LEASE_KEY, LEARNT_STATE_KEY

log = structlog.get_logger(__name__)

FIRST_SECONDS = 300.0
"""After the first worker of an installation began."""
RETRY_SECONDS = 1_800.0
"""After an attempt that came to nothing."""
LEASE_SECONDS = 60.0
"""How long a worker that died keeps the others from learning; renewed while the child runs."""
_LOOK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LearnConfig:
    """``command`` learns, stores and activates; exit code 0 = done. It must end with its parent."""

    seconds: float
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """The whole environment of the child."""


class LearnState(msgspec.Struct):
    """Epoch seconds."""

    next_at: float
    ended_at: float = 0.0
    exit_code: int = 0
    """Of the last child."""


def start_learning(config: LearnConfig | None, redis: Redis) -> asyncio.Task[None] | None:
    """The schedule as a task of a worker; None when it is off."""
    return None if config is None else asyncio.create_task(Learning(redis, config).run(), name="learning")


async def load_learn_state(redis: Redis) -> LearnState | None:
    """As the last child left it; None before any worker began, or when an older version wrote it."""
    packed = await redis.get(LEARNT_STATE_KEY)
    try:
        return msgspec.json.decode(packed, type=LearnState) if packed is not None else None
    except msgspec.DecodeError:
        return None


class Learning:
    """The schedule of one worker. ``run`` never ends and never raises; ``tick`` is one look."""

    def __init__(self, redis: Redis, config: LearnConfig, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis
        self._config = config
        self._clock = clock

    async def run(self) -> None:
        """Look again and again whether learning is due."""
        while True:
            wait = _LOOK_SECONDS
            try:
                wait = await self.tick()
            except (RedisError, OSError) as error:
                log.warning("learning_waits", error=str(error))
            await asyncio.sleep(min(max(wait, 1.0), _LOOK_SECONDS))

    async def tick(self) -> float:
        """Learn if that is due and no other worker does; seconds until it is due again."""
        state = await self._state()
        if state.next_at <= self._clock():
            lease = self._redis.lock(LEARNT_LEASE_KEY, timeout=LEASE_SECONDS, blocking=False)
            if await lease.acquire():
                try:
                    state = await self._state()  # as the last holder of the lease left it
                    if state.next_at <= self._clock():
                        state = await self._learn(lease)
                        await self._redis.set(LEARNT_STATE_KEY, msgspec.json.encode(state))
                finally:
                    with contextlib.suppress(LockError):  # lost to somebody else meanwhile
                        await lease.release()
        return state.next_at - self._clock()

    async def _learn(self, lease: Lock) -> LearnState:
        child = await asyncio.create_subprocess_exec(
            *self._config.command, env=dict(self._config.environment), stdout=asyncio.subprocess.DEVNULL
        )
        try:
            while child.returncode is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEASE_SECONDS / 4):
                        await child.wait()
                await lease.extend(LEASE_SECONDS, replace_ttl=True)
        finally:
            if child.returncode is None:
                child.kill()
        now, code = self._clock(), child.returncode
        wait = self._config.seconds if code == 0 else min(RETRY_SECONDS, self._config.seconds)
        log.info("learning_ended", exit_code=code, next_seconds=round(wait))
        return LearnState(now + wait, now, code)

    async def _state(self) -> LearnState:
        if found := await load_learn_state(self._redis):
            return found
        state = LearnState(self._clock() + min(FIRST_SECONDS, self._config.seconds))
        await self._redis.set(LEARNT_STATE_KEY, msgspec.json.encode(state))
        return state
