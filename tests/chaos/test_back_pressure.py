"""Slow, frozen and overloaded stores: the worker waits with little in hand, Kafka and spool keep the rest."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from clickhouse_connect.driver.client import Client
from redis.asyncio import Redis

from attribution.errors import Transient
from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from bench.chaos.cluster import DATABASE, Cluster, Kind, Shape
from bench.chaos.journal import Journal
from bench.chaos.load import Senders, open_senders
from bench.chaos.proxy import SLOW_S, Weather
from bench.chaos.traffic import Event, Traffic
from bench.chaos.verdict import judge
from bench.kafka import preload
from bench.recovery_memory import rss_of
from bench.traffic import RecordOut
from collector.producer import HOLD_SECONDS, RELEASE_SECONDS
from runtime.collector_client import open_intake
from runtime.processes import audit_config
from runtime.settings import Settings
from sinks.client import connect
from streams.audit import Audit, axes_of
from streams.audit_state import AuditState
from streams.pump import MAX_BUFFERED_BYTES
from streams.topics import HITS, partition_of

pytestmark = pytest.mark.slow

WORKER, COLLECTOR = "worker-1", "collector-1"
PARTITIONS = 2
BATCH = 25
WITHIN_S = 240.0
MIB = 1 << 20


@dataclass
class House:
    """A system of one worker and one collector behind links, and senders."""

    cluster: Cluster
    traffic: Traffic
    journal: Journal
    senders: Senders
    client: Client
    http: aiohttp.ClientSession

    def __post_init__(self) -> None:
        self._events = self.traffic.events()

    async def send(self, count: int) -> None:
        """Send until acknowledged."""
        for _ in range(count // BATCH):
            await self.senders.send(self.some(BATCH), by_pixel=False)

    def some(self, count: int) -> list[Event]:
        """The next events of the traffic."""
        return list(islice(self._events, count))

    async def rows(self) -> int:
        """Hits stored, and dropped ones."""
        sql = f"SELECT (SELECT count() FROM {DATABASE}.hits) + (SELECT sum(count) FROM {DATABASE}.drops)"
        return int((await asyncio.to_thread(self.client.query, sql)).result_rows[0][0])

    async def worker(self, name: str) -> float:
        """A figure of the worker's metrics, added up over its labels."""
        return await self._figure(f"http://127.0.0.1:{self.cluster.metrics_port(WORKER)}", name)

    async def collector(self, name: str) -> float:
        """The same of the collector."""
        return await self._figure(self.cluster.collector_urls[0], name)

    async def _figure(self, url: str, name: str) -> float:
        async with self.http.get(f"{url}/metrics") as answer:
            text = await answer.text()
        found = re.findall(rf"^{re.escape(name)} ([^ \n]+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def memory(self) -> int:
        """Bytes that the worker holds."""
        return rss_of(self.cluster.pids[WORKER])

    async def settled(self) -> None:
        """Everything that was sent has had all its effects."""
        await within(self._is_finished)

    async def _is_finished(self) -> bool:
        return not await self.cluster.unfinished()

    async def wrong(self) -> list[str]:
        """What differs from what was promised, and from what tables and stores must agree on; nothing, that is."""
        slices = zip(self.traffic.slices(), (ledger for _, ledger in self.journal.ledgers()), strict=True)
        verdict = await asyncio.to_thread(
            judge, self.client, DATABASE, self.cluster.site_key, slices, AttributionPolicy()
        )
        assert verdict.acknowledged > 100
        return [*verdict.faults, *self.journal.refused, *await self.audit()]

    async def audit(self) -> list[str]:
        """One whole pass of the self-audit."""
        config = await asyncio.to_thread(
            audit_config, Settings(clickhouse=self.cluster.clickhouse, audit_seconds=1)
        )
        assert config is not None
        state = AuditState(since=time.time(), next_at=0.0)
        async with Redis.from_url(self.cluster.redis) as redis:
            axes = axes_of(config.reader, redis, PARTITIONS)
            await Audit(redis, axes, 20.0, share=1.0).run_pass(state)
        assert set(state.compared) >= {"offsets", "statements"}
        differences = [f"{f.difference.check} {f.difference.subject}" for f in state.findings]
        return [*differences, state.failure] if state.failure else differences


@asynccontextmanager
async def open_house(folder: Path, seed: int) -> AsyncIterator[House]:
    """Start everything on ``folder``; every visitor of the traffic is of one slice."""
    cluster = Cluster(folder / "house", Shape(Kind.embedded, PARTITIONS, workers=1, collectors=1))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(cluster)
        journal = stack.enter_context(Journal(folder / "journal", 1))
        urls = cluster.collector_urls
        senders = await stack.enter_async_context(open_senders(urls, cluster.site_key, journal))
        client = await asyncio.to_thread(connect, cluster.clickhouse, DATABASE)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield House(cluster, Traffic(seed, f"r{seed}", PARTITIONS), journal, senders, client, http)


async def within(check: Callable[[], Awaitable[Any]], seconds: float = WITHIN_S) -> Any:
    """The first true result of ``check``."""
    deadline = time.monotonic() + seconds
    while not (result := await check()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.1)
    return result


@pytest.fixture(autouse=True)
def no_audit_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own pass, at rest, is the one that counts."""
    monkeypatch.setenv("HEADWATER_AUDIT_SECONDS", "0")


@pytest.mark.parametrize("store", ["engine", "valkey"])
async def test_a_slow_store_slows_the_worker_and_nobody_else(tmp_path: Path, store: str) -> None:
    """Each portion late by a fraction of a second: each batch takes that, several times over; senders notice nothing.

    What a batch takes in fair weather depends on the machine, so it is printed, not compared.
    """
    seconds, batches = (
        f'headwater_worker_batch_seconds_{what}{{topic="{HITS}"}}' for what in ("sum", "count")
    )
    async with open_house(tmp_path, 31) as house:

        async def per_batch(count: int) -> float:
            """Seconds of a batch while ``count`` events arrive and go through."""
            before = await house.worker(seconds), await house.worker(batches)
            rows = await house.rows()
            await house.send(count)

            async def all_there() -> bool:
                is_committed = await house.worker(batches) > before[1]
                return is_committed and await house.rows() >= rows + count

            await within(all_there)
            took = await house.worker(seconds) - before[0]
            return took / (await house.worker(batches) - before[1])

        await per_batch(100)
        fair = await per_batch(300)
        async with house.cluster.links[f"{WORKER}>{store}"].weather(Weather.slow):
            slow = await per_batch(300)
        print(f"{store}: {fair:.2f} s a batch in fair weather, {slow:.2f} s in foul")
        assert slow > 2 * SLOW_S
        assert house.senders.retries == 0
        await house.settled()
        assert await house.wrong() == []


def fat_records(site: str, total_bytes: int) -> tuple[list[RecordOut], int]:
    """Envelopes of a quarter of a megabyte for one partition, and how many hits are in them."""
    props = msgspec.Raw(b'{"note":"' + b"x" * 30_000 + b'"}')
    visitors = [name for name in map("fat-{}".format, range(1_000)) if partition_of(name, PARTITIONS) == 0]
    records, at = [], int(time.time() * 1000)
    hits, size = 0, 0
    while size < total_bytes:
        part = [
            Hit(
                event_id=f"fat-{hits + i}",
                site=site,
                visitor_id=visitors[(hits + i) % len(visitors)],
                occurred_at=at,
                received_at=at,
                url="https://shop.example/",
                user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
                props=props,
            )
            for i in range(8)
        ]
        records.append(RecordOut(0, b"", encode_envelope(part)))
        hits += len(part)
        size += len(records[-1].value)
    return records, hits


@pytest.mark.parametrize("store", ["engine", "valkey"])
async def test_a_frozen_store_leaves_the_backlog_to_kafka(tmp_path: Path, store: str) -> None:
    """A backlog of many times the buffer: what the worker holds of it is the buffer, in its own count and in memory."""
    backlog = 144 * MIB
    async with open_house(tmp_path, 32) as house:
        await house.send(200)
        await house.settled()
        records, hits = fat_records(house.cluster.site_key, backlog)
        held = partial(house.worker, "headwater_worker_buffered_bytes")
        before = house.memory()
        house.cluster.signal(store, signal.SIGSTOP)
        try:
            await preload(house.cluster.brokers.bootstrap, HITS, records)

            async def is_full() -> bool:
                return await held() > MAX_BUFFERED_BYTES

            await within(is_full)
            quiet, last = 0, 0
            while quiet < 5:  # seconds in which it takes nothing more into memory
                await asyncio.sleep(1.0)
                now = house.memory()
                quiet, last = (quiet + 1, last) if now - last < MIB else (0, now)
            assert await held() <= MAX_BUFFERED_BYTES + len(records[0].value)
            grown = house.memory() - before
            print(f"{store}: {grown / MIB:.0f} MiB for a backlog of {backlog / MIB:.0f} MiB")
            assert grown < backlog * 4 // 5
            await house.send(100)
        finally:
            house.cluster.signal(store, signal.SIGCONT)
        await house.settled()
        counted = (
            f"SELECT count(), uniqExact(event_id) FROM {DATABASE}.hits WHERE startsWith(event_id, 'fat-')"
        )
        assert house.client.query(counted).result_rows == [(hits, hits)]
        assert await house.audit() == []


async def test_too_many_parts_hold_the_worker_up_and_lose_nothing(tmp_path: Path) -> None:
    """ClickHouse refuses inserts (code 252) until merges have caught up; the same insert is repeated until then."""
    table = f"{DATABASE}.sessions"
    async with open_house(tmp_path, 33) as house:
        await house.send(200)
        await house.settled()
        house.client.command(f"SYSTEM STOP MERGES {table}")
        house.client.command(
            f"ALTER TABLE {table} MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1"
        )
        log = house.cluster.place.logs / f"{WORKER}.log"
        fences = await house.cluster.unfinished()
        assert fences == []
        await house.send(200)

        async def is_refused() -> bool:
            return "code: 252" in log.read_text(errors="replace")

        await within(is_refused)
        await house.send(200)
        assert await house.worker("headwater_worker_hits_total") < house.journal.copies - 200
        assert house.senders.retries == 0, "whoever sends notices nothing"
        assert [said for said in await house.cluster.unfinished() if "pending" in said]
        house.client.command(
            f"ALTER TABLE {table} RESET SETTING parts_to_delay_insert, parts_to_throw_insert"
        )
        house.client.command(f"SYSTEM START MERGES {table}")
        await house.settled()
        assert "worker_failed" not in log.read_text(errors="replace")
        assert await house.wrong() == []


async def test_a_full_spool_slows_the_senders_and_loses_nothing_it_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fence passes while the engine is frozen, so no segment is released: 503 and a reason, until it is."""
    monkeypatch.setenv("HEADWATER_SPOOL_MAX_BYTES", str(MIB))
    async with open_house(tmp_path, 34) as house:
        await house.send(200)
        await house.settled()
        house.cluster.signal("engine", signal.SIGSTOP)
        try:
            url = house.cluster.collector_urls[0]
            async with open_intake(url, house.cluster.site_key, patience=0.5) as intake:
                events: list[Event] = []

                async def send_on() -> None:
                    while True:
                        events[:] = house.some(BATCH)
                        house.journal.leaves(events)
                        bodies = [{**event.fields, "user_agent": event.user_agent} for event in events]
                        assert set(await intake.batch(bodies)) == {None}
                        house.journal.arrived(events)

                with pytest.raises(Transient, match="HTTP 503"):
                    await send_on()
            held = await house.collector('headwater_spool_bytes{topic="headwater.hits.v1"}')
            assert held > MIB * 0.9

            async def is_sent() -> bool:
                return await house.collector('headwater_spool_unsent_bytes{topic="headwater.hits.v1"}') == 0

            await within(is_sent)
            # Kafka has it all, but in memory; so the disk keeps it, however long that takes.
            await asyncio.sleep(HOLD_SECONDS + 4 * RELEASE_SECONDS)
            assert await house.collector('headwater_spool_bytes{topic="headwater.hits.v1"}') == held
            refused = 'headwater_collector_rejected_total{endpoint="batch",reason="not_durable"}'
            assert await house.collector(refused) >= 1
            body = {"batch": [{"type": "track", "site": house.cluster.site_key, **events[0].fields}] * 400}
            async with house.http.post(f"{url}/v1/batch", json=body) as answer:
                assert answer.status == 503
                assert int(answer.headers["retry-after"]) > 0
            async with house.http.get(f"{url}/readyz") as answer:
                assert answer.status == 503
        finally:
            house.cluster.signal("engine", signal.SIGCONT)
        # The sender goes on with what was refused, under the same ids, and with more.
        await house.senders.send(events, by_pixel=False)
        await house.send(200)
        await house.settled()
        assert await house.wrong() == []
