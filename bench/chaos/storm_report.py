"""What a storm was and what is wrong after it, as a table that a person reads."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.chaos.books import BooksReader
from bench.chaos.journal import Journal
from bench.chaos.log_audit import LogAudit
from bench.chaos.replay import Replayed
from bench.chaos.stand_by import Taken
from bench.chaos.traffic import Traffic
from bench.chaos.verdict import Verdict, seen_outside

if TYPE_CHECKING:
    from bench.chaos.acts import Striker


@dataclass
class StormReport:
    """Filled while the run goes on."""

    seed: int
    kafka: str
    striker: Striker | None = None
    recoveries: list[float] = field(default_factory=list)
    """Seconds from the end of each wave until purchases of every partition, sent then, were credited."""
    standing_by: Taken | None = None
    verdict: Verdict = field(default_factory=Verdict)
    audit: LogAudit | None = None
    replayed: Replayed | None = None
    polls: int = 0
    polls_away: int = 0
    unbalanced: list[str] = field(default_factory=list)
    copies: int = 0
    refused: list[str] = field(default_factory=list)
    given_up: int = 0
    clock_jumps: int = 0
    retries: int = 0
    fail_overs: int = 0
    disks: set[str] = field(default_factory=set)
    ready_in: float = 0.0
    load_seconds: float = 0.0
    settled_in: float = 0.0
    judged_in: float = 0.0
    replayed_in: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    """What went wrong outside the tables: a part that did not come back, effects that never came."""

    def saw(self, books: BooksReader) -> None:
        """Take in what the reader of the books saw."""
        self.polls, self.polls_away, self.unbalanced = books.polls, books.away, books.unbalanced
        if books.failure:
            self.failures.append(f"the reader of the books gave up: {books.failure}")

    def heard(self, journal: Journal, traffic: Traffic) -> None:
        """Take in what the senders know."""
        self.copies, self.refused, self.given_up = journal.copies, journal.refused, journal.given_up
        self.clock_jumps = traffic.clock_jumps

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong; empty = the promises were kept."""
        said = [
            *self.failures,
            *seen_outside(self.unbalanced, self.refused, self.given_up),
            *self.verdict.faults,
        ]
        if self.audit is not None:
            said += self.audit.faults
        if self.replayed is not None:
            said += self.replayed.faults
        return said


def tell(report: StormReport) -> str:
    """The table."""
    rows = [*_faults(report), *_load(report), *_verdict(report), *_audit(report), *_replay(report)]
    rows.append(("whole run", f"{report.seconds:.0f} s (ready after {report.ready_in:.0f} s)"))
    head = f"Seed {report.seed}, {report.kafka} broker"
    lines = [head, *(f"  {name:<34} {value}" for name, value in rows)]
    return "\n".join([*lines, *(f"WRONG: {fault}" for fault in report.faults)])


def _faults(report: StormReport) -> list[tuple[str, str]]:
    striker = report.striker
    if striker is None:
        return []
    rows = [("faults", str(sum(striker.done.values())))]
    rows += [(f"  {act}", str(count)) for act, count in striker.done.most_common()]
    kills = ", ".join(f"{name} {count}" for name, count in sorted(striker.kills.items()))
    rows.append(("SIGKILLs", f"{sum(striker.kills.values())}: {kills}"))
    rows += [(f"  {reason}", str(count)) for reason, count in striker.missed.items()]
    rows.append(("visitors' clocks jumped", f"{report.clock_jumps} times, by hours and days"))
    rows.append(("full disks by", " and ".join(sorted(report.disks))))
    if report.recoveries:
        spread = f"median {statistics.median(report.recoveries):.1f} s, max {max(report.recoveries):.1f} s"
        rows.append(("works again after a wave", f"{spread} of {len(report.recoveries)}"))
    if taken := report.standing_by:
        rows.append(
            ("stand-by took over", f"in {taken.took_over_in:.1f} s after {taken.idle_s:.0f} s without work")
        )
    return rows


def _load(report: StormReport) -> list[tuple[str, str]]:
    verdict = report.verdict
    rate = report.copies / report.load_seconds if report.load_seconds else 0.0
    return [
        (
            "load",
            f"{verdict.sent} events in {report.load_seconds:.0f} s, {rate:.0f}/s;"
            f" {report.retries} requests repeated, {report.fail_overs} fail-overs",
        ),
        (
            "acknowledged",
            f"{verdict.acknowledged} events ({report.copies} times; {verdict.robots} of robots,"
            f" {verdict.flawed} flawed)",
        ),
        ("settled", f"{report.settled_in:.1f} s after the load ended"),
    ]


def _verdict(report: StormReport) -> list[tuple[str, str]]:
    verdict = report.verdict
    passed = sum(check.passed for check in verdict.checks)
    return [
        ("stored", f"{verdict.stored} hits"),
        ("missing", str(len(verdict.missing))),
        ("duplicated", str(len(verdict.duplicated))),
        ("invented or changed", str(len(verdict.invented))),
        *(
            (f"{table} unlike oracle", f"{len(found)} of {verdict.compared[table]}")
            for table, found in verdict.differences.items()
        ),
        ("checks of the tables", f"{passed} of {len(verdict.checks)} passed"),
        (
            "books seen unbalanced",
            f"{len(report.unbalanced)} in {report.polls} scans ({report.polls_away} unanswered)",
        ),
    ]


def _audit(report: StormReport) -> list[tuple[str, str]]:
    if (audit := report.audit) is None:
        return []
    reasons = ", ".join(f"{reason} {count}" for reason, count in audit.by_reason.most_common())
    return [
        (
            "log",
            f"{audit.parts} inputs in {audit.records} records = hits + {audit.dropped} drops + dead letters",
        ),
        ("dead letters", f"{sum(audit.by_reason.values())} for {audit.dead} bad inputs: {reasons}"),
        ("judged in", f"{report.judged_in:.0f} s"),
    ]


def _replay(report: StormReport) -> list[tuple[str, str]]:
    if (replayed := report.replayed) is None:
        return []
    rows = [("replay into empty stores", f"{report.replayed_in:.0f} s")]
    rows += [
        (f"  {table} unlike the first time", f"{len(found)} of {replayed.compared[table]}")
        for table, found in replayed.differences.items()
    ]
    rows.append(("  last entries dated alike", f"{100 * replayed.same_last_entry:.1f} % of conversions"))
    return rows
