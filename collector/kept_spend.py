"""What is known of spend already: what the spend stage keeps in Redis, and what this collector took a moment ago."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from attribution.errors import Rejected
from attribution.spend.fact import SpendFact
from attribution.spend.kept import decode_kept
from attribution.spend.merging import Facts, newest
from attribution.spend.report import partition_key
from collector.reasons import Refusal
from streams.topics import partition_of, spend_key

_TIMEOUT_SECONDS = 2.0
RECENT_SECONDS = 600.0
"""How long what was taken here is remembered: longer than the stage needs, unless it stands still."""
MAX_RECENT = 20_000
"""Facts remembered at most, the latest: about a kilobyte each."""

log = structlog.get_logger("collector.spend")


class KeptSpend:
    """Reads the newest known facts. Connects when first asked."""

    def __init__(self, url: str, partitions: int) -> None:
        self._redis = Redis.from_url(
            url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._partitions = partitions

    async def read(self, site: str, facts: Iterable[SpendFact]) -> Facts:
        """The newest known fact of each key of ``facts``, where there is one.

        Raises ``Rejected('state_away')`` when Redis does not answer.
        """
        wanted: defaultdict[tuple[str, date], set[str]] = defaultdict(set)
        for fact in facts:
            wanted[fact.ad_network, fact.day].add(fact.key)
        places = [(place, sorted(keys)) for place, keys in wanted.items()]
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for (network, day), keys in places:
                    partition = partition_of(partition_key(site, network), self._partitions)
                    pipeline.hmget(spend_key(partition, site, network, day), keys)
                answers = await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("spend_state_away", error=repr(error))
            raise Rejected(
                Refusal.state_away, "What is known of spend cannot be read now; send it again later."
            ) from error
        return {
            key: known
            for (_, keys), values in zip(places, answers, strict=True)
            for key, value in zip(keys, values, strict=True)
            if value is not None and (known := _decoded(value)) is not None
        }

    async def close(self) -> None:
        """Let go of the connection."""
        await self._redis.aclose()


def _decoded(value: bytes) -> SpendFact | None:
    try:
        return decode_kept(value).fact
    except msgspec.DecodeError as error:
        # Written by a version that this one does not know: it only makes a fact count as new.
        log.warning("spend_state_unreadable", error=str(error))
        return None


class RecentSpend:
    """What this collector took within ``RECENT_SECONDS``, which the stage may not have reached yet."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str, str], tuple[float, SpendFact]] = {}
        """By site and key, in the order in which they were taken."""

    def over(self, site: str, known: Facts, keys: Iterable[str], now: float) -> Facts:
        """``known`` with what was taken here in its place where that is newer. ``now``: seconds of a steady clock."""
        recent = (self._facts.get((site, key)) for key in keys)
        return newest(known, (fact for at, fact in filter(None, recent) if now - at <= RECENT_SECONDS))

    def add(self, site: str, facts: Iterable[SpendFact], now: float) -> None:
        """They are durable."""
        for fact in facts:
            before = self._facts.pop((site, fact.key), None)
            standing = newest({} if before is None else {fact.key: before[1]}, [fact])
            self._facts[site, fact.key] = now, standing[fact.key]
        while self._facts:
            oldest = next(iter(self._facts))
            if len(self._facts) <= MAX_RECENT and now - self._facts[oldest][0] <= RECENT_SECONDS:
                break
            del self._facts[oldest]
