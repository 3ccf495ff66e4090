"""Kill every part of a running system under load, again and again, then count: nothing lost, nothing twice.

    python -m bench.kills [--kills 32] [--seed N] [--seconds 0] [--rate 150] [--workers 2] [--data-dir DIR]

Starts ``headwater up`` on a folder of its own, sends events of many visitors, and gives ``kill -9`` to collector,
workers, Valkey, ClickHouse engine and broker: each in turn, then at random, some in the middle of another's
recovery. When everything is quiet again, every acknowledged event must be in ``hits`` exactly once, the roll-up must
equal a recount, and sessions, touchpoints, conversions and credits must equal the oracle's. A reader scans the books
every 200 ms all along. Exit code 0 if all of it holds, 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from clickhouse_connect.driver.client import Client

from attribution.errors import HeadwaterError
from attribution.policy import AttributionPolicy
from bench.chaos.books import BooksReader
from bench.chaos.faults import PARTS, Blow, Striker, plan_blows
from bench.chaos.journal import Journal
from bench.chaos.load import Senders, open_senders
from bench.chaos.recovered import seconds_until_credited
from bench.chaos.system import System
from bench.chaos.traffic import Traffic
from bench.chaos.verdict import Verdict, judge, seen_outside
from runtime.settings import Settings
from sinks.client import connect

DATABASE = "headwater"
PARTITIONS = 4
WARM_UP_S = 3.0
RECOVER_WITHIN_S = 120.0
SETTLE_WITHIN_S = 180.0


@dataclass(frozen=True)
class KillsOptions:
    """What a run is told. ``seconds`` is the shortest time of load; 0 = as long as the kills take."""

    data_dir: Path
    kills: int = 32
    seed: int = 1
    seconds: float = 0.0
    rate: float = 150.0
    """Events a second."""
    workers: int = 2
    is_short: bool = False


@dataclass
class Report:
    """What happened, and what is wrong."""

    seed: int
    kills: dict[str, int] = field(default_factory=dict)
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds, by blow: from the (last) kill until four purchases sent after it, one for each partition, are
    credited."""
    copies: int = 0
    """Acknowledged events, each as often as it was acknowledged."""
    refused: list[str] = field(default_factory=list)
    given_up: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    polls: int = 0
    polls_away: int = 0
    unbalanced: list[str] = field(default_factory=list)
    retries: int = 0
    seconds: float = 0.0
    settled_in: float = 0.0
    failures: list[str] = field(default_factory=list)
    """What went wrong outside the tables: a part that did not come back, effects that never came."""

    @property
    def faults(self) -> list[str]:
        """Everything that is wrong; empty = the promises were kept."""
        return [
            *self.failures,
            *seen_outside(self.unbalanced, self.refused, self.given_up),
            *self.verdict.faults,
        ]


async def run_kills(options: KillsOptions) -> Report:
    """One whole run on a folder of its own."""
    report = Report(options.seed)
    run_id = f"r{options.seed}-{secrets.token_hex(3)}"
    traffic = Traffic(options.seed, run_id, PARTITIONS)
    began = time.monotonic()
    async with System(options.data_dir, PARTITIONS, options.workers) as system:
        with Journal(options.data_dir / "journal", len(traffic.slices())) as journal:
            with BooksReader(system.run["clickhouse"], DATABASE) as books:
                async with open_senders(
                    [system.run["collector"]], system.run["site_key"], journal
                ) as senders:
                    await _storm(options, system, traffic, senders, report)
                    report.retries = senders.retries
                await _settle(system, report)
            report.copies, report.refused, report.given_up = (
                journal.copies,
                journal.refused,
                journal.given_up,
            )
            report.polls, report.polls_away, report.unbalanced = books.polls, books.away, books.unbalanced
            if books.failure:
                report.failures.append(f"the reader of the books gave up: {books.failure}")
            if not system.is_running:
                report.failures.append("headwater up has ended")
            else:
                client = connect(system.run["clickhouse"], DATABASE)
                slices = zip(traffic.slices(), (ledger for _, ledger in journal.ledgers()), strict=True)
                report.verdict = await asyncio.to_thread(
                    judge, client, DATABASE, system.run["site_key"], slices, AttributionPolicy()
                )
    report.seconds = time.monotonic() - began
    return report


