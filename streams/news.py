"""What a batch of hits means for visitors other than its own, as the value that its commit notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from attribution.links import LinkChange

MERGE, SPLIT = "merge", "split"
NEVER = 1 << 62


class News(msgspec.Struct, array_like=True, frozen=True):
    """What one visitor of a batch means for others."""

    site: str
    visitor_id: str
    since: int
    """Earliest instant at which a touchpoint or conversion changed, epoch ms; ``NEVER`` = none."""
    recorded_at: int
    links: Sequence[LinkChange] = ()
    policy: str = ""
    """Version of the policy of the restatement that made the news; "" = they are news of hits."""

    @property
    def cause(self) -> str:
        """The ledger's cause for what comes of it."""
        if not self.links:
            return ""
        return MERGE if all(change.fact.is_held for change in self.links) else SPLIT


_pack = msgspec.msgpack.Encoder().encode
_news_of = msgspec.msgpack.Decoder(list[News]).decode


def pack_news(news: Iterable[News]) -> bytes:
    """The stored form of a batch's news; b"" when there are none."""
    found = list(news)
    return _pack(found) if found else b""


def news_from(packed: bytes) -> list[News]:
    """Inverse of ``pack_news``."""
    return _news_of(packed)
