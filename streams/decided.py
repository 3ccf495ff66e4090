"""Decisions in the journal: each is noted whole before its first effect, in parts that a broker takes."""

from __future__ import annotations

from collections.abc import Iterable

from streams.journal import PART_BYTES, Decided


def parts_of(owner: str, broker: str, next_offset: int, batch_id: str, body: bytes) -> list[Decided]:
    """``body`` as journal entries of at most ``PART_BYTES``."""
    parts = [body[start : start + PART_BYTES] for start in range(0, len(body), PART_BYTES)]
    return [
        Decided(owner, broker, next_offset, batch_id, number, len(parts), part)
        for number, part in enumerate(parts)
    ]


def bodies_of(noted: Iterable[Decided]) -> list[bytes]:
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
