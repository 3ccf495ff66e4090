"""Stored deliveries read once more by the mapping of today, as values: what their objects are then.

A mapping says which of a sender's fields, objects and events are what. Facts that were told under a wrong one stay in
the registers, also where the right one says nothing. So objects are not corrected but made again: from all that was
ever delivered of them, as if the mapping had been right from the first day (decision 0035).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence

import msgspec

from attribution.deals.adapters import VERSIONS, AdapterRules
from attribution.deals.delivery import Delivery
from attribution.deals.facts import ObjectKey, ObjectState, told
from sinks.deliveries import StoredDelivery
from streams.deal_batch import Outcome, read_delivery

FOREVER_MS = 7_258_118_400_000
_MARK = b'{"remap_id":'


class Remap(msgspec.Struct, frozen=True):
    """What the deals stage is asked for, as a record of its topic: make a site's objects again."""

    remap_id: str
    site: str
    recorded_at: int
    """When it was asked for, epoch milliseconds, UTC: what it changes is dated so."""
    source: str = ""
    """Only objects of this sender; "" = of all."""
    since: int = 0
    until: int = FOREVER_MS
    """Only objects of which something arrived in ``[since, until)``; made again from all that was ever delivered."""

    @property
    def is_whole(self) -> bool:
        """All objects are made again, so what nothing tells of (any more) is gone."""
        return self.since <= 0 and self.until >= FOREVER_MS


_remap_of = msgspec.json.Decoder(Remap).decode


def encode_remap(remap: Remap) -> bytes:
    """The record."""
    return msgspec.json.encode(remap)


def remap_in(value: bytes) -> Remap | None:
    """The request that a record is; None = it is something else."""
    if not value.startswith(_MARK):
        return None
    try:
        return _remap_of(value)
    except msgspec.DecodeError:
        return None


def mapping_version(senders: AdapterRules) -> str:
    """Ten hex digits that change when the same payloads give other facts."""
    said = msgspec.json.encode((senders, sorted(VERSIONS.items())), order="deterministic")
    return hashlib.blake2b(said, digest_size=5).hexdigest()


class Remapped:
    """Deliveries of one site, read as they come page by page."""

    def __init__(self, remap: Remap, senders: AdapterRules) -> None:
        self._remap = remap
        self._senders = senders
        self.states: dict[ObjectKey, ObjectState] = {}
        """Objects as all that was delivered of them adds up."""
        self.named: set[ObjectKey] = set()
        """Those of which something arrived in the period."""
        self.deliveries = 0
        self.settled: list[StoredDelivery] = []
        """Deliveries that could not be read when they came, and can be now."""
        self.unreadable = 0
        """Those that still cannot be."""

    def take(self, page: Sequence[StoredDelivery]) -> None:
        """Read some more."""
        for row in page:
            one = read_delivery(delivery_of(row), self._senders)
            self.deliveries += 1
            if one.outcome is Outcome.unreadable:
                self.unreadable += 1
            elif row.outcome == Outcome.unreadable:
                self.settled.append(row)
            elif row.outcome == Outcome.repeated and one.outcome is Outcome.read:
                one.outcome = Outcome.repeated
            if one.tells:
                is_asked_for = self._remap.since <= row.received_at < self._remap.until
                for fact in one.mapped.facts:
                    self.states[fact.key] = told(self.states.get(fact.key), fact)
                    if is_asked_for:
                        self.named.add(fact.key)

    def over(self, known: Mapping[ObjectKey, ObjectState]) -> dict[ObjectKey, ObjectState]:
        """``known``, the site's objects, with those in their place that were made again."""
        remap = self._remap
        found = dict(known)
        if remap.is_whole:
            found = {key: state for key, state in known.items() if remap.source not in ("", key.source)}
            return found | self.states
        return found | {key: self.states[key] for key in self.named}


def changed_between(
    before: Mapping[ObjectKey, ObjectState], after: Mapping[ObjectKey, ObjectState]
) -> list[ObjectKey]:
    """Objects that came, went or say something else, in order."""
    return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))


def delivery_of(row: StoredDelivery) -> Delivery:
    """As the collector heard it. Which of its keys are names of one event is not stored: each counts as one."""
    return Delivery(
        site=row.site,
        source=row.source,
        scheme=row.scheme,
        keys=[[key] for key in row.keys],
        received_at=row.received_at,
        headers=json.loads(row.headers),
        body=base64.b64decode(row.body_base64),
        is_read=not row.is_body_foreign,
    )
