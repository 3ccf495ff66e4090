"""Which part dies when: every part in turn, then at random, some while another still recovers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from attribution.errors import HeadwaterError
from bench.chaos.system import System

PARTS = ("collector", "worker", "valkey", "engine", "broker")
SLEEP_S = 9.0
"""How long a part is stopped: longer than the session timeout, so that a worker's partitions move and it wakes up as
a zombie."""
FREEZE_S = 0.7
APPEAR_WITHIN_S = 90.0
"""How long a part may be gone before the supervisor is said to have failed."""
_POLL_S = 0.02


class Way(StrEnum):
    """How a blow falls."""

    alone = "alone"
    during = "during another's recovery"
    together = "two at once"
    pinched = "while a store is frozen"
    """The store stands still first, so the victim dies in the middle of what it asks of it."""
    terminated = "SIGTERM"
    asleep = "SIGSTOP, SIGCONT"
    everything = "headwater up and all it runs"


@dataclass(frozen=True)
class Blow:
    """What happens before the system is given time to recover. ``parts`` are hit one after the other."""

    way: Way
    parts: tuple[str, ...]

    @property
    def kills(self) -> int:
        """How many ``kill -9`` it is."""
        return 0 if self.way in (Way.terminated, Way.asleep, Way.everything) else len(self.parts)

    def __str__(self) -> str:
        return f"{' + '.join(self.parts)} ({self.way})"


def plan_blows(kills: int, seed: int, *, is_short: bool = False) -> list[Blow]:
    """Blows with at least ``kills`` kills: each part in turn, a worker with the broker, then at random.

    The full plan hits every part at least five times, puts parts to sleep, ends parts gently, and kills ``up``
    itself, which takes everything with it; a short one does not.
    """
    rng = random.Random(f"plan {seed}")
    blows = [*(Blow(Way.alone, (part,)) for part in PARTS), Blow(Way.together, ("worker", "broker"))]
    if not is_short:
        blows += [
            Blow(Way.asleep, ("worker",)),
            Blow(Way.pinched, ("broker",)),
            Blow(Way.pinched, ("worker",)),
            Blow(Way.terminated, ("worker",)),
            Blow(Way.during, ("broker", "worker")),
            Blow(Way.during, ("engine", "worker")),
            Blow(Way.during, ("valkey", "broker")),
            Blow(Way.together, ("collector", "broker")),
            Blow(Way.together, ("valkey", "engine")),
            Blow(Way.terminated, ("collector",)),
            Blow(Way.asleep, ("broker",)),
            Blow(Way.everything, PARTS),
            Blow(Way.asleep, ("worker",)),
        ]
    while (left := kills - sum(blow.kills for blow in blows)) > 0 or (
        not is_short and min(_hits(blows, part) for part in PARTS) < 5
    ):
        rare = min(PARTS, key=lambda part: _hits(blows, part))
        first = rare if rng.random() < 0.5 else rng.choice(PARTS)
        way = rng.choice((Way.alone, Way.alone, Way.pinched, Way.during, Way.together))
        if way is Way.alone or (way is Way.pinched and first in ("valkey", "engine")) or left == 1:
            blows.append(Blow(Way.alone, (first,)))
        elif way is Way.pinched:
            blows.append(Blow(way, (first,)))
        else:
            blows.append(Blow(way, (first, rng.choice([part for part in PARTS if part != first]))))
    return blows


def _hits(blows: list[Blow], part: str) -> int:
    return sum(blow.parts.count(part) for blow in blows if blow.kills)


class Striker:
    """Carries blows out. It only ever signals processes that ``run.json`` of its own system names."""

    def __init__(self, system: System, rng: random.Random) -> None:
        self._system = system
        self._rng = rng
        self.kills: dict[str, int] = dict.fromkeys(PARTS, 0)

    async def strike(self, blow: Blow) -> None:
        """One blow, at a random moment. Raises ``HeadwaterError`` if a part does not come back."""
        await asyncio.sleep(self._rng.uniform(0.0, 1.2))
        match blow.way:
            case Way.alone:
                await self._kill(blow.parts[0])
            case Way.during:
                for part in blow.parts:
                    await self._kill(part)
                    await asyncio.sleep(self._rng.uniform(0.05, 3.0))
            case Way.together:
                await asyncio.gather(*(self._kill(part) for part in blow.parts))
            case Way.pinched:
                await self._frozen(self._rng.choice(("valkey", "engine")), lambda: self._kill(blow.parts[0]))
            case Way.terminated:
                await self._signal(self._one_of(blow.parts[0]), signal.SIGTERM)
            case Way.asleep:
                await self._put_to_sleep(self._one_of(blow.parts[0]))
            case Way.everything:
                await self._system.die()
                await self._system.start()

    async def _kill(self, part: str) -> None:
        await self._signal(self._one_of(part), signal.SIGKILL)
        self.kills[part] += 1

    async def _frozen(self, store: str, act: Callable[[], Awaitable[None]]) -> None:
        """``act`` while ``store`` answers nobody."""
        pid = await self._signal(store, signal.SIGSTOP)
        try:
            await asyncio.sleep(self._rng.uniform(0.1, FREEZE_S))
            await act()
            await asyncio.sleep(self._rng.uniform(0.0, FREEZE_S))
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _put_to_sleep(self, name: str) -> None:
        """Stop a part until others have taken it for dead, then let it go on as if nothing had been."""
        pid = await self._signal(name, signal.SIGSTOP)
        await asyncio.sleep(SLEEP_S)
        os.kill(pid, signal.SIGCONT)

    def _one_of(self, part: str) -> str:
        """The name in ``run.json``: one of the workers if that is what shall die."""
        number = self._rng.randint(1, self._system.workers) if part == "worker" else 1
        return part if number == 1 else f"{part}-{number}"

    async def _signal(self, name: str, number: signal.Signals) -> int:
        """Signal a part, waiting until it is there if it is just being started; its process id."""
        pid = await self._appeared(name)
        os.kill(pid, number)
        return pid

    async def _appeared(self, name: str) -> int:
        try:
            async with asyncio.timeout(APPEAR_WITHIN_S):
                while True:
                    if (pid := self._system.pid(name)) is not None:
                        return pid
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            tail = self._system.tail_of(name)
            raise HeadwaterError(
                f"{name} was not started again within {APPEAR_WITHIN_S:g} s.\n{tail}"
            ) from error
