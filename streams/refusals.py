"""Rows that ClickHouse refuses for good: found out by halves, so that what comes with them does not have to wait.

A block is refused as a whole. Its parts (all rows of one visitor, or of one conversion) are then inserted in two
halves, each under a token of its own, and so on, until a part that is refused stands alone. Which blocks were refused
is kept in Redis before any of their halves is inserted: whoever makes the range again takes the same turns, also when
ClickHouse would by now take the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from attribution.errors import Rejected
from sinks.tables import WRITTEN
from streams.ownership import Ownership
from streams.rows import Row, WrittenRow
from streams.topics import refused_key

AnyRow = Row | WrittenRow
REFUSED = "refused_by_clickhouse"


class Refusals:
    """What was refused of the work under ``token``, which names immutable content."""

    def __init__(self, own: Ownership, topic: str, token: str, known: dict[str, str]) -> None:
        self._own = own
        self._key = refused_key(topic, own.partition)
        self._token = token
        self._known = known

    @classmethod
    async def find(cls, own: Ownership, topic: str, token: str, *, is_repeat: bool) -> Refusals:
        """What earlier attempts, maybe of other owners, found out; nothing when this is the first."""
        kept = await own.fence.store.fields(refused_key(topic, own.partition)) if is_repeat else {}
        start = f"{token}|".encode()
        known = {
            field[len(start) :].decode(): why.decode()
            for field, why in kept.items()
            if field.startswith(start)
        }
        return cls(own, topic, token, known)

    @staticmethod
    async def put_away(own: Ownership, topic: str) -> None:
        """Nothing is half done: what a crash left behind here is about nothing any more."""
        await own.fence.store.delete(refused_key(topic, own.partition))

    def __bool__(self) -> bool:
        return bool(self._known)

    async def insert(self, table: str, parts: Sequence[Sequence[AnyRow]], token: str) -> dict[int, str]:
        """Insert all parts that ClickHouse takes; the numbers of the others, and why it does not."""
        refused: dict[int, str] = {}
        await self._insert(table, parts, token, 0, len(parts), refused)
        return refused

    async def forget(self) -> None:
        """The work is done."""
        if self._known:
            await self._own.fence.store.delete(self._key)

    async def _insert(
        self,
        table: str,
        parts: Sequence[Sequence[AnyRow]],
        token: str,
        start: int,
        end: int,
        refused: dict[int, str],
    ) -> None:
        rows = [row for part in parts[start:end] for row in part]
        if not rows:
            return
        block = token if end - start == len(parts) else f"{token}:{start}-{end}"
        place = f"{table}:{block}"
        if place not in self._known:
            try:
                await self._own.insert({table: rows}, block)
            except Rejected as error:
                await self._own.fence.store.put_field(self._key, f"{self._token}|{place}", error.message)
                self._known[place] = error.message
            else:
                return
        if end - start == 1:
            refused[start] = f"{table}: {self._known[place]}"
            return
        middle = (start + end) // 2
        await self._insert(table, parts, token, start, middle, refused)
        await self._insert(table, parts, token, middle, end, refused)


def digest_of(numbers: Iterable[int]) -> str:
    """A name for a set of parts."""
    return hashlib.blake2b(repr(sorted(numbers)).encode(), digest_size=8).hexdigest()


def taken_back(table: str, rows: Iterable[AnyRow]) -> list[Row]:
    """The rows that cancel ``rows`` of a table with a ``sign``."""
    found = (list(msgspec.json.decode(row)) if isinstance(row, msgspec.Raw) else list(row) for row in rows)
    sign = WRITTEN[table].index("sign")
    return [(*row[:sign], -row[sign], *row[sign + 1 :]) for row in found]
