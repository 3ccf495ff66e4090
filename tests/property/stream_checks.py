"""What must hold in a house of stages when all is quiet, whatever died meanwhile."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from attribution.hit import decode_envelope
from streams.tally import Tally, tally_of
from streams.topics import HITS, tallies_key, tally_key

if TYPE_CHECKING:
    from stream_house import House


async def tallies(redis: Redis, partition: int) -> list[Tally]:
    """Every offset range of a partition, the one that still grows included."""
    ranges = await redis.lrange(tallies_key(partition), 0, -1)
    last = await redis.get(tally_key(partition))
    return [tally_of(packed) for packed in [*ranges, last] if packed is not None]


def assert_robots_claims_are_kept(house: House) -> None:
    """What robots claim to have bought: a row for each time that the log has it, and none that nobody sent."""
    kept = Counter(
        (row["event_id"], row["conversion_type"], row["value"], row["src_partition"], row["src_offset"])
        for row in house.writer.dicts("dropped_conversions")
        if row["src_broker"] == house.broker
    )
    assert kept == Counter(
        (hit.event_id, hit.event, hit.value, partition, record.offset)
        for (topic, partition), log in house.logs.items()
        if topic == HITS
        for record in log
        for hit in decode_envelope(record.value)
        if hit.event in house.policy.conversion_lookbacks_ms and "bot" in hit.user_agent and not hit.restated
    )


def assert_tallies_equal_rows(house: House) -> None:
    """What the self-audit compares: every event once, every range as ClickHouse holds it, none left out."""
    hits = house.writer.dicts("hits")
    assert sum(tally.hits for ranges in house.tallies.values() for tally in ranges) == len(hits)
    for partition, ranges in house.tallies.items():
        for tally in ranges:
            assert tally.events == tally.hits + tally.drops + tally.dead_letters + tally.restated
            assert (tally.skipped, tally.repeated) == (0, 0)
            for table in ("hits", "sessions", "touchpoints"):
                assert getattr(tally, table) == house.writer.count_rows(
                    table, tally.broker, partition, tally.first, tally.next - 1
                )
            drops = [
                row["count"]
                for row in house.writer.dicts("drops")
                if (row["src_broker"], row["src_partition"]) == (tally.broker, partition)
                and tally.first <= row["src_offset"] < tally.next
            ]
            assert tally.drops == sum(drops)
