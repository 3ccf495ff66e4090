"""The pump: contiguous batches, forced borders, back-pressure, and a clean end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from streams import pump as pump_module
from streams.pump import Pump
from streams.records import Batch, Record


class RecordingStage:
    """Keeps what it is given; can be made to wait or to fail."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.started = 0
        self.idled = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.seen = asyncio.Event()

    async def start(self) -> None:
        self.started += 1

    async def process(self, batch: Batch) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.batches.append(batch)
        self.seen.set()

    async def idle(self) -> None:
        self.idled += 1

    @property
    def offsets(self) -> list[int]:
        return [record.offset for batch in self.batches for record in batch.records]


def record(offset: int, size: int = 10) -> Record:
    return Record(offset, 0, b"key", b"x" * size)


def make_pump(
    stage: RecordingStage, *, start: int = 0, ranges: Sequence[tuple[int, int]] = (), max_events: int = 5
) -> Pump:
    return Pump(
        "topic",
        3,
        "broker",
        stage,
        next_offset=start,
        ranges=ranges,
        max_events=max_events,
        wait_seconds=0.01,
    )


async def until(condition: object, deadline: float = 5.0) -> None:
    async with asyncio.timeout(deadline):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.002)


async def test_every_record_is_processed_once_and_in_order() -> None:
    """Batches are contiguous, bounded, and lose nothing."""
    stage = RecordingStage()
    pump = make_pump(stage)
    pump.start()
    for offset in range(23):
        await pump.put(record(offset))
    await until(lambda: len(stage.offsets) == 23)
    await pump.close(1)
    assert list(range(23)) == stage.offsets
    assert max(len(batch.records) for batch in stage.batches) <= 5
    assert stage.started == 1


async def test_records_before_the_start_are_passed_over() -> None:
    """A fetch that was under way before the seek may deliver older records, or the same twice."""
    stage = RecordingStage()
    pump = make_pump(stage, start=7)
    pump.start()
    for offset in (5, 6, 7, 8, 8, 7, 9):
        await pump.put(record(offset))
    await until(lambda: len(stage.offsets) == 3)
    await pump.close(1)
    assert [7, 8, 9] == stage.offsets


async def test_a_pending_range_keeps_its_borders_whatever_arrives() -> None:
    """The first batch ends exactly at the forced border, even above the event limit and with more waiting."""
    stage = RecordingStage()
    pump = make_pump(stage, start=10, ranges=[(10, 18)])
    pump.start()
    for offset in range(10, 17):
        await pump.put(record(offset))
    await asyncio.sleep(0)
    assert stage.batches == []
    for offset in range(17, 25):
        await pump.put(record(offset))
    await until(lambda: len(stage.offsets) == 15)
    await pump.close(1)
    assert list(range(10, 19)) == [r.offset for r in stage.batches[0].records]
    assert (10, 18) == (stage.batches[0].first, stage.batches[0].last)


async def test_given_ranges_follow_each_other_and_nothing_before_one_is_mixed_into_it() -> None:
    """Several ranges of earlier owners, as after a store was set back, with records between that were never claimed."""
    stage = RecordingStage()
    pump = make_pump(stage, ranges=[(3, 9), (10, 10), (14, 16)])
    pump.start()
    for offset in range(20):
        await pump.put(record(offset))
    await until(lambda: len(stage.offsets) == 20)
    await pump.close(1)
    borders = [(batch.first, batch.last) for batch in stage.batches]
    assert borders == [(0, 2), (3, 9), (10, 10), (11, 13), (14, 16), (17, 19)]
    assert stage.offsets == list(range(20))


async def test_a_range_whose_records_are_gone_is_not_waited_for() -> None:
    """The stage is given what is there, and can tell."""
    stage = RecordingStage()
    pump = make_pump(stage, ranges=[(0, 4)])
    pump.start()
    for offset in range(8, 11):
        await pump.put(record(offset))
    await until(lambda: bool(stage.batches))
    await pump.close(1)
    assert stage.batches[0].first == 8


