"""Learnt models in the stream: new conversions are credited by the table that is active, old ones keep theirs."""

from __future__ import annotations

import random
from typing import Any

from redis.asyncio import Redis
from stream_crashes import Faults
from stream_house import House, settled
from stream_worlds import T0, URLS, assert_books_balance, assert_equals_oracle, learnt_table

from attribution.hit import Hit, encode_envelope
from attribution.learnt.applied import with_learnt
from attribution.learnt.tables import MARKOV, LearntTable
from attribution.oracle import oracle
from attribution.policy import MINUTE_MS, AttributionPolicy
from sinks.learnt import write_table
from streams.learnt import LearntBook, activate_tables, keep_tables
from streams.topics import CONVERSIONS, HITS, LEARNT_ACTIVE_KEY, LEARNT_TABLES_KEY

POLICY = AttributionPolicy(models=("linear",))
FIRST = learnt_table(MARKOV, Paid_Search=70, Email=30)
SECOND = learnt_table(MARKOV, Paid_Search=10, Email=90)
EMAIL, PAID = URLS[1], URLS[2]


def hit(name: str, at: int, url: str = "") -> Hit:
    """A page view of ``url``, or a purchase; each name is a visitor's of its own up to the first dot."""
    return Hit(
        event_id=name,
        site="s",
        visitor_id=name.partition(".")[0],
        occurred_at=at,
        received_at=at,
        event="page_view" if url else "purchase",
        url=url,
        value=None if url else "10.00",
        currency="" if url else "USD",
    )


def journey(visitor: str, at: int) -> list[Hit]:
    """By e-mail, by a paid click, bought."""
    return [
        hit(f"{visitor}.1", at, EMAIL),
        hit(f"{visitor}.2", at + 60 * MINUTE_MS, PAID),
        hit(f"{visitor}.3", at + 61 * MINUTE_MS),
    ]


async def hear(house: House, *hits: Hit) -> None:
    """Let everything be processed that follows from ``hits``."""
    for one in hits:
        house.append(HITS, one.visitor_id.encode(), encode_envelope([one]))
    while not await settled(house, random.Random(0)):
        pass
    assert_books_balance(house.writer)


async def learn(house: House, table: LearntTable) -> None:
    """Store and activate; the workers look."""
    await keep_tables(house.redis, [table])
    await activate_tables(house.redis, [table])
    for (topic, _), worker in house.workers.items():
        if topic == CONVERSIONS:
            await worker.stage._policies._learnt.look()


def standing(house: House, visitor: str, model: str) -> dict[str, int]:
    """Cents by channel of what a visitor bought."""
    sums: dict[str, int] = {}
    for row in house.writer.dicts("credits"):
        if row["visitor_id"] == visitor and row["model"] == model:
            sums[row["channel"]] = sums.get(row["channel"], 0) + round(float(row["amount"]) * 100)
    return {channel: amount for channel, amount in sums.items() if amount}


def policies_of(house: House, visitor: str) -> set[str]:
    return {row["policy_version"] for row in house.writer.dicts("credits") if row["visitor_id"] == visitor}


async def a_house(redis: Redis) -> House:
    await redis.flushdb()
    return House(redis, POLICY, Faults([]), "durable", random.Random(0))


async def test_a_conversion_keeps_the_table_that_credited_it(empty_valkey: str) -> None:
    """None, then one table, then another; and late touches for all three, by workers that start anew."""
    async with Redis.from_url(empty_valkey) as redis:
        house = await a_house(redis)
        await hear(house, *journey("none", T0))
        assert standing(house, "none", MARKOV) == {}
        await learn(house, FIRST)
        await hear(house, *journey("first", T0))
        assert standing(house, "first", MARKOV) == {"Email": 300, "Paid Search": 700}
        await learn(house, SECOND)
        await hear(house, *journey("second", T0))
        assert standing(house, "second", MARKOV) == {"Email": 900, "Paid Search": 100}
        for _ in range(2):
            late = [hit(f"{name}.late", T0 - 60 * MINUTE_MS, PAID) for name in ("none", "first", "second")]
            await hear(house, *late)
            house.all_die()
        assert standing(house, "none", MARKOV) == {}
        assert standing(house, "none", "linear") == {"Email": 333, "Paid Search": 667}
        assert standing(house, "first", MARKOV) == {"Email": 300, "Paid Search": 700}
        assert standing(house, "second", MARKOV) == {"Email": 900, "Paid Search": 100}
        versions = [with_learnt(POLICY, {MARKOV: table.version}).version for table in (FIRST, SECOND)]
        assert policies_of(house, "none") == {POLICY.version}
        assert policies_of(house, "first") == {versions[0]}
        assert policies_of(house, "second") == {versions[1]}
        kept = {row["version"] for row in house.writer.dicts("policies")}
        assert kept == {POLICY.version, *versions}


async def test_a_table_that_redis_has_lost_is_found_in_clickhouse(empty_valkey: str) -> None:
    """Active no more, and gone: the conversion that it credited keeps it."""
    async with Redis.from_url(empty_valkey) as redis:
        house = await a_house(redis)
        await learn(house, FIRST)
        await hear(house, *journey("first", T0))
        write_table(house.writer, FIRST)
        await redis.delete(LEARNT_TABLES_KEY, LEARNT_ACTIVE_KEY)
        house.all_die()
        await hear(house, *journey("none", T0), hit("first.late", T0 - 60 * MINUTE_MS, URLS[3]))
        assert standing(house, "none", MARKOV) == {}
        # The younger channel weighs the average of 70 and 30.
        assert standing(house, "first", MARKOV) == {"Paid Social": 333, "Email": 200, "Paid Search": 467}
        assert set(await redis.hgetall(LEARNT_TABLES_KEY)) == {FIRST.version.encode()}


async def test_the_stream_under_a_table_equals_the_oracle_under_it(empty_valkey: str) -> None:
    """The oracle is given the same frozen table."""
    async with Redis.from_url(empty_valkey) as redis:
        house = await a_house(redis)
        await learn(house, FIRST)
        hits = [*journey("a", T0), *journey("b", T0 + MINUTE_MS), hit("b.0", T0 - MINUTE_MS, URLS[3])]
        await hear(house, *hits)
        policy = with_learnt(POLICY, {MARKOV: FIRST.version})
        assert_equals_oracle(house.writer, oracle(hits, policy, "USD", {FIRST.version: FIRST}))


async def test_a_table_that_cannot_be_had_changes_nothing(empty_valkey: str) -> None:
    """Active without being there, or with other content: workers go on as before."""
    async with Redis.from_url(empty_valkey) as redis:
        house = await a_house(redis)
        await learn(house, FIRST)
        book = LearntBook(house.fences)
        await book.look()
        for bad in (b"", SECOND.to_bytes()):
            wrong: dict[str, Any] = {MARKOV: "0123456789"}
            if bad:
                await redis.hset(LEARNT_TABLES_KEY, "0123456789", bad)
            await redis.hset(LEARNT_ACTIVE_KEY, mapping=wrong)
            await book.look()
            assert book.active == {MARKOV: FIRST.version}
        await redis.hset(LEARNT_ACTIVE_KEY, mapping={MARKOV: FIRST.version, "of a later version": "x"})
        await LearntBook(house.fences).look()
        assert book.active == {MARKOV: FIRST.version}
