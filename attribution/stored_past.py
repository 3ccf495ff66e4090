"""What credit asks of a stored timeline, and nothing else: its touchpoints, conversions and links.

``Timeline`` knows how to take the next hit. Whoever only looks back needs no columns that grow, no set of events and no
sessions with their hours: reading those takes most of the time. Equal to what ``Timeline`` says of the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from attribution.acquisition import DIRECT, Acquisition
from attribution.columns import check_turns, scene_at
from attribution.ids import visitor_hash
from attribution.links import LinkFact, held_ids, unpack_links
from attribution.packing import unpack_acquisition, unpack_word
from attribution.policy import SessionSwitch
from attribution.sessions import DEFAULT_RULES, Rules, says_again, view_touchpoint
from attribution.timeline import (
    StoredTimeline,
    TimelineConversion,
    UnreadableTimeline,
    decode_timeline,
    views_of,
)
from attribution.touchpoints import Touchpoint

_NOTHING = SessionSwitch.nothing.value
_ANY_EXTERNAL = SessionSwitch.any_external.value

_Touch = tuple[int, int, Acquisition | None]
"""(index of the hit, instant, acquisition)."""


class StoredPast:
    """One visitor's past as it is stored."""

    __slots__ = ("_links", "conversions", "site", "touchpoints", "visitor_id")

    def __init__(self, site: str, visitor_id: str) -> None:
        """Of a visitor of whom nothing is stored."""
        self.site = site
        self.visitor_id = visitor_id
        self.touchpoints: Sequence[Touchpoint] = ()
        """In no order."""
        self.conversions: Sequence[TimelineConversion] = ()
        """What this visitor's hits reported as conversions, in time order."""
        self._links: dict[str, LinkFact] | None = None

    @classmethod
    def from_bytes(cls, data: bytes, site: str, visitor_id: str) -> StoredPast:
        """Of the timeline that was stored as ``data``. Raises ``UnreadableTimeline``."""
        stored = decode_timeline(data)
        past = cls(site, visitor_id)
        try:
            past.touchpoints = _touchpoints(stored, site, visitor_id)
            past.conversions = [
                TimelineConversion(at, digest.hex(), unpack_word(type_))
                for at, digest, type_ in stored.conversions
            ]
        except (ValueError, IndexError) as error:
            raise UnreadableTimeline(f"stored timeline: {error}") from error
        if stored.links:
            past._links = unpack_links(stored.links)
        return past

    @property
    def is_linked(self) -> bool:
        """True when any of his hits named an id, even if the link was withdrawn."""
        return self._links is not None

    @property
    def linked_ids(self) -> Sequence[str]:
        """Every id that any of his hits named, links that were withdrawn included."""
        return sorted(self._links) if self._links is not None else ()

    def held_ids(self) -> Sequence[str]:
        """The ids that the visitor is linked with, in order."""
        return held_ids(self._links) if self._links is not None else ()


def _touchpoints(stored: StoredTimeline, site: str, visitor_id: str) -> list[Touchpoint]:
    visitor = visitor_hash(site, visitor_id)
    hashes, paths, pages = stored.hashes, stored.paths, stored.pages
    count = len(pages)
    if not len(hashes) == 8 * count == 8 * len(stored.arrivals) or len(stored.pauses) != max(count - 1, 0):
        raise ValueError("columns differ in length")
    if count and min(min(pages), min(stored.arrivals)) < 0:
        raise ValueError("negative number in a column")
    check_turns(stored.turns, count)
    found = [
        Touchpoint(
            visitor + hashes[8 * index : 8 * index + 8].hex(),
            visitor_id,
            site,
            at,
            acquisition or DIRECT,
            paths[pages[index] >> 1],
            False,
            scene_at(stored.turns, index),
        )
        for index, at, acquisition in _touches(stored, stored.rules or DEFAULT_RULES)
    ]
    found += [view_touchpoint(view, site, visitor_id, visitor) for view in views_of(stored)]
    return found


def _touches(stored: StoredTimeline, rules: Rules) -> list[_Touch]:
    """The hits that are touchpoints: the fold of ``sessions.extend_cuts``, less everything that only sessions need."""
    gap, cap, switch = rules
    is_switching, is_any = switch != _NOTHING, switch == _ANY_EXTERNAL
    pauses = stored.pauses
    acquisitions = [None, *map(unpack_acquisition, stored.acquisitions)]
    touches: list[_Touch] = []
    at = started = ended = stored.began_at
    own: Acquisition | None = None  # the session's
    last = DIRECT  # what it heard last
    first = 0  # its first touch
    for index, arrival in enumerate(stored.arrivals):
        acquisition = acquisitions[arrival]
        if index:
            at += pauses[index - 1]
            if at - ended <= gap and at - started <= cap:
                if acquisition is None:
                    ended = at
                    continue
                is_again = acquisition is last or says_again(last, acquisition)
                if is_again or not is_switching or not (is_any or acquisition.is_tagged_or_paid):
                    ended = at
                    if own is None:
                        touches[first:] = [(index, at, acquisition)]
                        own = last = acquisition
                    elif not is_again:
                        if acquisition.is_tagged_or_paid:
                            touches.append((index, at, acquisition))
                        last = acquisition
                    continue
        started = ended = at
        own = acquisition
        last = acquisition or DIRECT
        first = len(touches)
        touches.append((index, at, acquisition))
    return touches
