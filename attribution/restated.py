"""Hits that are judged once more: what is known of a visitor with their new marks in the place of the old ones."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

import msgspec

from attribution.change import Change, Owner, TimelineConversion
from attribution.marks import Mark
from attribution.sessions import Cut, PlacedHit


class Known(msgspec.Struct, gc=False):
    """All that a timeline knows, links apart. Hits by event hash."""

    placed: dict[int, PlacedHit]
    """Those in sessions."""
    views: dict[int, PlacedHit]
    outside: set[int]
    """Event hashes of all others."""
    conversions: list[TimelineConversion]
    """In time order."""

    def replace(self, marks: Iterable[Mark]) -> list[TimelineConversion]:
        """Put ``marks`` in the place of what is known of the same events; the conversions that were not known.

        A mark of an event that is not known is added. A conversion that was reported stays one.
        """
        placed, views, outside = self.placed, self.views, self.outside
        reported = set(self.conversions)
        converted: list[TimelineConversion] = []
        for mark in marks:
            hash_ = mark.event_hash
            placed.pop(hash_, None)
            views.pop(hash_, None)
            outside.discard(hash_)
            if mark.in_session:
                at, path, is_page_view = mark.occurred_at, mark.path, mark.is_page_view
                placed[hash_] = (at, hash_, path, is_page_view, mark.acquisition, mark.scene)
            elif mark.is_view:
                views[hash_] = (mark.occurred_at, hash_, mark.path, False, mark.acquisition, mark.scene)
            else:
                outside.add(hash_)
            if mark.conversion is not None:
                conversion = TimelineConversion(mark.occurred_at, *mark.conversion)
                if conversion not in reported:
                    reported.add(conversion)
                    converted.append(conversion)
                    insort(self.conversions, conversion)
        return converted


def note_recut(old: Sequence[Cut], new: Sequence[Cut], change: Change, owner: Owner) -> None:
    """All hits were cut into ``old``, and are cut into ``new``; a hit may say something else of where it came from
    now: that touchpoint is another one, too."""
    change.note_sessions(old, new, owner)
    before = {hit[1]: hit for cut in old for hit in cut.touches}
    after = {hit[1]: hit for cut in new for hit in cut.touches}
    change.note_touches([hit for hash_, hit in before.items() if after.get(hash_) != hit], [], owner)
    change.note_touches([], [hit for hash_, hit in after.items() if before.get(hash_) != hit], owner)
