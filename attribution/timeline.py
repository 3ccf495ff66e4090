"""``Timeline``: all hits of one visitor, compactly. Sessions and touchpoints are functions of it.

Hits arrive in any order, doubled, in batches with any borders. ``Timeline.apply`` places them and answers
with the signed change: sessions and touchpoints that no longer hold, and those that hold instead. The stored
bytes depend on the set of hits only, not on their order of arrival.

Of two hits with one ``event_id`` the copy that comes first in the log counts, also when the copies differ
(the collector's clock correction can move ``occurred_at`` of a client's retry by some milliseconds): the rows
of the first are already written when the second arrives. So the result is always a function of the log, and
independent of the log's order as long as copies are identical.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from struct import pack, unpack
from typing import NamedTuple

import msgspec

from attribution.acquisition import Acquisition
from attribution.drops import DropReason
from attribution.errors import HeadwaterError
from attribution.ids import visitor_hash
from attribution.marks import Mark, mark_of
from attribution.packing import Packed, pack_acquisition, pack_word, unpack_acquisition, unpack_word
from attribution.policy import AttributionPolicy
from attribution.sessions import (
    DEFAULT_RULES,
    Cut,
    PlacedHit,
    Rules,
    extend_cuts,
    rules_of,
    touchpoint,
)
from attribution.touchpoints import Session, Touchpoint

__all__ = ["Change", "Mark", "Timeline", "TimelineConversion", "UnreadableTimeline", "mark_of"]

_FORMAT = 1
_first_of = attrgetter("first")


class UnreadableTimeline(HeadwaterError):
    """Stored bytes are no timeline of a format this version knows: stop, do not guess."""


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
    """Conversions whose credit must be looked at again: new ones, and those with a changed touchpoint at or
    before them and within their lookback."""


class _Stored(msgspec.Struct, array_like=True, gc=False):
    """The MessagePack form. Columns have one entry per in-session hit, in order."""

    format: int
    rules: tuple[int, int, str] | None
    """``None`` = ``DEFAULT_RULES``."""
    began_at: int
    pauses: list[int]
    """Milliseconds since the hit before; one fewer than hits."""
    hashes: bytes
    """8 bytes per hit, big-endian."""
    pages: list[int]
    """2 x index into ``paths``, + 1 for a page view."""
    arrivals: list[int]
    """Index into ``acquisitions`` + 1; 0 = none."""
    paths: list[str]
    acquisitions: list[Packed]
    outside: bytes
    """Hashes of the hits outside sessions, ascending."""
    conversions: list[tuple[int, bytes, int | str]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode


class _Columns:
    """The stored form of a timeline's first hits, to which later hits are added.

    Most hits are later than all before; then only they need to be worked out.
    """

    __slots__ = ("_acquisitions", "_arrivals", "_last", "_paths", "_stored")

    def __init__(self, stored: _Stored, acquisitions: Sequence[Acquisition | None]) -> None:
        """``acquisitions`` are those of ``stored`` behind a ``None``."""
        self._stored = stored
        self._acquisitions = acquisitions
        self._paths: dict[str, int] = {}
        self._arrivals: dict[Acquisition | None, int] = {}
        self._last = 0

    def append(self, hits: list[PlacedHit]) -> _Stored:
        """The stored form of ``hits``, which begin with those that are in it already."""
        stored = self._stored
        known = len(stored.pages)
        if known == len(hits):
            return stored
        if not self._arrivals:  # only now: many timelines are read and never written
            self._paths = {path: index for index, path in enumerate(stored.paths)}
            self._arrivals = {acquisition: index for index, acquisition in enumerate(self._acquisitions)}
            self._last = stored.began_at + sum(stored.pauses)
        paths, arrivals, last = self._paths, self._arrivals, self._last
        if not known:
            stored.began_at = last = hits[0][0]
        hashes = [stored.hashes]
        for at, hash_, path, is_page_view, acquisition in hits[known:]:
            stored.pauses.append(at - last)
            last = at
            hashes.append(hash_.to_bytes(8, "big"))
            page = paths.get(path)
            if page is None:
                page = paths[path] = len(paths)
                stored.paths.append(path)
            stored.pages.append(page * 2 + is_page_view)
            if acquisition is None:
                stored.arrivals.append(0)
                continue
            arrival = arrivals.get(acquisition)
            if arrival is None:
                arrival = arrivals[acquisition] = len(arrivals)
                stored.acquisitions.append(pack_acquisition(acquisition))
            stored.arrivals.append(arrival)
        if not known:
            del stored.pauses[0]
        stored.hashes = b"".join(hashes)
        self._last = last
        return stored


class Timeline:
    """All hits of one visitor of one site. Not safe for use by several threads."""

    __slots__ = (
        "_conversions",
        "_cuts",
        "_hits",
        "_outside",
        "_rules",
        "_seen",
        "_visitor",
        "_written",
        "site",
        "visitor_id",
    )

    def __init__(self, site: str, visitor_id: str) -> None:
        self.site = site
        self.visitor_id = visitor_id
        self._visitor = ""
        self._hits: list[PlacedHit] = []
        self._seen: set[int] = set()
        self._outside: list[int] = []
        self._conversions: list[TimelineConversion] = []
        self._rules = DEFAULT_RULES
        self._cuts: list[Cut] | None = []
        self._written: _Columns | None = None

    @classmethod
    def empty(cls, site: str, visitor_id: str) -> Timeline:
        """A visitor of whom nothing is known yet."""
        return cls(site, visitor_id)

    @classmethod
    def from_bytes(cls, data: bytes, site: str, visitor_id: str) -> Timeline:
        """The timeline that ``to_bytes`` stored. Raises ``UnreadableTimeline``."""
        try:
            stored = _decode(data)
            if stored.format != _FORMAT:
                raise ValueError(f"format {stored.format} is not {_FORMAT}")
            return cls._restored(stored, site, visitor_id)
        except (msgspec.DecodeError, ValueError, IndexError) as error:
            raise UnreadableTimeline(f"stored timeline: {error}") from error

    @classmethod
    def _restored(cls, stored: _Stored, site: str, visitor_id: str) -> Timeline:
        timeline = cls(site, visitor_id)
        count = len(stored.pages)
        hashes = _hashes(stored.hashes)
        outside = _hashes(stored.outside)
        times = list(accumulate(stored.pauses, initial=stored.began_at)) if count else []
        if not len(hashes) == len(times) == len(stored.arrivals) == count:
            raise ValueError("columns differ in length")
        if count and min(min(stored.pauses, default=0), min(stored.pages), min(stored.arrivals)) < 0:
            raise ValueError("negative number in a column")
        paths = stored.paths
        arrivals: list[Acquisition | None] = [None, *map(unpack_acquisition, stored.acquisitions)]
        timeline._hits = [
            (at, hash_, paths[page >> 1], page & 1 == 1, arrivals[arrival])
            for at, hash_, page, arrival in zip(times, hashes, stored.pages, stored.arrivals, strict=True)
        ]
        timeline._outside = list(outside)
        timeline._seen = {*hashes, *outside}
        timeline._conversions = [
            TimelineConversion(at, digest.hex(), unpack_word(type_))
            for at, digest, type_ in stored.conversions
        ]
        timeline._rules = stored.rules or DEFAULT_RULES
        timeline._cuts = None
        timeline._written = _Columns(stored, arrivals)
        return timeline

    def to_bytes(self) -> bytes:
        """The stored form: equal for equal sets of hits, however they arrived."""
        written = self._written
        if written is None:
            rules = None if self._rules == DEFAULT_RULES else self._rules
            written = self._written = _Columns(
                _Stored(_FORMAT, rules, 0, [], b"", [], [], [], [], b"", []), [None]
            )
        stored = written.append(self._hits)
        stored.outside = pack(f">{len(self._outside)}Q", *sorted(self._outside)) if self._outside else b""
        stored.conversions = [
            (conversion.converted_at, bytes.fromhex(conversion.conversion_id), pack_word(conversion.type))
            for conversion in self._conversions
        ]
        return _encode(stored)

    @property
    def hit_count(self) -> int:
        """All accepted hits, those outside sessions included."""
        return len(self._seen)

    @property
    def conversions(self) -> Sequence[TimelineConversion]:
        """What this visitor's hits reported as conversions, in time order."""
        return self._conversions

    def sessions(self) -> list[Session]:
        """The sessions that hold now, in time order."""
        visitor = self._visitor_hash()
        return [cut.freeze(self.site, self.visitor_id, visitor) for cut in self._derived()]

    def touchpoints(self) -> list[Touchpoint]:
        """The touchpoints that hold now, in time order."""
        visitor = self._visitor_hash()
        return [
            touch for cut in self._derived() for touch in cut.touchpoints(self.site, self.visitor_id, visitor)
        ]

    def apply(self, marks: Iterable[Mark], policy: AttributionPolicy) -> Change:
        """Place ``marks`` and say what changed. Marks already known, or over the limit, are dropped.

        When the session rules of ``policy`` are others than those that the timeline was last cut by, the first
        accepted mark cuts everything anew and the change says so. Without an accepted mark nothing changes.
        """
        seen = self._seen
        limit = policy.max_hits_per_visitor
        known = len(seen)
        reasons: list[DropReason | None] = []
        placed: list[PlacedHit] = []
        converted: list[TimelineConversion] = []
        for mark in marks:
            hash_ = mark.event_hash
            if hash_ in seen:
                reasons.append(DropReason.duplicate)
                continue
            if len(seen) >= limit:
                reasons.append(DropReason.visitor_over_limit)
                continue
            reasons.append(None)
            seen.add(hash_)
            if mark.in_session:
                placed.append((mark.occurred_at, hash_, mark.path, mark.is_page_view, mark.acquisition))
            else:
                self._outside.append(hash_)
            if mark.conversion is not None:
                converted.append(TimelineConversion(mark.occurred_at, *mark.conversion))
        change = Change(reasons, [], [], [], [], [])
        if len(seen) == known:
            return change
        rules = rules_of(policy)
        if placed or rules != self._rules:
            self._place(placed, rules, change)
        for conversion in converted:
            insort(self._conversions, conversion)
        if self._conversions:
            change.affected = self._affected(change, converted, policy)
        return change

    def _visitor_hash(self) -> str:
        visitor = self._visitor
        if not visitor:
            visitor = self._visitor = visitor_hash(self.site, self.visitor_id)
        return visitor

    def _derived(self) -> list[Cut]:
        cuts = self._cuts
        if cuts is None:
            cuts = self._cuts = []
            extend_cuts(self._hits, 0, cuts, self._rules)
        return cuts

    def _place(self, placed: list[PlacedHit], rules: Rules, change: Change) -> None:
        """Put ``placed`` among the hits, cut what they touch anew, and note the difference."""
        cuts = self._derived()
        hits = self._hits
        if len(placed) > 1:
            placed.sort()
        if rules != self._rules:
            self._rules = rules
            self._written = None
            for hit in placed:
                insort(hits, hit)
            self._cuts = []
            extend_cuts(hits, 0, self._cuts, rules)
            self._note(cuts, self._cuts, change)
        elif not hits or hits[-1] < placed[0]:
            self._append(placed, cuts, change)
        else:
            self._insert(placed, cuts, change)

    def _append(self, placed: list[PlacedHit], cuts: list[Cut], change: Change) -> None:
        """The common case: everything is later than all before. Only the last session can change."""
        hits = self._hits
        start = len(hits)
        hits.extend(placed)
        site, visitor_id, visitor = self.site, self.visitor_id, self._visitor_hash()
        first_new = len(cuts)
        last = cuts[-1] if cuts else None
        # Only a session that may go on has to be known as it was.
        if last is not None and placed[0][0] - last.ended_at <= self._rules[0]:
            session = last.freeze(site, visitor_id, visitor)
            touches = last.touches.copy()
            extend_cuts(hits, start, cuts, self._rules)
            if last.session is not session:
                change.sessions_minus.append(session)
                change.sessions_plus.append(last.freeze(site, visitor_id, visitor))
                if last.touches != touches:
                    self._note_touches(touches, last.touches, change)
        else:
            extend_cuts(hits, start, cuts, self._rules)
        for cut in cuts[first_new:]:
            change.sessions_plus.append(cut.freeze(site, visitor_id, visitor))
            change.touchpoints_plus.extend(cut.touchpoints(site, visitor_id, visitor))

    def _insert(self, placed: list[PlacedHit], cuts: list[Cut], change: Change) -> None:
        """Some hit is late: cut anew from the session it falls behind until a border stays where it was."""
        hits = self._hits
        self._written = None
        lowest = bisect_left(hits, placed[0])
        for hit in placed:
            insort(hits, hit)
        settled = bisect_right(hits, placed[-1])
        # Hits below ``lowest`` keep their place; the cut that holds the last of them may take the late hit.
        keep = max(bisect_left(cuts, lowest, key=_first_of) - 1, 0)
        start = min(cuts[keep].first, lowest)
        new_cuts: list[Cut] = []
        old_cuts = cuts[keep:]
        met = extend_cuts(hits, start, new_cuts, self._rules, old_cuts, settled, len(placed))
        for cut in old_cuts[met:]:
            cut.first += len(placed)
        cuts[keep : keep + met] = new_cuts
        self._note(old_cuts[:met], new_cuts, change)

    def _note(self, old: list[Cut], new: list[Cut], change: Change) -> None:
        """Add the difference between two ways to cut the same stretch of time to ``change``."""
        site, visitor_id, visitor = self.site, self.visitor_id, self._visitor_hash()
        before = {
            session.session_id: session for cut in old for session in [cut.freeze(site, visitor_id, visitor)]
        }
        for cut in new:
            session = cut.freeze(site, visitor_id, visitor)
            if before.get(session.session_id) == session:
                del before[session.session_id]
            else:
                change.sessions_plus.append(session)
        change.sessions_minus.extend(before.values())
        self._note_touches(
            [hit for cut in old for hit in cut.touches], [h for c in new for h in c.touches], change
        )

    def _note_touches(self, old: list[PlacedHit], new: list[PlacedHit], change: Change) -> None:
        site, visitor_id, visitor = self.site, self.visitor_id, self._visitor_hash()
        before = {hit[1] for hit in old}
        after = {hit[1] for hit in new}
        change.touchpoints_minus.extend(
            [touchpoint(hit, site, visitor_id, visitor) for hit in old if hit[1] not in after]
        )
        change.touchpoints_plus.extend(
            [touchpoint(hit, site, visitor_id, visitor) for hit in new if hit[1] not in before]
        )

    def _affected(
        self, change: Change, converted: list[TimelineConversion], policy: AttributionPolicy
    ) -> list[TimelineConversion]:
        """New conversions and those that a changed touchpoint may give or take credit from."""
        affected = dict.fromkeys(converted)
        touched = sorted(
            [touch.touched_at for touch in change.touchpoints_minus]
            + [touch.touched_at for touch in change.touchpoints_plus]
        )
        if touched:
            lookbacks = policy.conversion_lookbacks_ms
            first = bisect_left(self._conversions, (touched[0],))
            for conversion in self._conversions[first:]:
                lookback = lookbacks.get(conversion.type)
                if lookback is None:
                    continue
                latest = bisect_right(touched, conversion.converted_at)
                if latest and touched[latest - 1] >= conversion.converted_at - lookback:
                    affected[conversion] = None
        return list(affected)


def _hashes(data: bytes) -> tuple[int, ...]:
    """The numbers of a column of 8-byte hashes. Raises ``ValueError`` when it does not divide."""
    count, rest = divmod(len(data), 8)
    if rest:
        raise ValueError("a column of hashes is cut off")
    return unpack(f">{count}Q", data)
