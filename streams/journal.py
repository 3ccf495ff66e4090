"""The journal: what the owner of a partition is about to do, written to a Kafka topic before its first effect.

Redis may be set back: by a power cut that takes the last seconds of its append-only file, by a fail-over, by a restored
copy. ClickHouse then holds rows of batches that Redis has never heard of. Whoever takes the partition over finds these
batches in the journal and makes them again: a range of hits with the same borders and rules, hence the same rows under
the same tokens; a decision of credit as it was decided.

One partition of the journal belongs to one partition of the topic it is about, so offsets tell who writes. A new owner
first writes ``Opened`` and reads everything before it. An owner whose entry does not land right behind its own last one
knows that somebody else has opened the journal, and stops before it has written any row. So every row in ClickHouse is
of a batch that the next owner finds, whatever Redis remembers (docs/decisions/0008-a-journal-beside-the-log.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import msgspec
import structlog

from attribution.errors import HeadwaterError
from streams.patience import patiently
from streams.topics import (
    CONVERSIONS,
    CONVERSIONS_JOURNAL,
    DEALS,
    DEALS_JOURNAL,
    HITS,
    HITS_JOURNAL,
    SPEND,
    SPEND_JOURNAL,
)

log = structlog.get_logger(__name__)

JOURNAL_OF = {
    HITS: HITS_JOURNAL,
    CONVERSIONS: CONVERSIONS_JOURNAL,
    SPEND: SPEND_JOURNAL,
    DEALS: DEALS_JOURNAL,
}
PART_BYTES = 512 * 1024
"""Largest part of a decision: a record must stay below the megabyte that brokers take."""


class JournalTaken(HeadwaterError):
    """Somebody else has opened this partition's journal: stop without writing."""


class JournalGone(HeadwaterError):
    """The journal does not reach back to where the store stands: nobody can say what is in ClickHouse."""


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """``owner`` has taken over, and claims ranges under ``version`` of its rules."""

    owner: str
    version: str = ""
    rules: bytes = b""

    @property
    def reaches(self) -> int:
        """Nothing of it needs to be done again."""
        return -1


class Claimed(msgspec.Struct, frozen=True, tag="claimed"):
    """A range of hits whose rows may reach ClickHouse from now on. ``broker`` is the cluster id of its log."""

    owner: str
    broker: str
    first: int
    last: int
    version: str

    @property
    def reaches(self) -> int:
        """The fence behind it."""
        return self.last + 1


class Decided(msgspec.Struct, frozen=True, tag="decided"):
    """One part of a decision (``streams.credit.Decision``, ``streams.spend_batch.SpendDecision``), whose rows may reach
    ClickHouse."""

    owner: str
    broker: str
    next: int
    """The fence behind it."""
    batch_id: str
    part: int
    parts: int
    body: bytes

    @property
    def reaches(self) -> int:
        """The fence behind it."""
        return self.next


Entry = Opened | Claimed | Decided


class Noted(NamedTuple):
    """An entry and its offset in the journal."""

    offset: int
    entry: Entry


