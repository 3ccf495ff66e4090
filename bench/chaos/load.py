"""Load while everything is being killed: sends events until each is acknowledged, and remembers what was promised."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from attribution.errors import Transient
from bench.chaos.traffic import Event
from runtime.collector_client import Intake

_SENDERS = 8
_LONGEST_BATCH = 25


@dataclass
class Ledger:
    """What the senders know: every event that ever left, and those whose durability was acknowledged."""

    sent: dict[str, Event] = field(default_factory=dict)
    """By event_id, noted before the first byte leaves."""
    acknowledged: dict[str, float] = field(default_factory=dict)
    """When the first acknowledgement of an event_id came (seconds of the loop's clock)."""
    refused: list[str] = field(default_factory=list)
    """Answers of the collector that no event here deserves."""
    given_up: int = 0
    """Events that were never acknowledged although they were repeated for minutes."""
    copies: int = 0
    """Acknowledged events, each as often as it was acknowledged."""

    def leaves(self, events: list[Event]) -> None:
        """``events`` are about to be sent."""
        for event in events:
            self.sent[event.event_id] = event

    def arrived(self, events: list[Event], at: float) -> None:
        """The collector said that ``events`` are durable."""
        self.copies += len(events)
        for event in events:
            self.acknowledged.setdefault(event.event_id, at)


async def send(intake: Intake, ledger: Ledger, events: list[Event], *, by_pixel: bool) -> bool:
    """Send until acknowledged, under the same ids; False if the collector stayed away too long."""
    ledger.leaves(events)
    clock = asyncio.get_running_loop().time
    try:
        if by_pixel:
            for event in events:
                await intake.pixel(event.fields, event.user_agent)
                ledger.arrived([event], clock())
        else:
            hits = [{**event.fields, "user_agent": event.user_agent} for event in events]
            refusals = await intake.batch(hits)
            ledger.refused.extend(str(refusal) for refusal in refusals if refusal is not None)
            ledger.arrived(
                [e for e, refusal in zip(events, refusals, strict=True) if refusal is None], clock()
            )
    except Transient:
        ledger.given_up += len(events)
        return False
    return True


async def keep_sending(
    intake: Intake, ledger: Ledger, events: Iterator[Event], rate: float, seed: int, stop: asyncio.Event
) -> None:
    """About ``rate`` events a second by pixel and batch until ``stop``; what is on its way then is finished."""

    async def sender(number: int) -> None:
        rng = random.Random(f"{seed}/{number}")
        clock = asyncio.get_running_loop().time
        due = clock()
        while not stop.is_set():
            by_pixel = rng.random() < 0.5
            portion = [next(events) for _ in range(rng.randint(1, 4 if by_pixel else _LONGEST_BATCH))]
            due += len(portion) * _SENDERS / rate
            await send(intake, ledger, portion, by_pixel=by_pixel)
            # After an outage no more than a second's arrears are made good: the rate limit is not the subject.
            due = max(due, clock() - 1.0)
            await asyncio.sleep(max(0.0, due - clock()))

    async with asyncio.TaskGroup() as group:
        for number in range(_SENDERS):
            group.create_task(sender(number))
