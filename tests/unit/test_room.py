"""Room for batches: never more in work than there is room for, first come first served, no loss by a cancel."""

from __future__ import annotations

import asyncio
import random

from streams.room import Room
from streams.vitals import Vitals, watched_as


async def turns(count: int = 5) -> None:
    """Let everybody who can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


class Visit:
    """A batch that stays in the room until it is let go."""

    def __init__(self, room: Room, hits: int) -> None:
        self.is_in = False
        self._go = asyncio.Event()
        self.task = asyncio.create_task(self._stay(room, hits))

    async def _stay(self, room: Room, hits: int) -> None:
        async with room.of(hits):
            self.is_in = True
            await self._go.wait()

    async def leave(self) -> None:
        self._go.set()
        await self.task


async def test_who_comes_first_is_let_in_first() -> None:
    """A small batch behind a large one waits for it: else the large one might wait for ever."""
    room = Room(10)
    first, large, small = Visit(room, 6), Visit(room, 5), Visit(room, 1)
    await turns()
    assert (first.is_in, large.is_in, small.is_in, room.taken) == (True, False, False, 6)
    await first.leave()
    await turns()
    assert (large.is_in, small.is_in, room.taken) == (True, True, 6)
    await large.leave()
    await small.leave()
    assert room.taken == 0


async def test_a_batch_larger_than_the_room_has_it_alone() -> None:
    room = Room(10)
    first, huge, last = Visit(room, 1), Visit(room, 1_000), Visit(room, 1)
    await turns()
    assert not huge.is_in
    await first.leave()
    await turns()
    assert (huge.is_in, last.is_in) == (True, False)
    await huge.leave()
    await turns()
    assert last.is_in
    await last.leave()
    assert room.taken == 0


async def test_who_waits_is_not_stuck_and_who_is_inside_is_watched() -> None:
    now = [0.0]
    room = Room(1)
    inside, waiting = Vitals("inside", lambda: now[0]), Vitals("waiting", lambda: now[0])

    async def work(vitals: Vitals) -> None:
        watched_as(vitals)
        vitals.does("a batch")
        async with room.of(1):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(work(vitals)) for vitals in (inside, waiting)]
    await turns()
    now[0] = 1_000.0
    assert inside.finding().seconds == 1_000.0
    assert waiting.finding().seconds == 0.0
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert room.taken == 0


async def test_any_order_of_coming_going_and_cancelling_keeps_the_bound() -> None:
    """Whoever is cancelled, also in the moment of being let in, takes no room with him and holds nobody up."""
    rng = random.Random(7)
    room = Room(20)
    visits: list[Visit] = []
    cancelled = 0
    for _ in range(3_000):
        action = rng.random()
        if action < 0.4:
            visits.append(Visit(room, rng.randint(1, 15)))
        elif action < 0.7 and (inside := [visit for visit in visits if visit.is_in]):
            visit = rng.choice(inside)
            visits.remove(visit)
            await visit.leave()  # those behind are let in, and have not noticed yet
        elif visits:
            visit = visits.pop(rng.randrange(len(visits)))
            cancelled += not visit.is_in
            visit.task.cancel()
        if rng.random() < 0.5:
            await turns(rng.randint(1, 4))
        assert 0 <= room.taken <= 20
    assert cancelled > 100
    for visit in visits:
        visit.task.cancel()
    await turns()
    assert room.taken == 0
    late = Visit(room, 20)
    await turns()
    assert late.is_in
    await late.leave()
