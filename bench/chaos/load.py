"""Load while everything is being killed: sends events until each is acknowledged, and notes what was promised."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from attribution.errors import Transient
from bench.chaos.journal import Journal
from bench.chaos.traffic import Event
from runtime.collector_client import PATIENCE_S, Intake, open_intake

SENDERS = 8
PATIENCE_WITH_ONE_S = 1.5
"""How long a sender repeats a request to one collector before it turns to another one."""
GIVE_UP_AFTER_S = 240.0


class Senders:
    """Sends through whichever collector answers: each sender has its own, and turns to the next if that is away."""

    def __init__(self, intakes: Sequence[Intake], journal: Journal) -> None:
        self._intakes = intakes
        self._journal = journal
        self.fail_overs = 0
        """How often a sender has turned to another collector."""

    @property
    def retries(self) -> int:
        """Requests that had to be repeated: each event in them may have arrived twice."""
        return sum(intake.retries for intake in self._intakes) + self.fail_overs

    async def send(self, events: list[Event], *, by_pixel: bool, first: int = 0) -> bool:
        """Send until acknowledged, under the same ids; False if every collector stayed away too long."""
        self._journal.leaves(events)
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + GIVE_UP_AFTER_S
        rest = list(events)
        turn = first
        while rest:
            intake = self._intakes[turn % len(self._intakes)]
            try:
                await self._try(intake, rest, by_pixel=by_pixel)
            except Transient:
                if clock() > give_up_at or len(self._intakes) == 1:
                    self._journal.given_up += len(rest)
                    return False
                self.fail_overs += 1
                turn += 1
        return True

    async def _try(self, intake: Intake, rest: list[Event], *, by_pixel: bool) -> None:
        """Send ``rest``, taking out of it what is acknowledged or refused. Raises ``Transient``."""
        if by_pixel:
            while rest:
                await intake.pixel(rest[0].fields, rest[0].user_agent)
                self._journal.arrived([rest.pop(0)])
            return
        refusals = await intake.batch([{**event.fields, "user_agent": event.user_agent} for event in rest])
        self._journal.refused.extend(str(refusal) for refusal in refusals if refusal is not None)
        self._journal.arrived([e for e, refusal in zip(rest, refusals, strict=True) if refusal is None])
        rest.clear()

    async def keep_sending(
        self, events: Iterator[Event], rate: float, seed: int, stop: asyncio.Event, longest_batch: int = 25
    ) -> None:
        """About ``rate`` events a second by pixel and batch until ``stop``; what is on its way then is finished."""

        async def sender(number: int) -> None:
            rng = random.Random(f"{seed}/{number}")
            clock = asyncio.get_running_loop().time
            due = clock()
            while not stop.is_set():
                by_pixel = rng.random() < 0.5
                portion = [next(events) for _ in range(rng.randint(1, 4 if by_pixel else longest_batch))]
                due += len(portion) * SENDERS / rate
                await self.send(portion, by_pixel=by_pixel, first=number)
                # After an outage no more than ten seconds' arrears are made good, or the load would come in floods.
                due = max(due, clock() - 10.0)
                await asyncio.sleep(max(0.0, due - clock()))

        async with asyncio.TaskGroup() as group:
            for number in range(SENDERS):
                group.create_task(sender(number))


@asynccontextmanager
async def open_senders(collectors: Sequence[str], site_key: str, journal: Journal) -> AsyncIterator[Senders]:
    """Senders to the collectors at these URLs."""
    patience = PATIENCE_S if len(collectors) == 1 else PATIENCE_WITH_ONE_S
    async with AsyncExitStack() as stack:
        intakes = [
            await stack.enter_async_context(open_intake(url, site_key, patience=patience))
            for url in collectors
        ]
        yield Senders(intakes, journal)
