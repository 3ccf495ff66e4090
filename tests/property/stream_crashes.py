"""What dies in a house of stages: the points at which a process may be gone, and stores that have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stream_worlds import assert_books_balance

from sinks.memory import MemoryWriter
from sinks.tables import SPEND_COLUMNS
from streams.fence import FenceStore
from streams.journal_log import MemoryJournals

if TYPE_CHECKING:
    from stream_house import House

SPEND_NAMES = ("campaign", "ad_group", "ad")


class Crash(BaseException):
    """The process is gone: nothing may catch this but the test."""


class Faults:
    """Raises ``Crash`` at the drawn calls; each call to the outside is a point before and a point after."""

    def __init__(self, at: Sequence[int]) -> None:
        self._at = set(at)
        self.count = 0
        self.raised = 0

    def point(self) -> None:
        """One moment at which the process may die."""
        self.count += 1
        if self.count in self._at:
            self.raised += 1
            raise Crash


class CrashingFences(FenceStore):
    """Fences whose every script may be the last thing a worker does."""

    house: House

    async def run(self, script: Any, keys: list[Any], args: list[Any], what: str) -> Any:
        await self.house.meanwhile()
        self.house.faults.point()
        result = await super().run(script, keys, args, what)
        self.house.faults.point()
        return result


class CrashingJournals(MemoryJournals):
    """Journals that a worker may just have managed to write to, or just not."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house

    async def append(self, topic: str, partition: int, value: bytes) -> int:
        self._house.faults.point()
        offset = await super().append(topic, partition, value)
        self._house.faults.point()
        return offset


class CrashingWriter(MemoryWriter):
    """A writer that checks the books after each insert and may be the last thing a worker does."""

    faults: Faults

    def insert(self, table: str, columns: tuple[str, ...], rows: Sequence[Any], token: str) -> None:
        self.faults.point()
        super().insert(table, columns, rows, token)
        if table == "credits":
            assert_books_balance(self)
        if table == "spend":
            assert_spend_stands_once(self)
        self.faults.point()


def assert_spend_stands_once(writer: MemoryWriter) -> None:
    """What is taken back and what takes its place come at once: no figure is ever missing or there twice."""
    standing: Counter[tuple[Any, ...]] = Counter()
    for row in writer.dicts("spend"):
        thing = tuple(row[name] for name in SPEND_COLUMNS[:11] if name not in SPEND_NAMES)
        if row["level"] == "live":
            thing += (row["campaign"], row["currency"])
        standing[thing] += row["sign"]
    assert set(standing.values()) <= {0, 1}
