"""Facts 1, 2, 3 and 5: what Faust commits, and what that loses."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.facts.group import Group, reached

RECORDS = 40
_HANDLED_SECONDS = 60.0
_IDLE_SECONDS = 5.0
"""Long enough for ten commit intervals."""
_STAND_BY_SECONDS = 30.0
_TAKE_OVER_SECONDS = 40.0


class Fact(NamedTuple):
    """One line of the table."""

    number: int
    what: str
    seen: str
    is_as_stated: bool
    """True if it is what docs/delivery.md says."""


async def agent_raises(kafka: str, folder: Path) -> Fact:
    """Fact 1: an exception marks the event as done."""
    async with Group.open(kafka, folder) as group:
        await group.produce(0, RECORDS)
        worker = group.start("raises")
        await reached(lambda: len(group.handled()) == RECORDS - 1, _HANDLED_SECONDS)
        await asyncio.sleep(_IDLE_SECONDS)
        await group.end(worker, signal.SIGTERM)
        committed = await group.committed()
        missing = await _missing_after_restart(group)
    return Fact(
        1, "agent raises at record 5", _said(committed, missing), (committed, missing) == (RECORDS, [5])
    )


async def agent_crashes(kafka: str, folder: Path) -> Fact:
    """Fact 1, second half: with ``CrashingSupervisor`` the worker stops, and has committed the record all the same."""
    async with Group.open(kafka, folder) as group:
        await group.produce(0, RECORDS)
        worker = group.start("raises, crashing supervisor")
        code = await asyncio.to_thread(worker.wait, _HANDLED_SECONDS)
        committed = await group.committed()
        missing = await _missing_after_restart(group)
    seen = f"exit code {code}, {_said(committed, missing)}"
    return Fact(1, "the same with CrashingSupervisor", seen, (code, committed, missing) == (1, 6, [5]))


async def take_raises(kafka: str, folder: Path) -> Fact:
    """Fact 2: ``take`` acknowledges in a ``finally``."""
    async with Group.open(kafka, folder) as group:
        await group.produce(0, RECORDS)
        worker = group.start("take, raises")
        await reached(lambda: len(group.handled()) == RECORDS - 10, _HANDLED_SECONDS)
        await asyncio.sleep(_IDLE_SECONDS)
        await group.end(worker, signal.SIGTERM)
        committed = await group.committed()
        missing = await _missing_after_restart(group)
    is_so = (committed, missing) == (RECORDS, list(range(10)))
    return Fact(2, "take(10), the first batch raises", _said(committed, missing), is_so)


async def take_is_stopped(kafka: str, folder: Path) -> Fact:
    """Fact 2: SIGTERM in the middle of a batch."""
    async with Group.open(kafka, folder) as group:
        await group.produce(0, RECORDS)
        worker = group.start("take, slow")
        await reached(group.begun.exists, _HANDLED_SECONDS)
        await group.end(worker, signal.SIGTERM)
        committed = await group.committed()
        missing = await _missing_after_restart(group)
    is_so = (committed, missing) == (10, list(range(10)))
    return Fact(2, "take(10), SIGTERM in the first batch", _said(committed, missing), is_so)


async def take_is_killed(kafka: str, folder: Path) -> Fact:
    """Fact 2: only SIGKILL is safe."""
    async with Group.open(kafka, folder) as group:
        await group.produce(0, RECORDS)
        worker = group.start("take, slow")
        await reached(group.begun.exists, _HANDLED_SECONDS)
        await asyncio.sleep(_IDLE_SECONDS)
        await group.end(worker, signal.SIGKILL)
        committed = await group.committed()
        missing = await _missing_after_restart(group)
    return Fact(
        2,
        "take(10), SIGKILL in the first batch",
        _said(committed, missing),
        (committed, missing) == (None, []),
    )


async def own_acks_raise(kafka: str, folder: Path) -> Fact:
    """Fact 3: later acknowledgements carry the commit past a batch that never had one."""
    async with Group.open(kafka, folder) as group:
        await group.produce(0, RECORDS)
        worker = group.start("noack_take, raises")
        await reached(lambda: len(group.handled()) == RECORDS - 10, _HANDLED_SECONDS)
        await asyncio.sleep(_IDLE_SECONDS)
        committed = await group.committed()
        await group.end(worker, signal.SIGKILL)  # SIGTERM may wait for the acknowledgements that never come
        missing = await _missing_after_restart(group)
    is_so = (committed, missing) == (RECORDS, list(range(10)))
    return Fact(
        3, "noack_take(10) on a fresh partition, the first batch raises", _said(committed, missing), is_so
    )


async def stand_by_idles(kafka: str, folder: Path, max_poll_seconds: float) -> Fact:
    """Fact 5: a worker without partitions leaves the group after ``broker_max_poll_interval`` and stays away."""
    async with Group.open(kafka, folder) as group:
        workers = [group.start("stand-by", max_poll_seconds) for _ in range(2)]

        async def both_are_members() -> bool:
            return await group.members() == 2

        await reached(both_are_members, _HANDLED_SECONDS)
        await group.produce(0, 5)
        await reached(lambda: len(group.handled()) == 5, _HANDLED_SECONDS)
        owner = group.last_handler()
        (stand_by,) = (worker for worker in workers if worker is not owner)
        await asyncio.sleep(_STAND_BY_SECONDS)
        members = await group.members()
        await group.end(owner, signal.SIGKILL)
        await group.produce(5, 5)
        took_over = await reached(lambda: len(group.handled()) == 10, _TAKE_OVER_SECONDS)
        is_alive = stand_by.poll() is None
    seen = (
        f"{members} of 2 members after {_STAND_BY_SECONDS:g} s idle; owner killed: stand-by "
        f"{'alive' if is_alive else 'dead'}, {'took over' if took_over else 'consumed nothing in 40 s'}"
    )
    is_long = max_poll_seconds > 1_000
    return Fact(5, f"stand-by, broker_max_poll_interval={max_poll_seconds:g} s", seen, took_over == is_long)


async def _missing_after_restart(group: Group) -> list[int]:
    """The records that no agent ever finished, once a worker without faults has gone on from the commit."""
    group.start("stand-by")
    await reached(lambda: len(set(group.handled())) == RECORDS, 20.0)
    return sorted(set(range(RECORDS)) - set(group.handled()))


def _said(committed: int | None, missing: Sequence[int]) -> str:
    lost = f"{len(missing)} never handled ({missing[0]}..{missing[-1]})" if missing else "none lost"
    return f"committed {committed}, after a restart {lost}"
