"""Inputs that could not be processed: kept with reason and bytes, replayable."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from streams.records import Batch, Record

TRANSFORM_VERSION = "3"
"""Part of every insert token and dead letter: raise it whenever the same input gives other rows."""


MAX_ATTEMPTS = 65_535
"""What the column holds: a range may be tried for days."""
MAX_MESSAGE_BYTES = 900_000
"""Brokers take a megabyte. The bytes of a letter beyond that are in ClickHouse only."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One refused input. ``payload`` are its bytes as they came; ``recorded_at`` epoch ms."""

    topic: str
    broker: str
    partition: int
    offset: int
    index: int
    """Position within its envelope; -1 when the whole value could not be read."""
    reason: str
    detail: str
    key: bytes
    payload: bytes
    attempts: int
    recorded_at: int

    @classmethod
    def of(
        cls,
        batch: Batch,
        record: Record,
        index: int,
        reason: str,
        detail: str,
        payload: bytes,
        attempts: int = 1,
    ) -> DeadLetter:
        """The letter for part ``index`` of ``record``, which could not be processed as a part of ``batch``."""
        return cls(
            topic=batch.topic,
            broker=batch.broker,
            partition=batch.partition,
            offset=record.offset,
            index=index,
            reason=reason,
            detail=detail[:500],
            key=record.key,
            payload=payload,
            attempts=min(attempts, MAX_ATTEMPTS),
            recorded_at=record.timestamp,
        )

    @property
    def dead_letter_id(self) -> str:
        """32 hex digits, the same for the same input."""
        return letter_id(self.topic, self.broker, self.partition, self.offset, self.index)

    def row(self) -> tuple[Any, ...]:
        """A row of ``dead_letters``."""
        return (
            self.dead_letter_id,
            self.topic,
            self.broker,
            self.partition,
            self.offset,
            self.reason,
            self.detail,
            base64.b64encode(self.key).decode(),
            base64.b64encode(self.payload).decode(),
            self.attempts,
            TRANSFORM_VERSION,
            self.recorded_at,
        )

    def message(self) -> bytes:
        """A value of ``headwater.dead-letters.v1``: the same facts as JSON, bytes in base64.

        A payload that would make it larger than ``MAX_MESSAGE_BYTES`` is left out; ``payload_bytes`` says its length.
        """
        facts = {**msgspec.structs.asdict(self), "dead_letter_id": self.dead_letter_id}
        message = msgspec.json.encode(facts)
        if len(message) <= MAX_MESSAGE_BYTES:
            return message
        return msgspec.json.encode({**facts, "payload": b"", "payload_bytes": len(self.payload)})


def letter_id(topic: str, broker: str, partition: int, offset: int, index: int) -> str:
    """``DeadLetter.dead_letter_id`` of the input that stands there."""
    text = f"{topic}\0{broker}\0{partition}\0{offset}\0{index}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
