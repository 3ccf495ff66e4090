"""When a difference becomes an alarm: seen again, at rest or with the same gap all along; when it is none any more."""

from __future__ import annotations

import msgspec
import pytest

from streams.audit_state import (
    CHECKS,
    CONFIRM_AFTER_SECONDS,
    HOT_PASSES,
    MOST_FINDINGS,
    NOT_A_SNAPSHOT,
    AuditState,
    Difference,
)

SLICE = "0-1"


def state() -> AuditState:
    return AuditState(since=0.0, next_at=0.0)


def read(
    state: AuditState, number: int, *seen: Difference, slice_: str = SLICE, seconds: float = 60.0
) -> int:
    """Pass ``number`` reads a slice; how many alarms that raised."""
    state.attempts = number
    alarmed, _ = state.record(number, number * seconds, tuple(CHECKS), slice_, seen)
    return len(alarmed)


def cell(kept: int, recounted: int, check: str = "roll_up_traffic") -> Difference:
    return Difference(check, SLICE, "cell", f"{kept} for {recounted}", f"{kept - recounted:+}")


@pytest.mark.parametrize("check", sorted(CHECKS.keys() - CONFIRM_AFTER_SECONDS.keys()))
def test_what_is_read_at_one_moment_is_an_alarm_when_seen_twice(check: str) -> None:
    """Whatever the figures do meanwhile: nothing being written can make them differ."""
    known = state()
    assert read(known, 1, cell(1, 2, check)) == 0
    assert read(known, 2, cell(5, 9, check)) == 1
    assert read(known, 3, cell(5, 9, check)) == 0
    assert known.differences() == {**dict.fromkeys(CHECKS, 0), check: 1}


@pytest.mark.parametrize("check", sorted(NOT_A_SNAPSHOT))
def test_figures_that_rest_and_differ_are_an_alarm(check: str) -> None:
    """Nothing was written between the passes, so nothing can be on its way."""
    known = state()
    assert read(known, 1, cell(1, 2, check)) == 0
    assert read(known, 2, cell(1, 2, check)) == 1


def test_figures_that_move_are_no_alarm_unless_the_gap_stays() -> None:
    """A cell that is written all the time: rows on their way make another gap at each reading, a lost row the same."""
    known = state()
    for number in range(1, 30):
        assert read(known, number, cell(number, number + number % 3 + 1)) == 0
    assert [read(known, 30 + n, cell(100 + n, 107 + n)) for n in range(HOT_PASSES)] == [0] * (
        HOT_PASSES - 1
    ) + [1]


def test_a_half_written_batch_has_time_to_be_finished() -> None:
    """Passes may be close together, and a dead worker's successor needs some seconds."""
    known = state()
    alarmed = [read(known, number, cell(1, 2), seconds=5.0) for number in range(1, 12)]
    assert alarmed.index(1) * 5.0 == CONFIRM_AFTER_SECONDS["roll_up_traffic"]


def test_one_reading_without_the_difference_clears_it() -> None:
    """An alarm is taken back and counted as one that was."""
    known = state()
    read(known, 1, cell(1, 2, "books"))
    read(known, 2, cell(1, 2, "books"))
    alarmed, gone = known.record(3, 180.0, ("books",), SLICE, ())
    assert (alarmed, [finding.difference.check for finding in gone]) == ([], ["books"])
    assert (known.findings, known.alarms) == ([], 1)


def test_reading_something_else_clears_nothing() -> None:
    """Another slice, another check, or the same slice earlier in the same pass."""
    known = state()
    read(known, 1, cell(1, 2))
    read(known, 2, slice_="1-2")
    known.record(2, 120.0, ("books",), SLICE, ())
    assert len(known.findings) == 1
    read(known, 2, cell(1, 2))
    read(known, 2)
    assert len(known.findings) == 1


def test_the_same_pass_does_not_count_twice() -> None:
    """The recent slice and the round's slice may overlap."""
    known = state()
    assert read(known, 1, cell(1, 2, "books")) == 0
    assert read(known, 1, cell(1, 2, "books"), slice_="0-9") == 0


def test_a_flood_of_differences_is_cut() -> None:
    """A table that is gone must not fill Redis."""
    known = state()
    flood = [Difference("signs_sessions", SLICE, f"session {n}", "stands 2 times") for n in range(500)]
    read(known, 1, *flood)
    read(known, 2, *flood)
    assert known.differences()["signs_sessions"] == MOST_FINDINGS


def test_the_state_survives_its_way_through_redis() -> None:
    known = state()
    read(known, 1, cell(1, 2))
    assert msgspec.json.decode(msgspec.json.encode(known), type=AuditState) == known
