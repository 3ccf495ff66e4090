"""The rules by which a batch of hits becomes rows, by version: a range is finished under those it was begun with.

Other rules may give other rows: under the same token ClickHouse would drop them in silence, under another they would
stand beside those of the first attempt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from attribution.errors import Misconfigured
from attribution.policy import AttributionPolicy
from attribution.spend.click_costs import ClickCostRules
from streams.dead_letters import TRANSFORM_VERSION
from streams.fence import FenceStore
from streams.topics import RULES_KEY


class StitchRules(msgspec.Struct, frozen=True):
    """What the step needs to know beside its input."""

    policy: AttributionPolicy
    default_currency: str
    partitions: int
    click_costs: ClickCostRules = ClickCostRules()

    @property
    def version(self) -> str:
        """Changes whenever the same input may give other rows: the program's part, a dot, the settings' part."""
        digest = hashlib.blake2b(_encode_in_order(self), digest_size=6).hexdigest()
        return f"{TRANSFORM_VERSION}.{digest}"

    def to_bytes(self) -> bytes:
        """The stored form."""
        return _encode_in_order(self)


def _encode_in_order(rules: StitchRules) -> bytes:
    return msgspec.json.encode(rules, order="deterministic")


_decode = msgspec.json.Decoder(StitchRules).decode


class RuleBook:
    """``own`` rules, and those of earlier owners: ``noted`` in the journal, or kept in the store."""

    def __init__(self, own: StitchRules, store: FenceStore, noted: Mapping[str, bytes]) -> None:
        self.own = own
        self.version = own.version
        self._store = store
        self._noted = noted

    async def keep(self, versions: Iterable[str]) -> None:
        """Make sure that whoever comes next can find our own rules, and those of ``versions``.

        To be called before the first commit: it may take the journal past the entry that these rules stand in.
        Raises ``Misconfigured``.
        """
        for version in {self.version, *versions}:
            rules = await self.find(version)
            await self._store.put_new_field(RULES_KEY, version, rules.to_bytes())

    async def find(self, version: str) -> StitchRules:
        """The rules of ``version``. Raises ``Misconfigured`` when this program cannot apply them."""
        if version == self.version:
            return self.own
        transform = version.partition(".")[0]
        if transform != TRANSFORM_VERSION:
            raise Misconfigured(
                f"A batch was begun by a Headwater whose rows are of version {transform}, this one writes"
                f" {TRANSFORM_VERSION}, and some of its rows may be in ClickHouse already.",
                "Start the former Headwater once more: it finishes the batch as soon as it owns the partition.",
            )
        packed = self._noted.get(version) or await self._store.field(RULES_KEY, version)
        try:
            if packed is not None:
                return _decode(packed)
        except msgspec.DecodeError:
            pass
        raise Misconfigured(
            f"A batch was begun under rules {version}, which are not kept in Redis.",
            "Start the worker once with the settings that it had before.",
        )
