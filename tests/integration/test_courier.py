"""The courier: parcels in order, never too many, forgotten only when they were seen to be answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from attribution.errors import Transient
from streams import courier as courier_module
from streams.courier import Courier, Parcel, Sent
from streams.topics import CONVERSIONS, HITS, fence_key, outbox_key


class FakeLog:
    """A broker that can die, refuse, and be succeeded by another."""

    def __init__(self) -> None:
        self.name = "hw-mem-1"
        self.records: list[Sent] = []
        self.refuses = 0

    async def send(self, record: Sent) -> tuple[str, int]:
        if self.refuses:
            self.refuses -= 1
            raise Transient("away")
        self.records.append(record)
        return self.name, len(self.records) - 1

    async def broker(self) -> str:
        return self.name

    def die(self) -> None:
        self.name, self.records = "hw-mem-2", []


class House:
    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(url)
        self.log = FakeLog()
        self.answered: list[str] = []
        self.courier = Courier(self.log, self.redis, self._note, most=3)

    async def _note(self, parcel: Parcel) -> None:
        self.answered.append(parcel.cursor)

    async def passes(self, offset: int, topic: str = HITS) -> None:
        """The worker's fence stands there."""
        await self.redis.hset(fence_key(topic, 0), mapping={"broker": self.log.name, "offset": offset})


@pytest.fixture
async def house(empty_valkey: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(courier_module, "LOOK_AT_BROKER_SECONDS", 0.0)
    monkeypatch.setattr(courier_module, "_PAUSE_SECONDS", 0.01)
    house = House(empty_valkey)
    yield house
    await house.redis.aclose()


def parcel(cursor: str, size: int = 2, topic: str = HITS) -> Parcel:
    return Parcel([Sent(topic, 0, b"k", cursor.encode())], size, cursor)


async def until_waits(task: asyncio.Task[None]) -> None:
    done, _ = await asyncio.wait({task}, timeout=0.3)
    assert not done


async def test_no_more_than_so_many_are_under_way_and_each_is_answered_in_its_turn(house: House) -> None:
    await house.courier.send(parcel("a"))
    second = asyncio.create_task(house.courier.send(parcel("b")))
    await until_waits(second)
    assert [record.value for record in house.log.records] == [b"a"]
    await house.passes(1)
    await asyncio.wait_for(second, 5)
    assert house.answered == ["a"]
    settled = asyncio.create_task(house.courier.settle())
    await until_waits(settled)
    await house.passes(2)
    await asyncio.wait_for(settled, 5)
    assert house.answered == ["a", "b"]


async def test_rows_that_are_still_in_an_outbox_are_not_in_the_ledger(house: House) -> None:
    await house.courier.send(parcel("a", topic=CONVERSIONS))
    await house.redis.hset(outbox_key(0), "hw-mem-1:00000000000000000000-00000000000000000003:owner", b"rows")
    await house.redis.hset(outbox_key(0), "hw-mem-0:00000000000000000000-00000000000000000003:owner", b"rows")
    await house.passes(4, CONVERSIONS)
    settled = asyncio.create_task(house.courier.settle())
    await until_waits(settled)
    await house.redis.hdel(outbox_key(0), "hw-mem-1:00000000000000000000-00000000000000000003:owner")
    await asyncio.wait_for(settled, 5)


async def test_what_died_with_a_broker_is_sent_to_the_next_one(house: House) -> None:
    await house.courier.send(parcel("a", 1))
    await house.courier.send(parcel("b", 1))
    house.log.die()
    settled = asyncio.create_task(house.courier.settle())
    await until_waits(settled)
    assert [record.value for record in house.log.records] == [b"a", b"b"]
    await house.passes(2)
    await asyncio.wait_for(settled, 5)
    assert house.answered == ["a", "b"]


async def test_a_broker_that_is_away_is_waited_for(house: House) -> None:
    house.log.refuses = 3
    await asyncio.wait_for(house.courier.send(parcel("a")), 5)
    assert [record.value for record in house.log.records] == [b"a"]


async def test_a_parcel_without_records_is_answered_after_those_before_it(house: House) -> None:
    await house.courier.send(parcel("a"))
    await house.courier.send(Parcel((), 0, "end"))
    settled = asyncio.create_task(house.courier.settle())
    await until_waits(settled)
    assert house.answered == []
    await house.passes(1)
    await asyncio.wait_for(settled, 5)
    assert house.answered == ["a", "end"]
