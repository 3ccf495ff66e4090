"""What an installation says of its deals: how senders are read, and how objects become conversions."""

from __future__ import annotations

import hashlib

import msgspec

from attribution.deals.adapters import AdapterRules
from attribution.deals.rules import DealRules


class DealSettings(msgspec.Struct, frozen=True):
    """Everything that the deals stage goes by."""

    senders: AdapterRules = AdapterRules(site="")
    """Of every site: ``site`` is each delivery's."""
    rules: DealRules = DealRules()

    def version_for(self, types: tuple[str, ...]) -> str:
        """Ten hex digits that change when the same objects give other conversions. ``types``: those with a window."""
        said = msgspec.json.encode((self.rules, sorted(types)), order="deterministic")
        return hashlib.blake2b(said, digest_size=5).hexdigest()
