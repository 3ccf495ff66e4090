"""What an event costs when much is held already: ``python -m bench.held [--held 1000000 10000000 100000000]``.

The worker makes a real history of 100,000 events. Then all that it left is copied under other names: in Redis each
visitor's timeline and each conversion, in ClickHouse each row (the roll-ups count along), until as many events are held
as a rung of the ladder says. On each rung the worker takes the same number of new events, of visitors who come back
several times, and every row of them is counted. Redis is filled as far as the rung says, ClickHouse up to ``--rows``
hits: copying takes minutes there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from bench.headwater import BenchFailed, Installation, until_ready
from bench.kafka import preload
from bench.machine import cpu_seconds, describe, pick_cores, stay_on, using_both
from bench.stores import used_memory
from bench.traffic import BEGAN_AT, DAY_MS, Traffic, build_traffic, envelopes
from bench.worker import PARTITIONS, Watch
from streams.topics import HITS, dirty_key, outbox_key

_POLL_S = 0.2
_QUIET_WITHIN_S = 600.0
_COPY = """
local value = redis.call('GET', KEYS[1])
for number = tonumber(ARGV[2]), tonumber(ARGV[3]) do
    redis.call('SET', ARGV[1] .. string.format('%012x', number), value)
end
"""
"""``string.format`` gives twelve characters: as long as the digest in a timeline's key."""
_COPIED = {
    "hits": "visitor_id, event_id",
    "sessions": "visitor_id, session_id",
    "touchpoints": "visitor_id, touchpoint_id",
    "conversions": "visitor_id, conversion_id",
    "credits": "visitor_id, conversion_id, touchpoint_id",
}
"""What names a row of each table."""


@dataclass(frozen=True)
class Rung:
    """What new events cost with so many held."""

    held: int
    rows: int
    """Of ``hits``."""
    events: int
    worker_cpu_s: float
    servers_cpu_s: float
    redis_bytes: int
    disk_bytes: int
    """Of all tables."""


