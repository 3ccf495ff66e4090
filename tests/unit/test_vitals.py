"""Who is stuck and who waits: signs of life, and what the log has that is not delivered."""

from __future__ import annotations

import asyncio
import threading

import pytest
from faust.types import TP

from attribution.errors import Transient
from sinks.writer import DEADLINE_SECONDS, WRITE_SECONDS
from streams import patience
from streams.journal_log import READ_SECONDS
from streams.patience import patiently
from streams.producer import SEND_SECONDS
from streams.undelivered import Undelivered
from streams.vitals import CALL_SECONDS, Calling, Finding, Vitals, watched_as
from streams.watchdog import JOIN_FACTOR, STUCK_AFTER_SECONDS, Heart

ONE, TWO = TP("hits", 1), TP("hits", 2)


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Vitals:
    return Vitals("hits 3", clock)


def test_a_call_ends_by_its_own_limits_before_it_counts_as_stuck_and_everything_is_noticed_within_a_minute() -> (
    None
):
    assert max(SEND_SECONDS, READ_SECONDS, WRITE_SECONDS + DEADLINE_SECONDS) < CALL_SECONDS
    look, backstop = STUCK_AFTER_SECONDS * 1.25, STUCK_AFTER_SECONDS * 1.25
    assert max(CALL_SECONDS, look, backstop, STUCK_AFTER_SECONDS * JOIN_FACTOR) <= 55.0


def test_nothing_to_do_is_not_stuck(vitals: Vitals, clock: Clock) -> None:
    clock.now = 1_000.0
    assert vitals.finding().seconds == 0.0
    assert vitals.is_idle
    vitals.does("batch 1-2")
    vitals.does("")
    clock.now = 2_000.0
    assert vitals.finding().seconds == 0.0


def test_work_without_a_sign_of_life_grows_and_each_step_is_one(vitals: Vitals, clock: Clock) -> None:
    """A batch that runs with an empty buffer counts, too."""
    vitals.does("batch 1-2")
    clock.now = 39.0
    assert vitals.finding() == Finding("hits 3", 39.0, "batch 1-2")
    vitals.does("batch 3-4")
    clock.now = 40.0
    assert vitals.finding().seconds == 1.0


async def test_a_call_with_time_left_excuses_and_one_without_does_not(vitals: Vitals, clock: Clock) -> None:
    """A slow ClickHouse is waited for as long as its client waits; a client that forgets its own limit is stuck."""
    watched_as(vitals)
    vitals.does("batch 1-2")
    clock.now = 100.0
    with Calling("clickhouse hits", 90.0):
        clock.now = 190.0
        assert vitals.finding().seconds == 0.0
        clock.now = 190.5
        assert vitals.finding() == Finding("hits 3", 90.5, "batch 1-2: clickhouse hits")
    assert vitals.finding().seconds == 0.0
    clock.now = 195.5
    assert vitals.finding().seconds == 5.0


async def test_one_overdue_call_counts_although_others_have_time(vitals: Vitals, clock: Clock) -> None:
    watched_as(vitals)
    vitals.does("batch 1-2")
    with Calling("hung", 10.0):
        clock.now = 9.0
        with Calling("slow", 10.0):
            clock.now = 11.0
            assert vitals.finding() == Finding("hits 3", 11.0, "batch 1-2: hung")


async def test_the_tasks_that_a_piece_of_work_starts_show_their_signs_in_it(
    vitals: Vitals, clock: Clock
) -> None:
    """Inserts run side by side in tasks and threads of their own."""
    watched_as(vitals)
    vitals.does("batch 1-2")
    begun, end = asyncio.Event(), asyncio.Event()

    async def insert() -> None:
        with Calling("clickhouse", 60.0):
            begun.set()
            await end.wait()

    task = asyncio.create_task(insert())
    await begun.wait()
    clock.now = 50.0
    assert vitals.finding().seconds == 0.0
    end.set()
    await task
    clock.now = 51.0
    assert vitals.finding().seconds == 1.0


