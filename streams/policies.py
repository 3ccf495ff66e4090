"""Policies by version: a conversion keeps the policy that credited it until it is restated.

So an entry with cause ``late_touch`` never hides the effect of a changed policy, and a report changes only for a
reason that the ledger names. Tables of learnt models are part of a policy by their versions, so they are kept alike.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec
import structlog

from attribution.learnt.applied import Models, models_of, with_learnt
from attribution.policy import AttributionPolicy
from streams.fence import FenceStore
from streams.learnt import LearntBook
from streams.ownership import Ownership
from streams.topics import POLICIES_KEY

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class KeptPolicy:
    """A policy with what it takes to credit under it. Each version is one object: compared by identity."""

    version: str
    policy: AttributionPolicy
    models: Models


class PolicyBook:
    """The ``active`` policy, under which new conversions are credited, and every earlier one by its version.

    The active one is ``base``, what this worker's settings say, with the learnt models that are active now.
    """

    def __init__(self, base: AttributionPolicy, store: FenceStore, learnt: LearntBook) -> None:
        self._base = base
        self._store = store
        self._learnt = learnt
        self._active_tables = learnt.active
        self.active = self._with_active_tables()
        self._known = {self.active.version: self.active}

    async def keep(self, own: Ownership) -> None:
        """Make sure that the active policy is found by whoever corrects what was credited under it, and by readers."""
        packed = policy_bytes(self.active.policy)
        await self._store.put_new_field(POLICIES_KEY, self.active.version, packed)
        row = (self.active.version, packed.decode(), int(time.time() * 1000))
        await own.insert({"policies": [row]}, self.active.version)

    async def follow(self, own: Ownership) -> None:
        """Credit new conversions under the tables that are active now, as of the worker's last look."""
        if self._learnt.active is not self._active_tables:
            self._active_tables = self._learnt.active
            self.active = self._with_active_tables()
            self._known[self.active.version] = self.active
            await self.keep(own)

    def _with_active_tables(self) -> KeptPolicy:
        policy = with_learnt(self._base, self._active_tables)
        return KeptPolicy(policy.version, policy, models_of(policy, self._learnt.tables))

    async def load(self, versions: set[str], own: Ownership) -> None:
        """Have these at hand for ``find``: from Redis, or from ClickHouse where it was lost or set back."""
        for version in versions - self._known.keys():
            packed = await self._store.field(POLICIES_KEY, version)
            if packed is None:
                packed = await own.find_policy(version)
                if packed is not None:
                    await self._store.put_new_field(POLICIES_KEY, version, packed)
            if packed is None:
                log.warning("policy_unknown", policy=version, instead=self.active.version)
                continue
            policy = policy_from(packed)
            if missing := await self._learnt.load(policy.learnt.values(), own.find_learnt_table):
                log.warning(
                    "learnt_table_unknown", policy=version, tables=missing, instead=self.active.version
                )
                continue
            self._known[version] = KeptPolicy(version, policy, models_of(policy, self._learnt.tables))

    def find(self, version: str) -> KeptPolicy:
        """The policy of ``version``; the active one for "" and for one that nobody knows."""
        return self._known.get(version, self.active)


def policy_bytes(policy: AttributionPolicy) -> bytes:
    """The stored form: JSON, every rule named, so that a later default does not change it."""
    return msgspec.json.encode(policy, order="deterministic")


policy_from = msgspec.json.Decoder(AttributionPolicy).decode
"""The policy that ``policy_bytes`` stored; rules that it does not name have their default."""
