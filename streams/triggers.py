"""What stitch and deals tell credit: a conversion was found, or the past of one has changed."""

from __future__ import annotations

import msgspec

from attribution.conversions import ConversionFact
from attribution.wire import Wire
from streams.topics import HITS, dirty_key


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A value of ``headwater.conversions.v1``. It stays in the dirty hash until credit has acted on it."""

    conversion_id: str
    site: str
    visitor_id: str
    hits_partition: int
    """Partition of ``wished_in`` where its wish stands until it is answered; -1 = nowhere, its sender sees to it
    (``streams.restate``)."""
    recorded_at: int
    """When the collector received the hit that caused it, epoch ms: the ledger's ``recorded_at``."""
    nonce: str
    """Broker epoch and offset of the causing batch: tells an older wish from a newer one."""
    fact: ConversionFact | None = None
    cause: str = ""
    """The ledger's ``cause`` when the facts of the conversion stay the same; "" = ``late_touch``."""
    policy: str = ""
    """Version of the policy to credit under from now on, with cause ``policy``; "" = that which it stands under."""
    wished_in: str = HITS
    """Topic of whose stage the wish is."""

    @property
    def dirty_key(self) -> str:
        """The hash that its wish stands in; "" = in none."""
        return dirty_key(self.hits_partition, self.wished_in) if self.hits_partition >= 0 else ""

    @property
    def field(self) -> bytes:
        """Its field in the dirty hash: one per fact, and one for each cause by which the past changes.

        A restatement has fields of its own: no other wish of the same conversion may take the place of it.
        """
        tail = f"fact|{self.fact.event_id}" if self.fact else self.cause or "touched"
        if self.policy:
            tail = f"{tail}|{self.policy}"
        return f"{self.conversion_id}|{self.site}|{self.visitor_id}|{tail}".encode()


def conversion_of(field: bytes) -> bytes:
    """The conversion id that ``field`` (as ``Trigger.field``) names: hex digits, the key of its messages."""
    return field.partition(b"|")[0]


_WIRE = Wire(Trigger)
encode_trigger, decode_triggers = _WIRE.encode_one, _WIRE.decode