async def test_whoever_waits_for_an_absent_store_is_not_stuck(
    vitals: Vitals, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt that is refused is a sign of life, for hours."""
    monkeypatch.setattr(patience, "MAX_PAUSE_SECONDS", 0.0)
    watched_as(vitals)
    vitals.does("batch 1-2")
    worst = 0.0

    async def refused() -> str:
        nonlocal worst
        clock.now += 2.0
        worst = max(worst, vitals.finding().seconds)
        if clock.now < 60.0:
            raise Transient("away")
        return "back"

    assert await patiently(refused, "redis") == "back"
    assert worst == 0.0


async def test_a_connection_that_was_reset_under_uvloop_is_an_absent_store() -> None:
    """It raises a bare RuntimeError; any other one goes through."""
    said = ["unable to perform operation on <TCPTransport closed=True>; the handler is closed", "a bug"]

    async def call() -> None:
        raise RuntimeError(said.pop(0))

    with pytest.raises(RuntimeError, match="a bug"):
        await patiently(call, "redis")
    assert not said


def test_what_the_log_has_and_nobody_delivers_counts_until_it_is_delivered() -> None:
    undelivered = Undelivered()
    undelivered.note({ONE: 7, TWO: 3}, {ONE})
    undelivered.wait(20.0, {ONE: 7, TWO: 3}, is_held_back=False)
    found = undelivered.wait(21.0, {ONE: 7, TWO: 3}, is_held_back=False)
    assert (found.who, found.seconds) == ("hits 1", 41.0)
    assert "record 7" in found.waits_for
    undelivered.note({ONE: 7}, {ONE})
    assert undelivered.wait(1.0, {ONE: 7}, is_held_back=False).seconds == 42.0
    assert undelivered.wait(1.0, {ONE: 8}, is_held_back=False).seconds == 0.0
    assert undelivered.wait(50.0, {ONE: 7}, is_held_back=False).seconds == 0.0


def test_a_partition_that_is_busy_or_whose_log_ends_here_is_not_undelivered() -> None:
    undelivered = Undelivered()
    undelivered.note({ONE: 7}, {ONE})
    assert undelivered.wait(50.0, {}, is_held_back=False).seconds == 0.0
    undelivered.note({ONE: 7}, {ONE})
    undelivered.wait(30.0, {ONE: 7}, is_held_back=False)
    undelivered.note({ONE: 7}, set())
    assert undelivered.wait(50.0, {ONE: 7}, is_held_back=False).seconds == 0.0


def test_time_under_back_pressure_does_not_count_as_undelivered() -> None:
    """One agent feeds all partitions of a topic: where one has no room the others wait, too."""
    undelivered = Undelivered()
    undelivered.note({ONE: 7}, {ONE})
    undelivered.wait(10.0, {ONE: 7}, is_held_back=False)
    assert undelivered.wait(500.0, {ONE: 7}, is_held_back=True).seconds == 10.0
    assert undelivered.wait(1.0, {ONE: 7}, is_held_back=False).seconds == 11.0


def test_a_broker_that_goes_away_clears_what_was_undelivered() -> None:
    undelivered = Undelivered()
    undelivered.note({ONE: 7}, {ONE})
    undelivered.wait(30.0, {ONE: 7}, is_held_back=False)
    undelivered.forget()
    assert undelivered.wait(30.0, {ONE: 7}, is_held_back=False).seconds == 0.0


def test_a_heart_that_is_not_beaten_tells_and_one_that_stopped_does_not() -> None:
    told: list[Finding] = []
    heard = threading.Event()

    def end(finding: Finding) -> None:
        told.append(finding)
        heard.set()

    stopped = Heart(0.05, end, backstop=False)
    stopped.start()
    stopped.stop()
    heart = Heart(0.1, end, backstop=False)
    heart.start()
    assert heard.wait(5)
    assert [finding.who for finding in told] == ["event loop"]
    assert told[0].seconds >= 0.1