async def _storm(
    options: KillsOptions, system: System, traffic: Traffic, senders: Senders, report: Report
) -> None:
    """Load, and blow after blow until the plan is done."""
    stop = asyncio.Event()
    load = asyncio.create_task(senders.keep_sending(traffic.events(), options.rate, options.seed, stop))
    striker = Striker(system, random.Random(f"strike {options.seed}"))
    client = await asyncio.to_thread(connect, system.run["clickhouse"], DATABASE)
    began = time.monotonic()
    try:
        await asyncio.sleep(WARM_UP_S)
        for number, blow in enumerate(plan_blows(options.kills, options.seed, is_short=options.is_short), 1):
            await striker.strike(blow)
            seconds = await _recovered(system, traffic, senders, client)
            report.recoveries[_column(blow)].append(seconds)
            at = time.monotonic() - began
            print(f"{at:6.1f} s  blow {number:2}: {blow}, recovered after {seconds:.1f} s", flush=True)
        await asyncio.sleep(max(0.0, began + options.seconds - time.monotonic()))
    except HeadwaterError as error:
        report.failures.append(str(error))
    finally:
        report.kills = striker.kills
        stop.set()
        await load


def _column(blow: Blow) -> str:
    return blow.parts[0] if blow.kills == 1 and blow.way == "alone" else str(blow.way)


async def _recovered(system: System, traffic: Traffic, senders: Senders, client: Client) -> float:
    """Seconds until purchases sent now are credited. Raises ``HeadwaterError``."""
    try:
        return await seconds_until_credited(traffic, senders, client, DATABASE, within=RECOVER_WITHIN_S)
    except HeadwaterError as error:
        raise HeadwaterError(f"{error}; {'; '.join(await system.unfinished())}") from error


async def _settle(system: System, report: Report) -> None:
    """Wait until no event, trigger or outbox is under way any more."""
    began = time.monotonic()
    while unfinished := await system.unfinished():
        if time.monotonic() - began > SETTLE_WITHIN_S:
            report.failures.append(f"not settled within {SETTLE_WITHIN_S:g} s: {'; '.join(unfinished)}")
            return
        await asyncio.sleep(0.5)
    report.settled_in = time.monotonic() - began


def tell(report: Report) -> str:
    """The table that a person reads."""
    verdict = report.verdict
    kills = ", ".join(f"{part} {report.kills.get(part, 0)}" for part in PARTS)
    rows = [
        ("kill -9", f"{sum(report.kills.values())}: {kills}"),
        (
            "load",
            f"{verdict.sent} events sent in {report.seconds:.0f} s, {report.retries} requests repeated",
        ),
        (
            "acknowledged",
            f"{verdict.acknowledged} events ({report.copies} times; {verdict.robots} of robots)",
        ),
        ("stored", f"{verdict.stored} hits"),
        ("missing", str(len(verdict.missing))),
        ("duplicated", str(len(verdict.duplicated))),
        ("invented or changed", str(len(verdict.invented))),
    ]
    for table, found in verdict.differences.items():
        rows.append((f"{table} unlike oracle", f"{len(found)} of {verdict.compared[table]}"))
    passed = sum(check.passed for check in verdict.checks)
    rows += [
        ("checks of the tables", f"{passed} of {len(verdict.checks)} passed"),
        (
            "books seen unbalanced",
            f"{len(report.unbalanced)} in {report.polls} scans ({report.polls_away} unanswered)",
        ),
        ("settled", f"{report.settled_in:.1f} s after the load ended"),
    ]
    for name, seconds in report.recoveries.items():
        spread = f"median {statistics.median(seconds):.1f} s, max {max(seconds):.1f} s of {len(seconds)}"
        rows.append((f"back after {name}", spread))
    lines = [f"Seed {report.seed}", *(f"  {name:<34} {value}" for name, value in rows)]
    return "\n".join([*lines, *(f"WRONG: {fault}" for fault in report.faults)])


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.kills", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=32, help="at least so many kill -9 (default 32)")
    parser.add_argument(
        "--seed", type=int, default=None, help="of traffic and kills (default: a new one, printed)"
    )
    parser.add_argument("--seconds", type=float, default=0.0, help="shortest time of load")
    parser.add_argument("--rate", type=float, default=150.0, help="events a second (default 150)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument(
        "--short", action="store_true", help="each part once in turn, then at random; no zombies"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=None, help="folder to keep (default: a temporary one)"
    )
    told = parser.parse_args(argv)
    seed = told.seed if told.seed is not None else secrets.randbelow(1_000_000)
    folder = told.data_dir or Path(tempfile.mkdtemp(prefix="headwater-kills-"))
    options = KillsOptions(folder, told.kills, seed, told.seconds, told.rate, told.workers, told.short)
    print(f"Seed {seed}, folder {folder}", flush=True)
    logging.getLogger("clickhouse_connect").setLevel(
        logging.CRITICAL
    )  # it shouts at every kill of the engine
    Settings()  # a wrong HEADWATER_ variable is said here and not by a child
    try:
        report = asyncio.run(run_kills(options))
    except HeadwaterError as error:
        print(error, file=sys.stderr)
        return 2
    print(tell(report))
    if report.faults:
        print(f"Everything is kept in {folder}")
        return 1
    if told.data_dir is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