async def test_put_waits_while_the_buffer_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-pressure reaches the Faust agent, so Kafka keeps the rest."""
    monkeypatch.setattr(pump_module, "MAX_BUFFERED_BYTES", 1_000)
    stage = RecordingStage()
    stage.gate.clear()
    pump = make_pump(stage, max_events=1)
    pump.start()

    async def feed() -> None:
        for offset in range(50):
            await pump.put(record(offset, size=100))

    feeding = asyncio.create_task(feed())
    await until(lambda: pump.next_offset > 10)
    assert not feeding.done()
    stage.gate.set()
    await asyncio.wait_for(feeding, 5)
    await until(lambda: len(stage.offsets) == 50)
    await pump.close(1)


async def test_a_failing_stage_ends_the_pump_with_its_error() -> None:
    """The worker must hear of it: nothing after the failed batch is processed."""
    stage = RecordingStage()
    stage.error = ValueError("broken")
    pump = make_pump(stage)
    task = pump.start()
    await pump.put(record(0))
    with pytest.raises(ValueError, match="broken"):
        await asyncio.wait_for(task, 5)


async def test_close_lets_the_running_batch_end_and_starts_no_other() -> None:
    """A revoked partition: the batch in hand is finished, the rest is the next owner's."""
    stage = RecordingStage()
    stage.gate.clear()
    pump = make_pump(stage, max_events=2)
    pump.start()
    for offset in range(6):
        await pump.put(record(offset))
    closing = asyncio.create_task(pump.close(5))
    await asyncio.sleep(0.02)
    stage.gate.set()
    await asyncio.wait_for(closing, 5)
    assert [0, 1] == stage.offsets


async def test_a_batch_that_does_not_end_is_reported_whether_records_wait_or_not() -> None:
    """The watch sees a partition that is stuck, and what it waits for; an idle one is not."""
    stage = RecordingStage()
    pump = make_pump(stage, max_events=1)
    pump.start()
    await until(lambda: pump.wants_records)
    await asyncio.sleep(0.02)
    assert pump.vitals.finding().seconds == 0.0
    stage.gate.clear()
    await pump.put(record(0))
    assert not pump.wants_records
    await until(lambda: pump.vitals.finding().seconds > 0.01)
    assert pump.vitals.finding().waits_for == "batch 0-0"
    await pump.put(record(1))
    await until(lambda: pump.vitals.finding().seconds > 0.05)
    stage.gate.set()
    await until(lambda: len(stage.offsets) == 2)
    await until(lambda: pump.wants_records)
    assert pump.vitals.finding().seconds == 0.0
    await pump.close(1)
    assert not pump.wants_records


async def test_a_pump_that_does_not_begin_with_what_arrived_is_reported() -> None:
    """Its task was never started, or does not wake up."""
    pump = make_pump(RecordingStage())
    await pump.put(record(0))
    await until(lambda: pump.vitals.finding().seconds > 0.01)
    assert pump.vitals.finding().waits_for == "records that wait"


async def test_the_rest_of_a_given_range_is_the_logs_to_give() -> None:
    """With half of a claimed range the pump is not stuck: it wants the next record, and the log may not have it yet."""
    pump = make_pump(RecordingStage(), ranges=[(0, 3)])
    pump.start()
    await pump.put(record(0))
    await until(lambda: pump.wants_records)
    assert pump.next_offset == 1
    await pump.put(record(1))
    await asyncio.sleep(0.02)
    assert pump.vitals.finding().seconds == 0.0
    await pump.close(1)


async def test_a_stage_gets_its_idle_turn_under_steady_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that never stop coming do not keep the stage from what it does in between."""
    monkeypatch.setattr(pump_module, "IDLE_AT_LEAST_EVERY_S", 0.02)
    stage = RecordingStage()
    pump = make_pump(stage)
    pump.start()
    async with asyncio.timeout(5):
        offset = 0
        while stage.idled < 2:
            await pump.put(record(offset))
            offset += 1
            await asyncio.sleep(0.002)
    await pump.close(1)
    assert stage.offsets == list(range(len(stage.offsets)))
