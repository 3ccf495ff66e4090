"""Policies by version: a conversion keeps the policy that credited it until it is restated.

So an entry with cause ``late_touch`` never hides the effect of a changed policy, and a report changes only for a
reason that the ledger names.
"""

from __future__ import annotations

import time

import msgspec
import structlog

from attribution.policy import AttributionPolicy
from streams.fence import FenceStore
from streams.ownership import Ownership
from streams.topics import POLICIES_KEY

log = structlog.get_logger(__name__)


class PolicyBook:
    """The ``active`` policy, under which new conversions are credited, and every earlier one by its version."""

    def __init__(self, active: AttributionPolicy, store: FenceStore) -> None:
        self.active = active
        self.version = active.version
        self._store = store
        self._known = {self.version: active}

    async def keep(self, own: Ownership) -> None:
        """Make sure that the active policy is found by whoever corrects what was credited under it, and by readers."""
        packed = policy_bytes(self.active)
        await self._store.put_new_field(POLICIES_KEY, self.version, packed)
        row = (self.version, packed.decode(), int(time.time() * 1000))
        await own.insert({"policies": [row]}, self.version)

    async def load(self, versions: set[str]) -> None:
        """Have these at hand for ``find``."""
        for version in versions - self._known.keys():
            packed = await self._store.field(POLICIES_KEY, version)
            if packed is None:
                # Only of a store that was lost while its successor's journal still knew the conversion.
                log.warning("policy_unknown", policy=version, instead=self.version)
                continue
            self._known[version] = policy_from(packed)

    def find(self, version: str) -> tuple[str, AttributionPolicy]:
        """The policy of ``version`` with its version; the active one for "" and for one that nobody knows."""
        policy = self._known.get(version)
        return (version, policy) if policy is not None else (self.version, self.active)


def policy_bytes(policy: AttributionPolicy) -> bytes:
    """The stored form: JSON, every rule named, so that a later default does not change it."""
    return msgspec.json.encode(policy, order="deterministic")


policy_from = msgspec.json.Decoder(AttributionPolicy).decode
"""The policy that ``policy_bytes`` stored; rules that it does not name have their default."""
