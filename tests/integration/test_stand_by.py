"""A worker that was given nothing: it is ready, and it is there when it is needed."""

from __future__ import annotations

import asyncio

from faust.types import TP

from streams.app import FencedApp, create_app
from streams.kafka_admin import ensure_topics
from streams.membership import is_member
from streams.records import Record


class Member:
    """One member of the group ``test`` and what it was told to own, the last time."""

    def __init__(self, kafka: str, topic: str) -> None:
        self.owned: set[TP] | None = None
        self.app: FencedApp = create_app(kafka, f"group.{topic}", (topic,), self._own, self._deliver)

    async def _own(self, assignment: set[TP]) -> dict[TP, int]:
        self.owned = assignment
        return dict.fromkeys(assignment, 0)

    async def _deliver(self, topic: str, partition: int, record: Record) -> None:
        """Nobody sends."""


async def until_told(members: list[Member], *counts: int) -> None:
    """Wait until each of ``members`` was told what it owns, and these are the numbers of their partitions."""
    async with asyncio.timeout(60):
        while sorted(-1 if member.owned is None else len(member.owned) for member in members) != [*counts]:
            await asyncio.sleep(0.05)


async def test_a_worker_without_partitions_is_told_so_and_takes_over(broker: str, fresh_topic: str) -> None:
    """Else it would never be ready, and `up` with more workers than partitions would wait for it in vain."""
    await ensure_topics(broker, 1, names=[fresh_topic])
    first, second = Member(broker, fresh_topic), Member(broker, fresh_topic)
    await first.app.start()
    await until_told([first], 1)
    await second.app.start()
    await until_told([first, second], 0, 1)
    owner, stand_by = (first, second) if first.owned else (second, first)
    await owner.app.stop()
    await until_told([stand_by], 1)
    await stand_by.app.stop()


async def test_a_stand_by_that_left_the_group_is_told_from_one_that_waits(
    broker: str, fresh_topic: str
) -> None:
    """Faust leaves for good when it had nothing to fetch for long; the watchdog then ends the process."""
    await ensure_topics(broker, 1, names=[fresh_topic])
    owner = Member(broker, fresh_topic)
    assert owner.app.conf.broker_max_poll_interval > 100_000
    await owner.app.start()
    await until_told([owner], 1)
    idle = Member(broker, fresh_topic)
    idle.app.conf.broker_max_poll_interval = 8.0
    await idle.app.start()
    await until_told([owner, idle], 0, 1)
    stand_by, other = (idle, owner) if not idle.owned else (owner, idle)
    assert is_member(idle.app)
    assert is_member(owner.app)
    if stand_by is idle:
        async with asyncio.timeout(40):
            while is_member(idle.app):
                await asyncio.sleep(0.1)
        assert is_member(other.app)
    await idle.app.stop()
    await owner.app.stop()
