"""Two partitions of a worker on real stores, filled with something of everything, and an audit whose clock is ours."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

from clickhouse_connect.driver.client import Client
from redis.asyncio import Redis

from attribution.hit import Hit, encode_envelope
from attribution.policy import AttributionPolicy
from attribution.spend.fact import Level, SpendFact
from attribution.spend.report import SpendReport, encode_report
from sinks.audit import LIMITS, AuditReader
from sinks.client import connect
from sinks.migrate import migrate
from sinks.writer import RowWriter
from streams.audit import Audit, axes_of
from streams.audit_state import AuditState
from streams.fence import FenceStore
from streams.journal_log import MemoryJournals
from streams.pump import Stage
from streams.records import Batch, Record
from streams.rules import StitchRules
from streams.takeover import Tools, take_over
from streams.topics import (
    CONVERSIONS,
    DEAD_LETTERS,
    HITS,
    SPEND,
    partition_of,
)

PARTITIONS = 2
BROKER = "cluster"
SECONDS = 60.0
T0 = 1_760_000_000_000


@dataclass
class House:
    """Two partitions of a worker, their stores, and their audit."""

    client: Client
    database: str
    redis: Redis
    logs: dict[tuple[str, int], list[Record]] = field(default_factory=dict)
    now: float = 1_800_000_000.0
    state: AuditState = field(default_factory=lambda: AuditState(since=0.0, next_at=0.0))

    def __post_init__(self) -> None:
        self.fences = FenceStore(self.redis, range_events=60)
        self.writer = RowWriter(self.client, self.database)
        self.cut(1_000_000)

    def cut(self, slice_rows: int) -> None:
        """Have slices of so many rows."""
        self.reader = AuditReader(
            self.client,
            self.database,
            longest_session_seconds=86_400,
            slice_rows=slice_rows,
            at_rest_seconds=0,
        )
        self.axes = axes_of(self.reader, self.redis, PARTITIONS)
        self.audit = Audit(self.redis, self.axes, SECONDS, share=1.0, clock=lambda: self.now)

    def compare_only(self, axis: str) -> None:
        """Leave the other axes out, where a test needs many passes."""
        self.axes[:] = [its for its in self.axes if its.name == axis]

    async def send(self, topic: str, key: bytes, value: bytes) -> None:
        if topic != DEAD_LETTERS:
            log = self.logs.setdefault((topic, partition_of(key.decode(), PARTITIONS)), [])
            log.append(Record(len(log), 0, key, value))

    async def send_hit(self, partition: int, event_id: str) -> None:
        """A hit of some visitor of the partition."""
        visitor = next(v for v in map(str, count()) if partition_of(v, PARTITIONS) == partition)
        hit = Hit(
            event_id=event_id,
            site="s",
            visitor_id=visitor,
            occurred_at=T0,
            received_at=T0,
            url="https://a.example/",
        )
        await self.send(HITS, visitor.encode(), encode_envelope([hit]))

    async def _stage(self, topic: str, partition: int) -> Stage:
        """A new owner's. Without an earlier owner's journal: these tests move fences by hand."""
        rules = StitchRules(AttributionPolicy(), "USD", PARTITIONS)
        tools = Tools(BROKER, self.fences, MemoryJournals(), self.writer, self.send, rules)
        return (await take_over(tools, topic, partition)).stage

    async def stitch(self, partition: int, first: int = 0, end: int | None = None, size: int = 50) -> None:
        """Process the records of a partition of hits in batches."""
        stage = await self._stage(HITS, partition)
        records = self.logs.get((HITS, partition), [])[first:end]
        for start in range(0, len(records), size):
            await stage.process(Batch(HITS, partition, BROKER, records[start : start + size]))

    async def credit(self, partition: int) -> None:
        """Answer every trigger of a partition."""
        stage = await self._stage(CONVERSIONS, partition)
        if records := self.logs.get((CONVERSIONS, partition), []):
            await stage.process(Batch(CONVERSIONS, partition, BROKER, records))

    async def spend(self, partition: int) -> None:
        """Process the cost reports of a partition."""
        stage = await self._stage(SPEND, partition)
        if records := self.logs.get((SPEND, partition), []):
            await stage.process(Batch(SPEND, partition, BROKER, records))

    async def passes(self, times: int, seconds: float = SECONDS) -> dict[str, int]:
        """So many passes, ``seconds`` apart; the checks that are alarmed then."""
        for _ in range(times):
            await self.audit.run_pass(self.state)
            assert self.state.failure == ""
            self.now += seconds
        return {check: found for check, found in self.state.differences().items() if found}

    def sql(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        text = statement.replace("{db}", self.database)
        if text.startswith("SELECT"):
            return [tuple(row) for row in self.client.query(text, parameters=parameters).result_rows]
        self.client.command(text, parameters=parameters, settings={"mutations_sync": 2})
        return []


def traffic(number_of_hits: int) -> Iterator[Hit]:
    """Visitors who come from here and there, out of order, some twice, some robots; one hit in ten is a purchase."""
    rng = random.Random(5)
    urls = (
        "",
        "?utm_source=letter&utm_medium=email",
        "?gclid=x",
        "?utm_source=linkedin&utm_medium=paid-social",
    )
    for number in range(number_of_hits):
        at = T0 + rng.randrange(12 * 3_600_000)
        bought = rng.random() < 0.1
        yield Hit(
            event_id=f"e{number if rng.random() < 0.95 else 7}",
            site="s",
            visitor_id=f"v{rng.randrange(25)}",
            occurred_at=at,
            received_at=at + 9,
            url=f"https://shop.example/{rng.choice(urls)}",
            user_agent="Googlebot/2.1" if rng.random() < 0.05 else "Mozilla/5.0 (X11; Linux) Firefox/130.0",
            event="purchase" if bought else "page_view",
            value=f"{rng.randrange(1, 9_999) / 100:.2f}" if bought else None,
            currency="USD" if bought else "",
            order_id=f"o{number}" if bought else "",
        )


def cost_reports() -> Iterator[SpendReport]:
    """Of two networks, some days and two currencies; some figures corrected, one told at two levels."""
    for number in range(60):
        read_at = datetime(2026, 10, 20, tzinfo=UTC) + timedelta(hours=number)
        fact = SpendFact(
            day=date(2026, 10, 1 + number % 9),
            ad_network=("google_ads", "meta_ads")[number % 2],
            level=Level.ad if number == 7 else Level.campaign,
            campaign_id=str(number % 5),
            ad_id="1" if number == 7 else "",
            currency=("EUR", "USD")[number % 2],
            cost=number * 1_000_001,
            clicks=number,
            as_of=read_at,
            imported_at=read_at,
        )
        yield SpendReport(site="s", fact=fact, received_at=T0 + number)


@asynccontextmanager
async def sound_house(engine: str, valkey: str, database: str) -> AsyncIterator[House]:
    """Some hundred hits with robots, copies, late ones and purchases; a malformed record; everything credited."""
    client = connect(engine, database)
    migrate(client, database)
    for name, value in LIMITS.items():
        client.set_client_setting(name, value)
    async with Redis.from_url(valkey) as redis:
        house = House(client, database, redis)
        for number, hit in enumerate(traffic(400)):
            await house.send(HITS, hit.visitor_id.encode(), encode_envelope([hit]))
            if number == 200:
                await house.send(HITS, b"x", b"[{}, 17]")
        server = Hit(
            event_id="srv", site="s", visitor_id="shop", occurred_at=T0, received_at=T0,
            event="purchase", value="7.50", currency="USD", order_id="srv-1",
        )  # fmt: skip
        await house.send(HITS, b"shop", encode_envelope([server]))
        for partition in range(PARTITIONS):
            await house.stitch(partition)
        for partition in range(PARTITIONS):
            await house.credit(partition)
        for report in cost_reports():
            await house.send(SPEND, report.partition_key.encode(), encode_report(report))
        for partition in range(PARTITIONS):
            await house.spend(partition)
        yield house
    client.close()
