"""What is kept of the newest fact of a key: written by the spend stage, also read by the collector."""

from __future__ import annotations

import msgspec

from attribution.spend.fact import SpendFact

Labels = tuple[str, str, str, str]
"""Channel, source, medium and campaign under which spend stands beside touches."""
NO_LABELS: Labels = ("", "", "", "")


class KeptSpend(msgspec.Struct, frozen=True, array_like=True):
    """One field of the hash at ``streams.topics.spend_key``. New fields come last, with defaults: old ones are read."""

    fact: SpendFact
    """The newest known figures of its ``key``, whether they count at present or not (``merging.counted``)."""
    labels: Labels = NO_LABELS
    """Under which its figures stand in the ledger."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeptSpend).decode


def encode_kept(kept: KeptSpend) -> bytes:
    """The hash field's value."""
    return _encode(kept)


def decode_kept(value: bytes) -> KeptSpend:
    """Raises ``msgspec.DecodeError`` for what ``encode_kept`` did not write."""
    return _decode(value)
