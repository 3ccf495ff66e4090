"""A conversion keeps the policy that credited it, whatever policy its workers have later."""

from __future__ import annotations

import random

from redis.asyncio import Redis
from stream_crashes import Faults
from stream_house import House, settled
from stream_worlds import T0, URLS

from attribution.hit import Hit, encode_envelope
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy
from streams.topics import HITS

OLD = AttributionPolicy(conversion_lookbacks_ms={"purchase": 90 * DAY_MS}, models=("linear",))
NEW = AttributionPolicy(conversion_lookbacks_ms={"purchase": DAY_MS}, models=("linear", "last_touch"))


def hit(name: str, at: int, event: str = "page_view", url: str = URLS[1]) -> Hit:
    return Hit(
        event_id=name,
        site="s",
        visitor_id="v",
        occurred_at=at,
        received_at=at,
        event=event,
        url=url if event == "page_view" else "",
        value="10.00" if event == "purchase" else None,
        currency="USD" if event == "purchase" else "",
    )


async def hear(house: House, *hits: Hit) -> None:
    """Let everything be processed that follows from ``hits``."""
    for one in hits:
        house.append(HITS, one.visitor_id.encode(), encode_envelope([one]))
    while not await settled(house, random.Random(0)):
        pass


async def test_a_late_touch_is_credited_under_the_policy_of_its_conversion(empty_valkey: str) -> None:
    """Ten days old: it counts for the conversion of then, not for the one that is credited under the new policy."""
    async with Redis.from_url(empty_valkey) as redis:
        await redis.flushdb()
        house = House(redis, OLD, Faults([]), "durable", random.Random(0))
        await hear(house, hit("now", T0), hit("first", T0 + MINUTE_MS, "purchase"))
        house.all_die()
        house.policy = NEW
        await hear(house, hit("second", T0 + 2 * MINUTE_MS, "purchase"))
        await hear(house, hit("late", T0 - 10 * DAY_MS, url=URLS[3]))
        rows = house.writer.dicts("credits")
        by_conversion: dict[int, list[tuple[str, str, str]]] = {}
        for row in rows:
            entry = (row["model"], row["cause"], row["policy_version"])
            by_conversion.setdefault(row["converted_at"], []).append(entry)
        first, second = by_conversion[T0 + MINUTE_MS], by_conversion[T0 + 2 * MINUTE_MS]
        assert set(first) == {("linear", "conversion", OLD.version), ("linear", "late_touch", OLD.version)}
        assert set(second) == {(m, "conversion", NEW.version) for m in NEW.models}
        kept = {row["version"] for row in house.writer.dicts("policies")}
        assert kept == {OLD.version, NEW.version}
