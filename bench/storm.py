"""Everything that may go wrong, all the time, to the whole system at once; then count, and replay the log.

    python -m bench.storm [--kafka apache|embedded] [--faults 60] [--events 60000] [--seed N] [--long]

Runs three nodes of Apache Kafka (or the embedded broker), Valkey, ClickHouse, two collectors and three workers with bad
networks between any two of them, and draws faults: kills, sleeps, storms of workers, lost answers, resets, full disks,
clocks that jump, poison. Faults overlap each other and the load; after each dozen the system must show that it still
works. When all is quiet, every acknowledged event must be in ``hits`` exactly once, each input in exactly one place,
and every table must equal the oracle's; a reader scans the books all along. Last, new workers read the log into empty
stores and must arrive at the same tables. Exit code 0 if all of it holds, 1 if not, 2 if it cannot run here.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop
from clickhouse_connect.driver.client import Client

from attribution.errors import HeadwaterError
from attribution.policy import AttributionPolicy
from bench.chaos.acts import Striker
from bench.chaos.books import BooksReader
from bench.chaos.cluster import DATABASE, Cluster, Kind, Shape
from bench.chaos.journal import Journal
from bench.chaos.load import Senders, open_senders
from bench.chaos.log_audit import audit_log
from bench.chaos.plan import Act, Fault, plan_faults
from bench.chaos.poison import Planter
from bench.chaos.recovered import seconds_until_credited
from bench.chaos.replay import compare_databases
from bench.chaos.stand_by import Taken, take_over
from bench.chaos.storm_report import StormReport, tell
from bench.chaos.traffic import Traffic
from bench.chaos.verdict import judge
from runtime.settings import Settings
from sinks.client import connect

REPLAYED = "headwater_replayed"
WARM_UP_S = 3.0
RECOVER_WITHIN_S = 240.0
SETTLE_WITHIN_S = 300.0
EVENTS_IN_A_SLICE = 15_000
_WAVE = 12
_AT_ONCE = 4
"""Most faults that last at the same time."""


@dataclass(frozen=True)
class StormOptions:
    """What a run is told."""

    data_dir: Path
    shape: Shape
    seed: int = 1
    faults: int = 60
    events: int = 60_000
    """The load goes on until so many are sent, and until the last fault is over."""
    rate: float = 300.0
    """Events a second."""
    pause_s: float = 4.0
    """Mean time from one fault to the next."""
    idle_s: float = 20.0
    """How long the stand-by idles before it must take over."""
    is_replayed: bool = True
    without: Sequence[Act] = ()
    plan: Sequence[Fault] | None = None
    """Exactly these faults instead of ``faults`` drawn ones."""


async def run_storm(options: StormOptions) -> StormReport:
    """One whole run on a folder of its own. Raises ``Misconfigured`` where it cannot run."""
    report = StormReport(options.seed, str(options.shape.kafka))
    began = time.monotonic()
    slices = max(1, min(99, options.events // EVENTS_IN_A_SLICE))
    traffic = Traffic(
        options.seed, f"r{options.seed}x{secrets.token_hex(3)}", options.shape.partitions, slices=slices
    )
    cluster = Cluster(options.data_dir, options.shape)
    async with cluster:
        report.ready_in = time.monotonic() - began
        with Journal(options.data_dir / "journal", slices) as journal:
            try:
                with BooksReader(cluster.clickhouse, DATABASE) as books:
                    await _live(options, cluster, traffic, journal, report)
                report.saw(books)
                await _judge(options, cluster, traffic, journal, report)
            except HeadwaterError as error:
                report.failures.append(str(error))
            report.heard(journal, traffic)
        report.disks = {disk.way for disk in cluster.disks.values()}
    report.seconds = time.monotonic() - began
    return report


async def _live(
    options: StormOptions, cluster: Cluster, traffic: Traffic, journal: Journal, report: StormReport
) -> None:
    """The storm under load, the stand-by's turn, and the wait until nothing is under way."""
    client = await asyncio.to_thread(connect, cluster.clickhouse, DATABASE)
    async with open_senders(cluster.collector_urls, cluster.site_key, journal) as senders:
        stop = asyncio.Event()
        longest = max(25, int(options.rate / 8))
        began = time.monotonic()
        load = asyncio.create_task(
            senders.keep_sending(traffic.events(), options.rate, options.seed, stop, longest)
        )
        try:
            await asyncio.sleep(WARM_UP_S)
            await _storm(options, cluster, traffic, senders, journal, client, report)
            report.standing_by = await _stand_by(options, cluster, traffic, senders, client)
            while journal.copies < options.events:
                await asyncio.sleep(1.0)
        finally:
            stop.set()
            await load
            report.load_seconds = time.monotonic() - began
            report.retries, report.fail_overs = senders.retries, senders.fail_overs
    began = time.monotonic()
    while unfinished := await cluster.unfinished():
        if time.monotonic() - began > SETTLE_WITHIN_S:
            raise HeadwaterError(f"not settled within {SETTLE_WITHIN_S:g} s: {'; '.join(unfinished)}")
        await asyncio.sleep(0.5)
    report.settled_in = time.monotonic() - began


