"""One owned partition, and what its stage works with: the fence, ClickHouse, Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Protocol

from attribution.errors import Rejected
from attribution.learnt.tables import LearntTable
from attribution.spend.click_costs import LiveFigure
from attribution.spend.labels import TouchLabel
from sinks.deliveries import StoredDelivery
from sinks.tables import WRITTEN
from sinks.visitors import NOWHERE, Place
from streams import metrics
from streams.dead_letters import DeadLetter
from streams.fence import Fence
from streams.journal import Journal
from streams.patience import patiently
from streams.rows import Row, WrittenRow
from streams.topics import DEAD_LETTERS


class Writer(Protocol):
    """The part of ``sinks.writer.RowWriter`` used here."""

    def insert(
        self, table: str, columns: tuple[str, ...], rows: Sequence[Row | WrittenRow], token: str
    ) -> None:
        """Insert as one block, once per token."""

    def count_rows(
        self, table: str, src_broker: str, src_partition: int, from_offset: int, to_offset: int
    ) -> int:
        """Rows of a source range."""

    def find_policy(self, version: str) -> str | None:
        """A kept policy as JSON."""

    def find_learnt_table(self, version: str) -> LearntTable | None:
        """A stored learnt table."""

    def touch_labels(self) -> list[TouchLabel]:
        """Labels of the touches that name a campaign."""

    def click_cost_days(self) -> list[tuple[str, str, date, int]]:
        """(site, network, day, hits) of days on which clicks said what they cost."""

    def click_costs(self, site: str, ad_network: str, day: date) -> tuple[list[LiveFigure], list[date]]:
        """What the clicks of a day cost, and later days on which some of them came again."""

    def click_visitors(self, clicks: Sequence[str]) -> list[tuple[str, str, str, str, int]]:
        """(site, click parameter, click id, visitor, when that was heard)."""

    def hits_of_visitors(
        self, visitors: Sequence[tuple[str, str]], but_from: Place = NOWHERE
    ) -> Sequence[tuple[Any, ...]]:
        """The stored hits of visitors (``streams.recalling``)."""

    def rows_that_stand(
        self, table: str, starts: Sequence[tuple[int, str]], but_from: Place
    ) -> Sequence[Row]:
        """What stands of sessions or touchpoints (``streams.standing``)."""

    def deliveries_after(
        self, of: tuple[str, str], place: tuple[int, str, int, int], limit: int, but_from: Place = NOWHERE
    ) -> Sequence[StoredDelivery]:
        """The next stored deliveries of a site (``streams.deal_remap``)."""


Send = Callable[[str, bytes, bytes], Awaitable[None]]
"""(topic, key, value): returns when the broker has it. Raises ``Transient`` when the same call may work later."""


@dataclass(frozen=True, slots=True)
class Ownership:
    """One partition in this worker's hands. ``broker`` is the cluster id of the log it reads."""

    broker: str
    fence: Fence
    journal: Journal
    writer: Writer
    send: Send

    @property
    def partition(self) -> int:
        """Its number."""
        return self.fence.partition

    def journal_done(self, broker: str, offset: int) -> int:
        """For a commit that moves the fence to ``offset`` of ``broker``: the last journal entry that is done then."""
        return self.journal.done_with(offset if broker == self.broker else 0)

    async def insert(self, rows: Mapping[str, Sequence[Row | WrittenRow]], token: str) -> None:
        """Each table's rows as one block, once per token, for as long as it takes. Tables without rows are left out.

        Raises ``Rejected`` when ClickHouse will never take the rows of a table: those of the others are there then.
        """

        async def insert(table: str, its_rows: Sequence[Row | WrittenRow]) -> None:
            call = partial(self.writer.insert, table, WRITTEN[table], its_rows, f"{table}:{token}")
            await patiently(lambda: asyncio.to_thread(call), f"clickhouse {table}")

        # All have ended before anything is said: nothing may still be on its way when the next step begins.
        ends = await asyncio.gather(
            *(insert(table, its_rows) for table, its_rows in rows.items() if its_rows), return_exceptions=True
        )
        errors = [end for end in ends if isinstance(end, BaseException)]
        for error in sorted(errors, key=lambda error: isinstance(error, Rejected)):
            raise error

    async def count_hits(self, broker: str, first: int, last: int) -> int:
        """Rows of ``hits`` from the offsets ``first`` to ``last`` of this partition."""
        call = partial(self.writer.count_rows, "hits", broker, self.partition, first, last)
        return await patiently(lambda: asyncio.to_thread(call), "clickhouse count")

    async def find_policy(self, version: str) -> bytes | None:
        """The policy of ``version`` as it stands in ClickHouse."""
        call = partial(self.writer.find_policy, version)
        found = await patiently(lambda: asyncio.to_thread(call), "clickhouse policy")
        return found.encode() if found is not None else None

    async def find_learnt_table(self, version: str) -> LearntTable | None:
        """The learnt table of ``version`` as it stands in ClickHouse."""
        call = partial(self.writer.find_learnt_table, version)
        return await patiently(lambda: asyncio.to_thread(call), "clickhouse learnt table")

    async def touch_labels(self) -> list[TouchLabel]:
        """Labels of all touches that name a campaign, as they stand in ClickHouse."""
        return await patiently(lambda: asyncio.to_thread(self.writer.touch_labels), "clickhouse touches")

    async def click_cost_days(self) -> list[tuple[str, str, date, int]]:
        """(site, network, day, hits) of days on which clicks said what they cost, as they stand in ClickHouse."""
        return await patiently(
            lambda: asyncio.to_thread(self.writer.click_cost_days), "clickhouse click costs"
        )

    async def click_costs(self, site: str, ad_network: str, day: date) -> tuple[list[LiveFigure], list[date]]:
        """What the clicks of a day cost, and later days on which some of them came again."""
        call = partial(self.writer.click_costs, site, ad_network, day)
        return await patiently(lambda: asyncio.to_thread(call), "clickhouse click costs")

    async def click_visitors(self, clicks: Sequence[str]) -> list[tuple[str, str, str, str, int]]:
        """(site, click parameter, click id, the visitor who landed with it first, when that was heard, epoch ms)."""
        call = partial(self.writer.click_visitors, clicks)
        return await patiently(lambda: asyncio.to_thread(call), "clickhouse clicks")

    async def publish_dead_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Tell Kafka of dead letters, and count them."""
        for letter in letters:
            send = partial(self.send, DEAD_LETTERS, letter.key, letter.message())
            await patiently(send, "dead letter")
            metrics.DEAD_LETTERED.labels(letter.reason).inc()
