"""Kafka records as values, and the contiguous batches that stages work on."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record of one partition. ``timestamp`` is the broker's or producer's, epoch ms."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes


class Batch(msgspec.Struct, frozen=True):
    """A contiguous offset range ``[first, last]`` of one partition under one broker epoch."""

    topic: str
    partition: int
    broker: str
    records: list[Record]

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset

    @property
    def last(self) -> int:
        """Offset of the last record."""
        return self.records[-1].offset


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[Record]).decode


def pack_records(records: list[Record]) -> bytes:
    """The records as bytes, for a broker that forgets them (see docs/delivery.md)."""
    return _pack(records)


def unpack_records(data: bytes) -> list[Record]:
    """The reverse of ``pack_records``."""
    return _unpack(data)