async def _storm(
    options: StormOptions,
    cluster: Cluster,
    traffic: Traffic,
    senders: Senders,
    journal: Journal,
    client: Client,
    report: StormReport,
) -> None:
    """Wave after wave until the plan is done; each begins once the effects of the last one's end have come."""
    rng = random.Random(f"storm {options.seed}")
    planter = Planter(
        cluster.brokers.bootstrap,
        cluster.brokers.is_durable,
        options.shape.partitions,
        cluster.site_key,
        traffic,
        journal,
    )
    striker = Striker(cluster, rng, senders, traffic, planter)
    faults = options.plan or plan_faults(options.faults, options.seed, options.shape, without=options.without)
    began = time.monotonic()
    room = asyncio.Semaphore(_AT_ONCE)

    async def strike(number: int, fault: Fault) -> None:
        async with room:
            print(f"{time.monotonic() - began:7.1f} s  fault {number:3}: {fault}", flush=True)
            await striker.strike(fault)

    report.striker = striker
    for first in range(0, len(faults), _WAVE):
        try:
            async with asyncio.TaskGroup() as group:
                for number, fault in enumerate(faults[first : first + _WAVE], first + 1):
                    group.create_task(strike(number, fault))
                    await asyncio.sleep(rng.uniform(0.3, 1.7) * options.pause_s)
        except* HeadwaterError as errors:
            raise errors.exceptions[0] from errors
        seconds = await _recovered(cluster, traffic, senders, client)
        report.recoveries.append(seconds)
        at = time.monotonic() - began
        print(f"{at:7.1f} s  works again after {seconds:.1f} s; {journal.copies} acknowledged", flush=True)


async def _recovered(cluster: Cluster, traffic: Traffic, senders: Senders, client: Client) -> float:
    """Seconds until purchases sent now are credited. Raises ``HeadwaterError``."""
    try:
        return await seconds_until_credited(traffic, senders, client, DATABASE, within=RECOVER_WITHIN_S)
    except HeadwaterError as error:
        unfinished = await cluster.unfinished()
        for name in cluster.workers:
            cluster.signal(name, signal.SIGUSR1)  # its log shall hold what it waits for
        raise HeadwaterError(f"{error}; {'; '.join(unfinished)}") from error


async def _stand_by(
    options: StormOptions, cluster: Cluster, traffic: Traffic, senders: Senders, client: Client
) -> Taken | None:
    """A worker without partitions takes over from all others, which then wake up as zombies."""
    if not options.idle_s:
        return None

    async def works() -> float:
        return await _recovered(cluster, traffic, senders, client)

    return await take_over(cluster, options.idle_s, works)


