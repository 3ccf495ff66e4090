"""Carries faults out. It only ever signals processes of its own cluster, and puts right what it bends."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

from aiokafka.errors import KafkaError

from attribution.errors import HeadwaterError
from bench.chaos.cluster import Cluster
from bench.chaos.load import Senders
from bench.chaos.plan import Act, Fault
from bench.chaos.poison import Planter
from bench.chaos.proxy import Weather
from bench.chaos.traffic import Traffic
from runtime.supervisor import Supervisor

APPEAR_WITHIN_S = 120.0
"""How long a part may be gone before the supervisor is said to have failed."""
_REQUEST_WITHIN_S = 5.0
_POLL_S = 0.02
_WEATHER = {Act.deaf: Weather.deaf, Act.slow: Weather.slow, Act.hole: Weather.hole}


class Striker:
    """One after the other or several at a time: ``strike`` returns when the fault itself is over."""

    def __init__(
        self,
        cluster: Cluster,
        rng: random.Random,
        senders: Senders,
        traffic: Traffic,
        planter: Planter,
    ) -> None:
        self._cluster = cluster
        self._rng = rng
        self._senders = senders
        self._traffic = traffic
        self._planter = planter
        self._one_valkey = asyncio.Lock()
        self.done: Counter[Act] = Counter()
        self.kills: Counter[str] = Counter()
        """SIGKILLs by process."""
        self.missed: Counter[str] = Counter()
        """Faults that found nothing to hit, by reason."""

    async def strike(self, fault: Fault) -> None:
        """Do it. Raises ``HeadwaterError`` if a part that is to be hit does not come back from the last fault."""
        match fault.act:
            case Act.kill:
                await asyncio.gather(*(self._kill(name) for name in fault.targets))
            case Act.kill_in_insert:
                await self._in_insert()
                await self._kill(fault.targets[0])
            case Act.kill_all:
                for name in list(self._cluster.pids):
                    self._cluster.signal(name, signal.SIGKILL)
                    self.kills[name] += 1
            case Act.term:
                await self._signal(fault.targets[0], signal.SIGTERM)
            case Act.term_in_batch:
                await self._in_insert()
                await self._signal(fault.targets[0], signal.SIGTERM)
            case Act.sleep:
                await self._sleep(fault.targets[0], fault.seconds)
            case Act.storm:
                await self._storm(fault.seconds)
            case Act.reset:
                if not sum(self._cluster.links[name].reset(fault.only) for name in fault.targets):
                    self.missed["no connection to reset"] += 1
            case Act.deaf | Act.slow | Act.hole:
                await self._weather(fault)
            case Act.set_back:
                await self._set_back(fault.seconds)
            case Act.disk_full:
                await self._fill_disk(fault.targets[0], fault.seconds)
            case Act.clock:
                self._cluster.jump_clock(fault.targets[0], fault.amount)
                await asyncio.sleep(fault.seconds)
                self._cluster.jump_clock(fault.targets[0], 0)
            case Act.malformed:
                try:
                    await self._planter.plant(self._rng, fault.amount)
                except (KafkaError, OSError, TimeoutError):
                    self.missed["no broker for malformed records"] += 1
            case Act.flawed:
                await self._senders.send([self._traffic.flawed()], by_pixel=False)
        self.done[fault.act] += 1

    async def _kill(self, name: str) -> None:
        await self._signal(name, signal.SIGKILL)
        self.kills[name] += 1

    async def _signal(self, name: str, number: signal.Signals) -> int:
        """Signal a part, waiting until it is there if it is just being started; its process id."""
        try:
            async with asyncio.timeout(APPEAR_WITHIN_S):
                while (pid := self._cluster.signal(name, number)) is None:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            tail = self._cluster.tail_of(name)
            raise HeadwaterError(
                f"{name} was not started again within {APPEAR_WITHIN_S:g} s.\n{tail}"
            ) from error
        return pid

    async def _in_insert(self) -> None:
        """Wait until a worker sends something to the engine, and some milliseconds more."""
        links = [self._cluster.links[f"{name}>engine"] for name in self._cluster.workers]
        waits = [asyncio.ensure_future(link.request()) for link in links]
        done, pending = await asyncio.wait(
            waits, timeout=_REQUEST_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
        )
        for wait in pending:
            wait.cancel()
        if not done:
            self.missed["no insert was under way"] += 1
        await asyncio.sleep(self._rng.uniform(0.0, 0.03))

    async def _sleep(self, name: str, seconds: float) -> None:
        """Stop a part until others have taken it for dead, then let it go on as if nothing had been."""
        pid = await self._signal(name, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        if self._cluster.pids.get(name) == pid:  # else it was killed meanwhile
            self._cluster.signal(name, signal.SIGCONT)

    async def _storm(self, seconds: float) -> None:
        """More workers come and go, some gently, some not."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        number = 0
        async with asyncio.TaskGroup() as group:
            while loop.time() < end:
                number += 1
                group.create_task(self._visit(f"guest-{number % 3}", self._rng.uniform(2.0, 6.0)))
                await asyncio.sleep(self._rng.uniform(2.0, 4.0))

    async def _visit(self, name: str, seconds: float) -> None:
        """One worker for some seconds, whether it has become ready or not; half of them leave without a word."""
        patience = 20.0 if self._rng.random() < 0.5 else 0.0
        guests = Supervisor(self._cluster.place.logs)
        joining = asyncio.create_task(
            guests.start(replace(self._cluster.worker(name), stop_within_s=patience))
        )
        await asyncio.sleep(seconds)
        joining.cancel()
        with suppress(asyncio.CancelledError, HeadwaterError):
            await joining
        await guests.stop()

    async def _weather(self, fault: Fault) -> None:
        async with AsyncExitStack() as stack:
            for name in fault.targets:
                link = self._cluster.links[name]
                await stack.enter_async_context(link.weather(_WEATHER[fault.act], fault.only))
            await asyncio.sleep(fault.seconds)

    async def _set_back(self, seconds: float) -> None:
        """Kill Valkey; it comes back with its append-only file of ``seconds`` ago."""
        async with self._one_valkey:
            while self._cluster.pids.get("valkey") is None:
                await asyncio.sleep(_POLL_S)
            await asyncio.to_thread(self._cluster.aof.copy)
            await asyncio.sleep(seconds)
            self._cluster.aof.restore_at_next_start()
            await self._kill("valkey")

    async def _fill_disk(self, name: str, seconds: float) -> None:
        disk = self._cluster.disks[name]
        while (pid := self._cluster.pids.get(name)) is None:
            await asyncio.sleep(_POLL_S)
        await asyncio.to_thread(disk.fill, pid)
        try:
            await asyncio.sleep(seconds)
        finally:
            disk.clear(pid)
