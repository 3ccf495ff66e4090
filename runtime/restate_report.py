"""What ``headwater restate`` shows: how far it is, at the end what has changed. Plain lines where nobody watches."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType

from clickhouse_connect.driver.client import Client
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sinks.checks import check_books
from sinks.restate import FOREVER_MS, Moved, RestateReader, Span
from streams.restatement import Restatement

LINE_EVERY_SECONDS = 5.0
SHOWN = 12
"""Rows of the table of what moved."""
_UNIT = {"hits": "hits judged once more", "conversions": "conversions credited again"}


class Board:
    """Progress of a job. ``entries`` is shown beside it. Use as a context manager."""

    def __init__(self, console: Console, totals: dict[str, int]) -> None:
        """``totals``: by phase, as counted when the job was begun or taken up; more may have arrived since."""
        self.entries = 0
        self._console = console
        self._totals = totals
        self._began = time.monotonic()
        self._phase = ""
        self._from = 0
        self._phase_began = self._said = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("waiting for the workers", total=None, rate="")

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._began

    def __enter__(self) -> Board:
        self._bar.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def move(self, job: Restatement, done: int) -> None:
        """A parcel was answered: ``done`` of this phase are."""
        now = time.monotonic()
        if job.phase != self._phase:
            self._phase, self._from, self._phase_began, self._said = job.phase, done, now, now
        total = max(self._totals.get(job.phase, 0), done)
        seconds = now - self._phase_began
        rate = (done - self._from) / seconds if seconds > 0 else 0.0
        said = f"{rate:,.0f}/s, {self.entries:,} entries"
        self._bar.update(self._task, description=_UNIT[job.phase], completed=done, total=total, rate=said)
        if not self._console.is_terminal and (now - self._said >= LINE_EVERY_SECONDS or done == total):
            self._said = now
            left = f", {(total - done) / rate:,.0f} s left" if rate else ""
            _say(self._console, f"{done:,} of {total:,} {_UNIT[job.phase]}, {said}{left}")


def print_jobs(jobs: Sequence[Restatement], console: Console) -> None:
    """All restatements that are known, the newest first."""
    table = Table(box=SIMPLE_HEAD)
    for name in ("restatement", "began", "of", "policy", "hits", "conversions", "state"):
        table.add_column(name)
    for job in jobs:
        table.add_row(
            job.restatement_id,
            _instant(job.recorded_at),
            span_in_words(job.span),
            job.policy,
            f"{job.hits:,}" if job.resends_hits else "-",
            f"{job.conversions:,}",
            job.phase if job.is_over else f"{job.phase}: not ended",
        )
    console.print(table)


def print_summary(
    job: Restatement,
    reader: RestateReader,
    client: Client,
    database: str,
    seconds: float,
    console: Console,
) -> bool:
    """What one restatement has changed, from the ledger itself; False when the books do not balance."""
    moved = reader.moved(job.policy, job.recorded_at)
    changed = reader.changed(job.policy, job.recorded_at)
    print_moved(moved, console)
    _say(
        console,
        f"{job.conversions:,} conversions looked at ({span_in_words(job.span)}), {changed:,} credited otherwise, "
        f"{sum(one.entries for one in moved):,} entries with cause policy; {seconds:.1f} s.",
    )
    books = check_books(client, database)
    _say(console, f"Books: {'balanced' if books.passed else 'NOT balanced, see `headwater doctor`'}.")
    return books.passed


def print_moved(moved: Sequence[Moved], console: Console) -> None:
    """Money and conversions by model and channel, what moved most first."""
    net: dict[tuple[str, str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0), Decimal(0)])
    for one in moved:
        cell = net[one.model, one.channel, one.currency]
        cell[0] += one.amount
        cell[1] += one.weight
    ordered = sorted(net.items(), key=lambda item: (-abs(item[1][0]), -abs(item[1][1]), item[0]))
    shown = [item for item in ordered if any(item[1])]
    if not shown:
        _say(console, "No channel has gained or lost anything.")
        return
    table = Table(box=SIMPLE_HEAD)
    for name in ("model", "channel", "conversions", "revenue", ""):
        table.add_column(name, justify="right" if name in ("conversions", "revenue") else "left")
    for (model, channel, currency), (amount, weight) in shown[:SHOWN]:
        table.add_row(model, channel, f"{weight:+,.2f}", f"{amount:+,.2f}", currency)
    console.print(table)
    if len(shown) > SHOWN:
        _say(console, f"and {len(shown) - SHOWN} more that moved less.")


def span_in_words(span: Span) -> str:
    """Such as ``2026-05-01 to 2026-05-31, site s``; until is excluded, so the last day is the one before."""
    parts = []
    if span.since or span.until != FOREVER_MS:
        first = _day(span.since) if span.since else "the beginning"
        last = _day(span.until - 1) if span.until != FOREVER_MS else "now"
        parts.append(f"{first} to {last}")
    if span.site:
        parts.append(f"site {span.site}")
    return ", ".join(parts) or "everything"


def _day(instant: int) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).date().isoformat()


def _instant(instant: int) -> str:
    return datetime.fromtimestamp(instant / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
