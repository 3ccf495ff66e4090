"""The wire form of a cost report's fact: what the collector writes to Kafka and the spend stage reads.

A Kafka value is one JSON object or a JSON array of objects of the same partition (an envelope).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from attribution.errors import Rejected
from attribution.spend.fact import SpendFact


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


_encode = msgspec.json.Encoder().encode
_decode_many = msgspec.json.Decoder(list[SpendReport]).decode
_decode_one = msgspec.json.Decoder(SpendReport).decode


def encode_report(report: SpendReport) -> bytes:
    """One report as a JSON object."""
    return _encode(report)


def encode_reports(reports: Iterable[SpendReport]) -> bytes:
    """One Kafka value for ``reports`` of the same partition."""
    return _encode(list(reports))


def decode_reports(value: bytes) -> list[SpendReport]:
    """Reports of one Kafka value. Raises ``Rejected('malformed')`` when any of it does not fit."""
    try:
        if value[:1] == b"[":
            return _decode_many(value)
        return [_decode_one(value)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected("malformed", str(error)) from error