class JournalLog(Protocol):
    """Where journals are kept: Kafka, or memory (``streams.journal_log``). Both raise ``Transient``."""

    async def append(self, topic: str, partition: int, value: bytes) -> int:
        """The offset of ``value``, once it is durable. It may stand there twice when the call was repeated."""

    async def read(self, topic: str, partition: int, first: int, end: int) -> list[tuple[int, bytes]]:
        """Offsets and values from ``first`` to before ``end``, all of which were appended; old ones may be gone."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


class Journal:
    """The journal of one partition of ``topic`` in the hands of ``owner``, a name that nobody else ever had."""

    def __init__(self, journals: JournalLog, topic: str, partition: int, owner: str) -> None:
        self._journals = journals
        self._topic = JOURNAL_OF[topic]
        self._partition = partition
        self.owner = owner
        self.rules: dict[str, bytes] = {}
        """Rules of earlier owners by version, as far back as the journal was read."""
        self._last = -1
        self._left: list[Noted] = []

    async def open(self, since: int, broker: str, offset: int, *, version: str, rules: bytes) -> None:
        """Take the journal over and read what earlier owners noted: see ``left`` and ``rules``.

        ``since`` is the last entry that the store knows to be done (-1 = none); ``offset`` is where its fence stands on
        ``broker``. Raises ``JournalGone``.
        """
        end = self._last = await self._append(Opened(self.owner, version, rules))
        if since >= end:
            log.warning("journal_begun_anew", topic=self._topic, partition=self._partition, since=since)
            since = -1
        noted = _valid(await self._read(max(since, 0), end)) if since + 1 < end else []
        if since >= 0 and since + 1 < end and (not noted or noted[0].offset > since + 1):
            raise JournalGone(
                f"{self._topic} {self._partition} no longer has what follows entry {since}, the last that Redis"
                " knows: Redis is older than that topic's retention. Restore Redis and ClickHouse together, or empty"
                " both."
            )
        for one in noted:
            if isinstance(one.entry, Opened):
                self.rules[one.entry.version] = one.entry.rules
            elif one.offset > since and one.entry.broker == broker and one.entry.reaches > offset:
                self._left.append(one)

    @property
    def left(self) -> list[Claimed | Decided]:
        """What earlier owners noted and the store does not know to be done, in the order in which it was noted."""
        return [one.entry for one in self._left if not isinstance(one.entry, Opened)]

    async def note(self, entry: Entry) -> None:
        """Returns when ``entry`` is durable and nobody else has written since. Raises ``JournalTaken``."""
        offset = await self._append(entry)
        if offset != self._last + 1:
            between = await self._read(self._last + 1, offset) if offset > self._last else []
            if len(between) != offset - self._last - 1 or any(
                one.entry.owner != self.owner for one in between
            ):
                raise JournalTaken(
                    f"{self._topic} {self._partition}: entry {offset} does not follow {self._last}"
                )
        self._last = offset

    def done_with(self, offset: int) -> int:
        """Everything before ``offset`` of the log is about to be done: the last entry that is done then, for good."""
        self._left = [one for one in self._left if one.entry.reaches > offset]
        return self._left[0].offset - 1 if self._left else self._last

    def all_done(self) -> int:
        """Nothing that earlier owners noted is left to do: the last entry that is done, for good."""
        self._left = []
        return self._last

    async def _append(self, entry: Entry) -> int:
        value = _encode(entry)
        return await patiently(
            lambda: self._journals.append(self._topic, self._partition, value), f"journal {self._topic}"
        )

    async def _read(self, first: int, end: int) -> list[Noted]:
        found = await patiently(
            lambda: self._journals.read(self._topic, self._partition, first, end), f"journal {self._topic}"
        )
        return [Noted(offset, _decode(value)) for offset, value in found]


def parts_of(owner: str, broker: str, next_offset: int, batch_id: str, body: bytes) -> list[Decided]:
    """The decision ``batch_id`` as entries of at most ``PART_BYTES``; ``next_offset``: the fence behind it."""
    parts = [body[start : start + PART_BYTES] for start in range(0, len(body), PART_BYTES)]
    return [
        Decided(owner, broker, next_offset, batch_id, number, len(parts), part)
        for number, part in enumerate(parts)
    ]


def whole_bodies(noted: Iterable[Decided]) -> list[bytes]:
    """The decisions that were noted completely, in order. An incomplete one has had no effect."""
    parts: dict[str, dict[int, bytes]] = {}
    wanted: dict[str, int] = {}
    for entry in noted:
        parts.setdefault(entry.batch_id, {})[entry.part] = entry.body
        wanted[entry.batch_id] = entry.parts
    return [
        b"".join(found[number] for number in range(wanted[batch_id]))
        for batch_id, found in parts.items()
        if len(found) == wanted[batch_id]
    ]


def _valid(noted: Iterable[Noted]) -> list[Noted]:
    """Entries whose writer still had the journal: each follows one of the same owner, or opens the journal."""
    found: list[Noted] = []
    before: Noted | None = None
    for one in noted:
        if isinstance(one.entry, Opened) or before is None or before.entry.owner == one.entry.owner:
            found.append(one)
        before = one
    return found
