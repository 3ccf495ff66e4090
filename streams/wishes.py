"""Wishes: triggers that stand in a partition's dirty hash until credit has acted on them.

Whoever finds that a conversion has to be looked at writes the trigger there, in one step with what it follows from, and
sends it afterwards. What gets lost on the way is sent again: at every take-over, and when credit does not answer.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from attribution.errors import Transient
from streams.envelopes import envelopes
from streams.ownership import Ownership
from streams.topics import CONVERSIONS, dirty_key, partition_of
from streams.triggers import conversion_of
from streams.vitals import CALL_SECONDS, Calling

log = structlog.get_logger(__name__)

RESEND_AFTER_SECONDS = 15.0
"""A trigger whose conversion is still dirty after this is sent again (the broker may have forgotten it)."""
RESEND_AT_MOST = 1_000
"""Triggers sent again at once while the owner works: if credit is only slow, repetitions must not swamp it."""


class Wishes:
    """The dirty hash of one owned partition. ``partitions``: how many the conversions have."""

    def __init__(self, own: Ownership, partitions: int) -> None:
        self._own = own
        self._partitions = partitions
        self._key = dirty_key(own.partition, own.fence.topic)
        self._sent: dict[bytes, tuple[bytes, float]] = {}

    async def send(self, dirty: dict[bytes, bytes]) -> None:
        """Triggers by field, as they stand in the hash: one envelope for each partition of conversions."""
        now = time.monotonic()
        by_partition: dict[int, tuple[bytes, list[bytes]]] = {}
        for field, value in dirty.items():
            self._sent[field] = (value, now)
            key = conversion_of(field)
            partition = partition_of(key.decode(), self._partitions)
            by_partition.setdefault(partition, (key, []))[1].append(value)
        await asyncio.gather(
            *(
                self._try_send(key, value)
                for key, values in by_partition.values()
                for value in envelopes(values)
            )
        )

    async def resend(self, older_than: float) -> None:
        """Send again what has been dirty for so many seconds; 0 = everything."""
        dirty = await self._own.fence.store.fields(self._key)
        now = time.monotonic()
        again: dict[bytes, bytes] = {}
        still: dict[bytes, tuple[bytes, float]] = {}
        for field, value in dirty.items():
            sent_value, sent_at = self._sent.get(field, (b"", 0.0))
            is_overdue = sent_value == value and now - sent_at >= older_than and len(again) < RESEND_AT_MOST
            if older_than == 0.0 or is_overdue:
                again[field] = value
            else:
                still[field] = (value, sent_at if sent_value == value else now)
        self._sent = still
        if again:
            log.info("triggers_sent_again", partition=self._own.partition, count=len(again))
            await self.send(again)

    async def _try_send(self, key: bytes, value: bytes) -> None:
        """Best effort: what is lost here is still dirty and will be sent again.

        Other errors end the worker: a producer that is beyond help would lose every trigger from now on.
        """
        try:
            with Calling("triggers", CALL_SECONDS):
                await self._own.send(CONVERSIONS, key, value)
        except Transient as error:
            log.warning("triggers_not_sent", partition=self._own.partition, error=str(error))
