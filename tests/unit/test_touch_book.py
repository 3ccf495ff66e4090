"""One look at the touches serves all partitions of a worker, and who waits for it is not stuck."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from attribution.spend.labels import TouchLabel
from streams.ownership import Ownership
from streams.touch_book import TouchBook
from streams.vitals import Vitals, watched_as

TOUCH = TouchLabel("s", "google_ads", "Paid Search", "google", "cpc", "brand", 3)


class Asked:
    """An ownership that is asked for touches, and answers when it is let."""

    def __init__(self) -> None:
        self.times = 0
        self.may_answer = asyncio.Event()

    async def touch_labels(self) -> list[TouchLabel]:
        self.times += 1
        await self.may_answer.wait()
        return [TOUCH]


async def test_partitions_share_a_look_and_who_waits_for_it_is_not_stuck() -> None:
    now = 0.0
    own, book = Asked(), TouchBook()
    vitals = [Vitals(name, lambda: now) for name in ("first", "second")]

    async def look(mine: Vitals) -> None:
        watched_as(mine)
        mine.does("idle")
        await book.look(cast("Ownership", own))

    looks = [asyncio.create_task(look(mine)) for mine in vitals]
    while own.times == 0:
        await asyncio.sleep(0)
    now = 1_000.0
    assert vitals[1].finding().seconds == 0.0
    own.may_answer.set()
    await asyncio.gather(*looks)
    assert own.times == 1
    assert book.of("s", "google_ads").of_id("brand") == TOUCH.labels
    assert book.of("s", "meta_ads").of_id("brand") is None


async def test_a_look_that_fails_or_is_cancelled_bars_nobody_else() -> None:
    own, book = Asked(), TouchBook(every_seconds=0.0)
    first: asyncio.Task[Any] = asyncio.create_task(book.look(cast("Ownership", own)))
    while own.times == 0:
        await asyncio.sleep(0)
    first.cancel()
    own.may_answer.set()
    await asyncio.wait({first})
    await book.look(cast("Ownership", own))
    await book.look(cast("Ownership", own))
    assert own.times == 3