async def _judge(
    options: StormOptions, cluster: Cluster, traffic: Traffic, journal: Journal, report: StormReport
) -> None:
    """Everything is quiet: compare what is stored with what was promised, with the log, and with a replay."""
    began = time.monotonic()
    client = await asyncio.to_thread(connect, cluster.clickhouse, DATABASE, timeout=300.0)
    slices = zip(traffic.slices(), (ledger for _, ledger in journal.ledgers()), strict=True)
    report.verdict = await asyncio.to_thread(
        judge, client, DATABASE, cluster.site_key, slices, AttributionPolicy()
    )
    if cluster.brokers.is_durable:
        report.audit = await audit_log(client, DATABASE, cluster.brokers.bootstrap, options.shape.partitions)
    report.judged_in = time.monotonic() - began
    if cluster.brokers.is_durable and options.is_replayed:
        began = time.monotonic()
        await cluster.start_afresh(REPLAYED)
        while unfinished := await cluster.unfinished():
            if time.monotonic() - began > SETTLE_WITHIN_S + options.events / 1000:
                raise HeadwaterError(f"the replay does not end: {'; '.join(unfinished)}")
            await asyncio.sleep(1.0)
        report.replayed_in = time.monotonic() - began
        report.replayed = await asyncio.to_thread(compare_databases, client, DATABASE, REPLAYED)


class Terminated(Exception):
    """SIGTERM came."""


async def _until_terminated(options: StormOptions) -> StormReport:
    """The run, which SIGTERM ends in order: processes, mounted disks and all."""
    run = asyncio.ensure_future(run_storm(options))
    loop = asyncio.get_running_loop()
    is_told = asyncio.Event()

    def tell_run(*_: object) -> None:
        loop.call_soon_threadsafe(is_told.set)
        loop.call_soon_threadsafe(run.cancel)

    # Not by the loop's own handlers: a child that is told to end between fork and exec writes into the loop's wake-up
    # socket, which it has inherited, and the loop would take the signal for its own.
    signal.signal(signal.SIGTERM, tell_run)
    try:
        return await run
    except asyncio.CancelledError:
        if is_told.is_set():
            raise Terminated from None
        raise


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit code."""
    told = _parse(argv)
    seed = told.seed if told.seed is not None else secrets.randbelow(1_000_000)
    folder = told.data_dir or Path(tempfile.mkdtemp(prefix="headwater-storm-"))
    is_long = told.long
    options = StormOptions(
        folder,
        Shape(Kind(told.kafka), workers=told.workers, batch_wait_ms=500 if is_long else 150),
        seed,
        told.faults or (200 if is_long else 60),
        told.events or (1_000_000 if is_long else 60_000),
        told.rate or (850.0 if is_long else 300.0),
        pause_s=told.pause,
        idle_s=told.idle,
        without=[Act[name] for name in told.without],
    )
    print(f"Seed {seed}, folder {folder}", flush=True)
    logging.getLogger("clickhouse_connect").setLevel(
        logging.CRITICAL
    )  # it shouts at every kill of the engine
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    Settings()  # a wrong HEADWATER_ variable is said here and not by a child
    folder.mkdir(parents=True, exist_ok=True)
    # What the supervisor says of each death is for whoever looks into a failure.
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(open(folder / "storm.log", "a")))  # noqa: SIM115 - until the end
    try:
        report = uvloop.run(_until_terminated(options))
    except HeadwaterError as error:
        print(error, file=sys.stderr)
        return 2
    except Terminated:
        print("Terminated.", file=sys.stderr)
        return 2
    print(tell(report))
    if report.faults:
        print(f"Everything is kept in {folder}")
        return 1
    if told.data_dir is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.storm", description=__doc__.splitlines()[0])
    parser.add_argument("--kafka", choices=[str(kind) for kind in Kind], default=str(Kind.apache))
    parser.add_argument("--long", action="store_true", help="a million events and 200 faults, half an hour")
    parser.add_argument("--faults", type=int, default=0, help="how many (default 60; 200)")
    parser.add_argument("--events", type=int, default=0, help="at least so many (default 60,000; 1,000,000)")
    parser.add_argument("--rate", type=float, default=0.0, help="events a second (default 300; 850)")
    parser.add_argument("--pause", type=float, default=4.0, help="mean seconds between faults (default 4)")
    parser.add_argument(
        "--idle", type=float, default=20.0, help="seconds the stand-by idles; 0 = no stand-by"
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--without", nargs="*", default=[], choices=[act.name for act in Act])
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, printed")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder to keep")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
