"""The wire form of a cost report's fact: what the collector writes to Kafka and the spend stage reads."""

from __future__ import annotations

import msgspec

from attribution.spend.fact import SpendFact
from attribution.wire import Wire


class SpendReport(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One fact as a site's collector took it."""

    site: str
    """Whose money it is: the write key's site."""
    fact: SpendFact
    received_at: int
    """When the collector took it: epoch milliseconds, UTC."""

    @property
    def partition_key(self) -> str:
        """What its partition follows from: one owner sees all accounts and levels of a site's network."""
        return partition_key(self.site, self.fact.ad_network)


def partition_key(site: str, ad_network: str) -> str:
    """The text that ``streams.topics.partition_of`` gets for whatever concerns ``site`` and ``ad_network``."""
    return f"{site}|{ad_network}"


_WIRE = Wire(SpendReport)
encode_report, encode_reports, decode_reports = _WIRE.encode_one, _WIRE.encode_many, _WIRE.decode