class Copies:
    """Copies of one history in the stores of an installation."""

    def __init__(self, house: Installation, history: Traffic, most_rows: int) -> None:
        self._house = house
        self._events = len(history.hits)
        self._most_rows = most_rows
        self._rows = history.kept
        self._in_redis = self._in_clickhouse = 0
        """Copies so far."""
        self._keys = [
            key for kind in ("t{h*", "c{c*") for key in house.redis.scan_iter(match=kind, count=1_000)
        ]
        for table in _COPIED:
            house.command(
                f"CREATE TABLE IF NOT EXISTS history_{table} AS {table} ENGINE = MergeTree ORDER BY ()"
            )
            house.command(f"INSERT INTO history_{table} SELECT * FROM {table}")

    @property
    def held(self) -> int:
        """Events that Redis holds the state of, the new ones of earlier rungs apart."""
        return self._events * (1 + self._in_redis)

    def grow_to(self, events: int) -> None:
        """Copy until ``events`` are held."""
        wanted = round(events / self._events) - 1
        self._fill_redis(wanted)
        self._fill_clickhouse(min(wanted, self._most_rows // self._rows - 1))

    def _fill_redis(self, wanted: int) -> None:
        redis = self._house.redis
        redis.config_set("appendonly", "no")  # one log at the end in place of one for each copy
        copy = redis.register_script(_COPY)
        pipeline = redis.pipeline(transaction=False)
        for number, key in enumerate(self._keys):
            head = key[: key.index(b"}") + 1]
            first = number * (1 << 20) + self._in_redis
            copy(keys=[key], args=[head, first, first + wanted - self._in_redis - 1], client=pipeline)
            if len(pipeline) >= 100:
                pipeline.execute()
        pipeline.execute()
        self._in_redis = wanted
        redis.config_set("appendonly", "yes")

    def _fill_clickhouse(self, wanted: int) -> None:
        if wanted <= self._in_clickhouse:
            return
        for table, names in _COPIED.items():
            renamed = ", ".join(
                f"concat({name}, '~', toString(number)) AS {name}" for name in names.split(", ")
            )
            copies = f"numbers({self._in_clickhouse}, {wanted - self._in_clickhouse})"
            self._house.command(
                f"INSERT INTO {table} SELECT * EXCEPT (number) REPLACE ({renamed})"
                f" FROM history_{table} AS history, {copies} AS copy"
                " SETTINGS insert_deduplicate = 0"
            )
        self._in_clickhouse = wanted

    async def settled(self) -> None:
        """Wait until the stores have digested their copies. Raises ``BenchFailed`` after ten minutes."""
        deadline = time.monotonic() + _QUIET_WITHIN_S
        while time.monotonic() < deadline:
            log = self._house.redis.info("persistence")
            (merges,) = await asyncio.to_thread(self._house.ask, "SELECT count() FROM system.merges")
            if not merges and not log["aof_rewrite_in_progress"] and not log["aof_rewrite_scheduled"]:
                return
            await asyncio.sleep(1)
        raise BenchFailed(f"the stores do not come to rest within {_QUIET_WITHIN_S:.0f} s")


async def climb(ladder: Sequence[int], *, history: int, new: int, most_rows: int, core: int) -> list[Rung]:
    """Measure each rung. Raises ``BenchFailed``."""
    found = []
    async with Installation.open(PARTITIONS) as house:
        with house.worker(core) as (process, port):
            await until_ready(port, "/readyz", "the worker")
            base = build_traffic(history)
            await _take(house, process, base)
            copies = Copies(house, base, most_rows)
            for number, held in enumerate(ladder):
                print(f"... filling up to {held:,} events", file=sys.stderr)
                await asyncio.to_thread(copies.grow_to, held)
                await copies.settled()
                print(f"... {new:,} new events", file=sys.stderr)
                traffic = build_traffic(new, seed=100 + number, began_at=BEGAN_AT + number * DAY_MS)
                found.append(await _measure(house, process, copies, traffic))
    return found


async def _measure(
    house: Installation, process: subprocess.Popen[bytes], copies: Copies, traffic: Traffic
) -> Rung:
    rows = _rows(house)
    before, servers = cpu_seconds(process.pid), house.servers_cpu()
    await _take(house, process, traffic)
    (disk,) = house.ask("SELECT sum(bytes_on_disk) FROM system.parts WHERE active")
    return Rung(
        copies.held,
        rows,
        len(traffic.hits),
        cpu_seconds(process.pid) - before,
        house.servers_cpu() - servers,
        used_memory(house),
        disk,
    )


async def _take(house: Installation, process: subprocess.Popen[bytes], traffic: Traffic) -> None:
    """Let the worker take ``traffic``; return when exactly its rows are there and its conversions are answered."""
    rows = _rows(house)
    await preload(house.servers.kafka, HITS, envelopes(traffic.hits, PARTITIONS))
    watch = Watch("the worker", process)
    while True:
        seen = await asyncio.to_thread(_rows, house) - rows
        if seen > traffic.kept:
            raise BenchFailed(f"{seen} rows of {traffic.kept} hits")
        waiting = sum(
            house.redis.hlen(dirty_key(partition)) + house.redis.hlen(outbox_key(partition))
            for partition in range(PARTITIONS)
        )
        if seen == traffic.kept and not waiting:
            return
        watch.saw(seen - waiting)
        await asyncio.sleep(_POLL_S)


def _rows(house: Installation) -> int:
    """Of ``hits``, without reading them."""
    (rows,) = house.ask("SELECT sum(rows) FROM system.parts WHERE active AND table = 'hits'")
    return int(rows)


def print_ladder(console: Console, found: Sequence[Rung]) -> None:
    """One line for each rung."""
    table = Table(box=SIMPLE_HEAD)
    for column in (
        "events held in Redis",
        "rows of hits",
        "worker us/event",
        "servers us/event",
        "to the first",
        "Redis MB",
        "disk MB",
    ):
        table.add_column(column, justify="right")
    for rung in found:
        costs = rung.worker_cpu_s / rung.events, rung.servers_cpu_s / rung.events
        first = (found[0].worker_cpu_s + found[0].servers_cpu_s) / found[0].events
        table.add_row(
            f"{rung.held:,}",
            f"{rung.rows:,}",
            f"{1e6 * costs[0]:.1f}",
            f"{1e6 * costs[1]:.1f}",
            f"{sum(costs) / first:.2f} x",
            f"{rung.redis_bytes / 1e6:,.0f}",
            f"{rung.disk_bytes / 1e6:,.0f}",
        )
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.held", description=__doc__.splitlines()[0])
    parser.add_argument("--held", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--history", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=100_000, help="events that are measured on each rung")
    parser.add_argument("--rows", type=int, default=20_000_000, help="most rows of hits in ClickHouse")
    options = parser.parse_args(argv)
    os.environ["HEADWATER_LEARN_HOURS"] = "0"
    os.environ["HEADWATER_AUDIT_SECONDS"] = "0"  # it would find that the copies are nobody's
    cores = pick_cores()
    stay_on(cores.others)
    before = describe()
    try:
        with using_both(cores):
            found = asyncio.run(
                climb(
                    sorted(options.held),
                    history=options.history,
                    new=options.new,
                    most_rows=options.rows,
                    core=cores.measured,
                )
            )
    except BenchFailed as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    console = Console(width=130, soft_wrap=True)
    print_ladder(console, found)
    console.print(f"before: {before}\nafter:  {describe()}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
