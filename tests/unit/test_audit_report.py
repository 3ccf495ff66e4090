"""What the doctor makes of the self-audit's state: an old audit is an alarm, and so is a difference."""

from __future__ import annotations

import pytest

from runtime.audit_report import Line, audit_lines
from streams.audit_state import CHECKS, AuditState, Difference, Finding, Round

NOW = 1_800_000_000.0


def lines(state: AuditState | None, seconds: float = 60.0) -> dict[str, Line]:
    return {line.name: line for line in audit_lines(state, NOW, seconds)}


def passed(age: float, **fields: object) -> AuditState:
    state = AuditState(since=NOW - 9_999, next_at=NOW, succeeded_at=NOW - age, seconds=0.4)
    for name, value in fields.items():
        setattr(state, name, value)
    return state


def test_a_fresh_audit_without_differences_is_well() -> None:
    """Age, coverage and one line for each check."""
    said = lines(passed(12, rounds={"hours": Round(covered_from=NOW - 30), "models": Round()}))
    assert all(line.is_well for line in said.values())
    assert "last pass 12 s ago, took 0.4 s" in said["audit"].detail
    assert "hours 2027-01-15 07:59:30 UTC, models not yet" in said["audit coverage"].detail
    assert {f"audit {check}" for check in CHECKS} <= said.keys()


@pytest.mark.parametrize(
    ("state", "seconds", "is_well"),
    [
        (None, 60.0, True),
        (passed(899), 60.0, True),
        (passed(901), 60.0, False),
        (passed(901), 600.0, True),
        (passed(6_001), 600.0, False),
        (passed(3_600, seconds=61.0), 60.0, True),
        (AuditState(since=NOW - 20, next_at=NOW + 40), 60.0, True),
        (AuditState(since=NOW - 901, next_at=NOW), 60.0, False),
    ],
    ids=["none", "young", "old", "rare", "too rare", "slow", "just begun", "never"],
)
def test_an_audit_that_has_not_run_for_long_is_an_alarm(
    state: AuditState | None, seconds: float, is_well: bool
) -> None:
    """Long is fifteen minutes, or ten times its period, or three times what it must pause after a long pass."""
    assert lines(state, seconds)["audit"].is_well is is_well


def test_only_confirmed_differences_are_alarms() -> None:
    """With their figures, and since when."""
    books = Finding(Difference("books", ":", "c1 linear", "credited 1 of 2 USD"), NOW - 100, 3, is_alarm=True)
    signs = Finding(Difference("signs_sessions", "0-1", "s1", "stands 2 times"), NOW - 1, 3)
    said = lines(passed(1, findings=[books, signs]))
    assert [name for name, line in said.items() if not line.is_well] == ["audit books"]
    assert said["audit books"].examples == ("c1 linear: credited 1 of 2 USD (since 2027-01-15 07:58:20 UTC)",)


def test_why_the_last_attempt_failed_is_said() -> None:
    assert (
        "hours: ClickHouse is away" in lines(passed(30, failure="hours: ClickHouse is away"))["audit"].detail
    )
