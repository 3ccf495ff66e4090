"""``Change``: what a batch of marks did to one timeline, as the difference between what held and what holds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from attribution.drops import DropReason
from attribution.links import LinkChange
from attribution.sessions import Cut, PlacedHit, touchpoint, view_touchpoint
from attribution.touchpoints import Session, Touchpoint

Owner = tuple[str, str, str]
"""(site, visitor id, ``visitor_hash`` of both): whose sessions and touchpoints these are."""


class TimelineConversion(NamedTuple):
    """A conversion that one hit of the visitor reported. Another visitor's report of it may win over it."""

    converted_at: int
    """Epoch milliseconds, UTC."""
    conversion_id: str
    type: str


class Change(msgspec.Struct, gc=False):
    """What a batch of marks did to one timeline."""

    reasons: list[DropReason | None]
    """One per mark: ``None`` = accepted, else why it was dropped."""
    sessions_minus: list[Session]
    sessions_plus: list[Session]
    touchpoints_minus: list[Touchpoint]
    touchpoints_plus: list[Touchpoint]
    affected: list[TimelineConversion]
    """Conversions whose credit must be looked at again: new ones, and those at or after the earliest change."""
    links: Sequence[LinkChange] = ()
    """Links between the visitor and ids that the batch made, unmade or named for the first time."""
    ids_refused: int = 0
    """Values that stand for nobody."""
    links_lost: int = 0
    """Links for which the visitor had no room (``links.MAX_LINKS``)."""

    def note_sessions(self, old: Sequence[Cut], new: Sequence[Cut], owner: Owner) -> None:
        """The same stretch of time was cut into ``old``, and is cut into ``new``."""
        before = {session.session_id: session for cut in old for session in [cut.freeze(*owner)]}
        for cut in new:
            session = cut.freeze(*owner)
            if before.get(session.session_id) == session:
                del before[session.session_id]
            else:
                self.sessions_plus.append(session)
        self.sessions_minus.extend(before.values())

    def note_touches(self, old: Sequence[PlacedHit], new: Sequence[PlacedHit], owner: Owner) -> None:
        """Hits that were touches, and are. A hit says the same in both."""
        before = {hit[1] for hit in old}
        after = {hit[1] for hit in new}
        self.touchpoints_minus.extend([touchpoint(hit, *owner) for hit in old if hit[1] not in after])
        self.touchpoints_plus.extend([touchpoint(hit, *owner) for hit in new if hit[1] not in before])

    def note_views(self, old: Mapping[int, PlacedHit], new: Mapping[int, PlacedHit], owner: Owner) -> None:
        """Views by event hash. One may say something else than it did: then it is another touchpoint."""
        self.touchpoints_minus.extend([view_touchpoint(v, *owner) for h, v in old.items() if new.get(h) != v])
        self.touchpoints_plus.extend([view_touchpoint(v, *owner) for h, v in new.items() if old.get(h) != v])

    def note_affected(
        self, conversions: list[TimelineConversion], converted: list[TimelineConversion]
    ) -> None:
        """Of all ``conversions`` in time order those ``converted`` just now, and those at or after the earliest
        change: each may be credited under a policy of its own, with other windows than those of today, and look back
        at earlier conversions too."""
        changed = [conversion.converted_at for conversion in converted]
        changed += [touch.touched_at for touch in self.touchpoints_minus]
        changed += [touch.touched_at for touch in self.touchpoints_plus]
        if changed:
            self.affected = conversions[bisect_left(conversions, (min(changed),)) :]
