"""``LinkedVisitor``: of a stored timeline only who the visitor is and what he bought.

Whoever looks for the conversions of a person reads many timelines, and needs no hit of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from attribution.change import TimelineConversion
from attribution.links import LinkFact, held_ids, unpack_links
from attribution.packing import unpack_word
from attribution.timeline import UnreadableTimeline, decode_timeline


class LinkedVisitor(msgspec.Struct, frozen=True, gc=False):
    """What other visitors' batches ask of a visitor. Each answers as ``Timeline`` does."""

    links: dict[str, LinkFact]
    conversions: Sequence[TimelineConversion]

    @classmethod
    def from_bytes(cls, data: bytes) -> LinkedVisitor:
        """Of a timeline that ``Timeline.to_bytes`` stored. Raises ``UnreadableTimeline``."""
        stored = decode_timeline(data)
        try:
            conversions = [
                TimelineConversion(at, digest.hex(), unpack_word(type_))
                for at, digest, type_ in stored.conversions
            ]
        except ValueError as error:
            raise UnreadableTimeline(f"stored timeline: {error}") from error
        return cls(unpack_links(stored.links), conversions)

    @property
    def linked_ids(self) -> Sequence[str]:
        """Every id that any of his hits named, links that were withdrawn included."""
        return sorted(self.links)

    def held_ids(self) -> Sequence[str]:
        """The ids that the visitor is linked with now, in order."""
        return held_ids(self.links)


NOBODY = LinkedVisitor({}, ())
"""A visitor who has no timeline."""
