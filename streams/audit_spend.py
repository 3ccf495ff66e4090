"""The self-audit's way through spend: what Redis says counts against its rows, and these against their roll-up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
from redis.asyncio import Redis

from attribution.spend.fact import MICROS
from attribution.spend.kept import KeptSpend, Labels, decode_kept
from attribution.spend.merging import counted
from sinks.audit import AuditReader, SpendSums
from streams.audit_axes import in_thread, told
from streams.audit_state import Difference
from streams.topics import spend_days_key, spend_key

DAYS = 50
"""Of one slice, about: what ``HSCAN`` gives at once."""
_TABLES = "tables"
_places_of = msgspec.json.Decoder(list[tuple[str, str, date]]).decode
_place_of = msgspec.json.Decoder(tuple[str, str, date]).decode


class SpendAxis:
    """Days of a partition, then the tables as a whole. Slice = partition:places as JSON, or ``tables``."""

    name = "spend"
    checks = ("spend", "signs_spend", "roll_up_spend")

    def __init__(self, reader: AuditReader, redis: Redis, partitions: int) -> None:
        self._reader = reader
        self._redis = redis
        self._partitions = partitions

    async def recent(self) -> list[str]:
        """None: what a report changes may be of any day."""
        return []

    async def next_slice(self, cursor: str) -> tuple[str, str]:
        """Partition by partition as ``HSCAN`` tells its days, the tables last. Cursor = partition:where it stands."""
        if cursor == _TABLES:
            return _TABLES, ""
        partition, _, at = (cursor or "0:0").partition(":")
        scanned: Any = await self._redis.hscan(spend_days_key(int(partition)), int(at), count=DAYS)
        behind, days = scanned
        following = f"{partition}:{behind}"
        if not behind:
            following = f"{int(partition) + 1}:0" if int(partition) + 1 < self._partitions else _TABLES
        places = sorted(_place_of(name) for name in days)
        return f"{partition}:{msgspec.json.encode(places).decode()}" if places else "", following

    async def compare(self, slice_: str) -> list[Difference]:
        """Redis first: what it says was decided before the rows are read, but for what is still in an outbox."""
        if slice_ == _TABLES:
            return told(await in_thread(self._reader.compare_spend), slice_)
        partition, _, packed = slice_.partition(":")
        places = _places_of(packed)
        stated: SpendSums = defaultdict(lambda: (Decimal(0), 0))
        for site, network, day in places:
            found: Any = await self._redis.hgetall(spend_key(int(partition), site, network, day))
            for labels, currency, cost in _standing(decode_kept(value) for value in found.values()):
                key = site, network, day, labels, currency
                amount, figures = stated[key]
                stated[key] = amount + cost, figures + 1
        rows = await in_thread(lambda: self._reader.spend_of(places))
        return [
            Difference("spend", slice_, _subject(key), _detail(rows.get(key), stated.get(key)))
            for key in sorted(stated.keys() | rows.keys())
            if rows.get(key, (Decimal(0), 0)) != stated.get(key, (Decimal(0), 0))
        ]


def _standing(kept: Iterable[KeptSpend]) -> Iterable[tuple[Labels, str, Decimal]]:
    """Labels, currency and cost of what counts of a day."""
    by_key = {one.fact.key: one for one in kept}
    for key, fact in counted({key: one.fact for key, one in by_key.items()}).items():
        yield by_key[key].labels, fact.currency, Decimal(fact.cost) / MICROS


def _subject(key: tuple[str, str, date, Labels, str]) -> str:
    site, network, day, labels, currency = key
    return f"{site} {network} {day} {' / '.join(labels)} {currency}"


def _detail(found: tuple[Decimal, int] | None, stated: tuple[Decimal, int] | None) -> str:
    amount, figures = found or (Decimal(0), 0)
    should, should_figures = stated or (Decimal(0), 0)
    return f"{amount:f} for {should:f}, {figures} figures for {should_figures}"
