"""Learning's part of ClickHouse: journeys counted by sequence, and the tables of what was learnt from them.

Journeys are counted by ClickHouse, a slice of the visitors at a time, so that neither it nor the reader ever holds all
touchpoints. Every method blocks and raises ``Transient`` or ``Misconfigured``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client

from attribution.acquisition import DIRECT
from attribution.learnt.journeys import JourneyCounter
from attribution.learnt.tables import LearntTable
from sinks.checks import ask
from sinks.learnt_rows import rows_of
from sinks.memory import MemoryWriter
from sinks.tables import LEARNT_MODELS_COLUMNS
from sinks.writer import RowWriter

SLICE_ROWS = 1_000_000
"""About how many touchpoints ClickHouse brings into order at once."""
LONGEST = 100
"""Touchpoints of a journey that are learnt from: the last ones."""
QUERY_SECONDS = 600
LIMITS: dict[str, Any] = {
    "max_threads": 1,
    "max_execution_time": QUERY_SECONDS,
    "max_memory_usage": 2 << 30,
    "max_bytes_before_external_group_by": 512 << 20,
}
"""Settings of the learner's own connection: reports and inserts keep the other cores."""
_SEPARATOR = "\x1f"


class JourneyRange(msgspec.Struct, frozen=True):
    """Which journeys: those that ended in ``[from_ms, to_ms)``, epoch milliseconds."""

    from_ms: int
    to_ms: int
    lookbacks_ms: Mapping[str, int]
    """By conversion type that ends a journey; at least one."""
    site: str = ""
    """"" = all."""
    excluded_channels: tuple[str, ...] = ()
    """Their touches never count."""
    is_direct_alone: bool = False
    """Direct touches count only in journeys that have nothing else."""

    @property
    def longest_lookback_ms(self) -> int:
        """A journey is lost when nobody converted for so long."""
        return max(self.lookbacks_ms.values())

    @property
    def low_ms(self) -> int:
        """Nothing before this is read. Not before 1970, where ClickHouse's hours begin."""
        return max(0, self.from_ms - self.longest_lookback_ms)


class JourneyReader:
    """Reads journeys. ``client`` should be one of its own, with ``LIMITS``."""

    def __init__(self, client: Client, database: str, *, slice_rows: int = SLICE_ROWS) -> None:
        self._client = client
        self._database = database
        self._slice_rows = slice_rows

    def slices(self, wanted: JourneyRange) -> int:
        """Into how many slices of visitors ``read`` cuts the work."""
        window = {
            "low": wanted.low_ms,
            "high": wanted.to_ms + wanted.longest_lookback_ms,
            "site": wanted.site,
        }
        return 1 + int(self._ask("learnt_size", window)[0][0]) // self._slice_rows

    def read(
        self, wanted: JourneyRange, slices: int, tick: Callable[[], None] = lambda: None
    ) -> dict[str, JourneyCounter]:
        """Journeys by site, counted by sequence; ``tick`` is called after each slice."""
        types = sorted(wanted.lookbacks_ms)
        counters: dict[str, JourneyCounter] = {}
        for slice_ in range(slices):
            rows = self._ask(
                "learnt_journeys",
                {
                    "from": wanted.from_ms,
                    "to": wanted.to_ms,
                    "low": wanted.low_ms,
                    "lookback": wanted.longest_lookback_ms,
                    "types": types,
                    "lookbacks": [wanted.lookbacks_ms[type_] for type_ in types],
                    "excluded": list(wanted.excluded_channels),
                    "site": wanted.site,
                    "slices": slices,
                    "slice": slice_,
                    "longest": LONGEST,
                    "separator": _SEPARATOR,
                },
            )
            for site, channels, converted, lost in rows:
                counter = counters.setdefault(site, JourneyCounter())
                steps = channels.split(_SEPARATOR)
                if wanted.is_direct_alone:
                    steps = [step for step in steps if step != DIRECT.channel] or steps
                counter.add(steps, converted, lost)
            tick()
        return counters

    def _ask(self, query: str, parameters: dict[str, Any]) -> Any:
        return ask(self._client, self._database, query, parameters)


def write_table(writer: RowWriter | MemoryWriter, table: LearntTable) -> None:
    """One block under the table's version: all of it or nothing, and once however often it is learnt again."""
    writer.insert("learnt_models", LEARNT_MODELS_COLUMNS, rows_of(table), table.version)


def effects_of(client: Client, database: str, versions: Iterable[str]) -> list[dict[str, Any]]:
    """What the tables of ``versions`` say, a row for each site and channel, the largest share first."""
    names = (
        "model",
        "version",
        "site",
        "channel",
        "effect",
        "share",
        "low",
        "high",
        "error",
        "markov_order",
        "worth",
    )
    facts = ("from_at", "to_at", "journeys", "conversions", "learnt_at")
    rows = ask(client, database, "learnt_effects", {"versions": list(versions)})
    return [dict(zip((*names, *facts), row, strict=True)) for row in rows]
