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
from operator import attrgetter, itemgetter
from struct import pack

import msgspec

from attribution.acquisition import DIRECT
from attribution.change import Change, Owner, TimelineConversion
from attribution.columns import Columns, unpack_hashes
from attribution.drops import DropReason
from attribution.errors import HeadwaterError
from attribution.ids import visitor_hash
from attribution.links import (
    LinkFact,
    PackedLink,
    changes,
    held_ids,
    pack_links,
    tell,
    unpack_links,
)
from attribution.marks import Mark, mark_of
from attribution.packing import Packed, pack_acquisition, pack_word, unpack_acquisition, unpack_word
from attribution.policy import AttributionPolicy
from attribution.restated import Known, note_recut
from attribution.scenes import scene_names
from attribution.sessions import (
    DEFAULT_RULES,
    Cut,
    PlacedHit,
    Rules,
    extend_cuts,
    view_touchpoint,
)
from attribution.touchpoints import Session, Touchpoint

__all__ = ["Change", "Mark", "Timeline", "TimelineConversion", "UnreadableTimeline", "mark_of"]

_FORMAT = 1
_first_of = attrgetter("first")
_order = itemgetter(0, 1)


class UnreadableTimeline(HeadwaterError):
    """Stored bytes are no timeline of a format this version knows: stop, do not guess."""


class StoredTimeline(msgspec.Struct, array_like=True, gc=False):
    """The MessagePack form. Columns have one entry per in-session hit, in order: see ``Columns``."""

    format: int
    rules: tuple[int, int, str] | None
    """``None`` = ``DEFAULT_RULES``."""
    began_at: int
    pauses: list[int]
    hashes: bytes
    pages: list[int]
    arrivals: list[int]
    paths: list[str]
    acquisitions: list[Packed]
    outside: bytes
    """Hashes of the hits outside sessions, ascending."""
    conversions: list[tuple[int, bytes, int | str]]
    links: list[PackedLink] = []
    """This and what follows is left out of the stored form where it is empty: most visitors are never linked."""
    views: list[tuple[int, int, str, Packed]] = []
    """(occurred_at, event hash, path, acquisition), in order."""
    turns: list[int] = []
    """Where the hits in sessions were made: ``Columns.turns``. Like the next column not there in what was stored before
    scenes were kept: unknown."""
    view_scenes: list[int] = []
    """One per view; empty if all are unknown."""


_MANDATORY = 11
"""Columns of ``StoredTimeline`` that every stored timeline has."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredTimeline).decode


def decode_timeline(data: bytes) -> StoredTimeline:
    """What ``Timeline.to_bytes`` stored. Raises ``UnreadableTimeline``."""
    try:
        stored = _decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableTimeline(f"stored timeline: {error}") from error
    if stored.format != _FORMAT:
        raise UnreadableTimeline(f"stored timeline: format {stored.format} is not {_FORMAT}")
    return stored


def views_of(stored: StoredTimeline) -> list[PlacedHit]:
    """The views, in order. Raises ``ValueError`` when they cannot have been stored."""
    scenes = stored.view_scenes or [0] * len(stored.views)
    for scene in scenes:
        scene_names(scene)
    return [
        (at, hash_, path, False, unpack_acquisition(packed), scene)
        for (at, hash_, path, packed), scene in zip(stored.views, scenes, strict=True)
    ]


class Timeline:
    """All hits of one visitor of one site. Not safe for use by several threads.

    Its hits are columns, or a list with its cuts, or both. ``_columns`` are ``None`` after a late hit, until the
    timeline is stored. ``_hits`` and ``_cuts`` are ``None`` until somebody asks what only they can tell, and again
    after the next hit that is not late. ``_tail`` is the last cut if it is known.
    """

    __slots__ = (
        "_columns",
        "_conversions",
        "_cuts",
        "_hits",
        "_links",
        "_outside",
        "_rules",
        "_seen",
        "_tail",
        "_views",
        "_visitor",
        "site",
        "visitor_id",
    )

    def __init__(self, site: str, visitor_id: str) -> None:
        self.site = site
        self.visitor_id = visitor_id
        self._visitor = ""
        self._columns: Columns | None = Columns()
        self._hits: list[PlacedHit] | None = None
        self._cuts: list[Cut] | None = None
        self._tail: Cut | None = None
        self._seen: set[int] = set()
        self._outside: list[int] = []
        self._views: list[PlacedHit] = []
        self._conversions: list[TimelineConversion] = []
        self._links: dict[str, LinkFact] | None = None
        self._rules = DEFAULT_RULES

    @classmethod
    def empty(cls, site: str, visitor_id: str) -> Timeline:
        """A visitor of whom nothing is known yet."""
        return cls(site, visitor_id)

    @classmethod
    def from_bytes(cls, data: bytes, site: str, visitor_id: str) -> Timeline:
        """The timeline that ``to_bytes`` stored. Raises ``UnreadableTimeline``."""
        stored = decode_timeline(data)
        try:
            return cls._restored(stored, site, visitor_id)
        except ValueError as error:
            raise UnreadableTimeline(f"stored timeline: {error}") from error

    @classmethod
    def _restored(cls, stored: StoredTimeline, site: str, visitor_id: str) -> Timeline:
        timeline = cls(site, visitor_id)
        timeline._columns = Columns.restored(
            stored.began_at,
            stored.pauses,
            stored.hashes,
            stored.pages,
            stored.arrivals,
            stored.paths,
            stored.acquisitions,
            stored.turns,
        )
        outside = unpack_hashes(stored.outside)
        timeline._outside = list(outside)
        timeline._seen = {*unpack_hashes(stored.hashes), *outside}
        timeline._conversions = [
            TimelineConversion(at, digest.hex(), unpack_word(type_))
            for at, digest, type_ in stored.conversions
        ]
        timeline._views = views_of(stored)
        timeline._seen.update(view[1] for view in timeline._views)
        timeline._rules = stored.rules or DEFAULT_RULES
        if stored.links:
            timeline._links = unpack_links(stored.links)
        return timeline

    def to_bytes(self) -> bytes:
        """The stored form: equal for equal sets of hits, however they arrived."""
        columns = self._packed()
        rules, outside, conversions = self._rules, self._outside, self._conversions
        stored: list[object] = [
            _FORMAT,
            None if rules == DEFAULT_RULES else rules,
            columns.began_at,
            columns.pauses,
            columns.hashes,
            columns.pages,
            columns.arrivals,
            list(columns.paths),
            list(columns.acquisitions),
            pack(f">{len(outside)}Q", *sorted(outside)) if outside else b"",
            [(c.converted_at, bytes.fromhex(c.conversion_id), pack_word(c.type)) for c in conversions]
            if conversions
            else [],
            pack_links(self._links) if self._links else [],
            [
                (at, hash_, path, pack_acquisition(way or DIRECT))
                for at, hash_, path, _, way, _ in self._views
            ],
            columns.turns,
            [view[5] for view in self._views] if any(view[5] for view in self._views) else [],
        ]
        while len(stored) > _MANDATORY and not stored[-1]:
            stored.pop()
        return _encode(stored)

    @property
    def hit_count(self) -> int:
        """All accepted hits, those outside sessions included."""
        return len(self._seen)

    @property
    def conversions(self) -> Sequence[TimelineConversion]:
        """What this visitor's hits reported as conversions, in time order."""
        return self._conversions

    @property
    def is_linked(self) -> bool:
        """True when any of his hits named an id, even if the link was withdrawn."""
        return self._links is not None

    @property
    def linked_ids(self) -> Sequence[str]:
        """Every id that any of his hits named, links that were withdrawn included."""
        return sorted(self._links) if self._links is not None else ()

    def held_ids(self) -> Sequence[str]:
        """The ids that the visitor is linked with now, in order."""
        return held_ids(self._links) if self._links is not None else ()

    def sessions(self) -> list[Session]:
        """The sessions that hold now, in time order."""
        visitor = self._visitor_hash()
        return [cut.freeze(self.site, self.visitor_id, visitor) for cut in self._unpacked()[1]]

    def touchpoints(self) -> list[Touchpoint]:
        """The touchpoints that hold now, in time order."""
        visitor = self._visitor_hash()
        touches = [
            touch
            for cut in self._unpacked()[1]
            for touch in cut.touchpoints(self.site, self.visitor_id, visitor)
        ]
        if self._views:
            touches += [view_touchpoint(hit, self.site, self.visitor_id, visitor) for hit in self._views]
            touches.sort(key=attrgetter("touched_at", "touchpoint_id"))
        return touches

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
        views: list[PlacedHit] = []
        converted: list[TimelineConversion] = []
        claimed: list[Mark] | None = None
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
                path, is_page_view = mark.path, mark.is_page_view
                placed.append((mark.occurred_at, hash_, path, is_page_view, mark.acquisition, mark.scene))
            elif mark.is_view:
                views.append((mark.occurred_at, hash_, mark.path, False, mark.acquisition, mark.scene))
            else:
                self._outside.append(hash_)
            if mark.conversion is not None:
                converted.append(TimelineConversion(mark.occurred_at, *mark.conversion))
            if mark.claim is not None:
                claimed = [mark] if claimed is None else [*claimed, mark]
        change = Change(reasons, [], [], [], [], [])
        if len(seen) == known:
            return change
        rules = policy.session_rules
        if placed or rules != self._rules:
            self._place(placed, rules, change)
        if views:
            self._place_views(views, change)
        for conversion in converted:
            place = bisect_left(self._conversions, conversion)
            # Two hits may report one order at the same instant: one conversion, as when the hits are judged once more.
            if self._conversions[place : place + 1] != [conversion]:
                self._conversions.insert(place, conversion)
        if self._conversions:
            change.note_affected(self._conversions, converted)
        if claimed is not None:
            self._link(claimed, change)
        return change

    def restate(self, marks: Sequence[Mark], policy: AttributionPolicy) -> Change:
        """Put ``marks`` in the place of what is known of the same events, cut everything anew, say what changed.

        A mark of an event that is not known (of a timeline that was lost) is added, over the limit as well: it was
        accepted once. Any order of marks, any batches and any repetition come to the same in the end, and hits that
        arrive meanwhile stay. A conversion that was reported stays one. ``reasons`` are all ``None``.
        """
        old_hits, old_cuts = self._unpacked()
        old_views = {view[1]: view for view in self._views}
        known = Known(
            {hit[1]: hit for hit in old_hits}, dict(old_views), set(self._outside), self._conversions
        )
        converted = known.replace(marks)
        self._seen.update(mark.event_hash for mark in marks)
        self._rules = policy.session_rules
        self._columns = self._tail = None
        hits = self._hits = sorted(known.placed.values(), key=_order)
        cuts = self._cuts = []
        extend_cuts(hits, 0, cuts, self._rules)
        self._outside = sorted(known.outside)
        self._views = sorted(known.views.values(), key=_order)
        change = Change([None] * len(marks), [], [], [], [], [])
        owner = self._owner()
        note_recut(old_cuts, cuts, change, owner)
        change.note_views(old_views, known.views, owner)
        if self._conversions:
            change.note_affected(self._conversions, converted)
        claimed = [mark for mark in marks if mark.claim is not None]
        if claimed:
            self._link(claimed, change)
        return change

    def _link(self, marks: list[Mark], change: Change) -> None:
        """Take note of what ``marks`` say of who the visitor is."""
        links: dict[str, LinkFact] = {} if self._links is None else self._links
        before: dict[str, LinkFact | None] = {}
        for mark in marks:
            claim = mark.claim
            if claim is not None:
                fact = LinkFact(mark.occurred_at, mark.event_hash, not claim.is_withdrawn)
                change.ids_refused += claim.refused
                change.links_lost += tell(links, claim.ids, fact, before)
        if links:
            self._links = links
        if before:
            change.links = changes(before, links)

    def _place_views(self, views: list[PlacedHit], change: Change) -> None:
        """Views are apart from sessions: each is a touchpoint, and changes nothing else."""
        for view in views:
            insort(self._views, view)
        change.note_views({}, {view[1]: view for view in views}, self._owner())

    def _visitor_hash(self) -> str:
        visitor = self._visitor
        if not visitor:
            visitor = self._visitor = visitor_hash(self.site, self.visitor_id)
        return visitor

    def _owner(self) -> Owner:
        return (self.site, self.visitor_id, self._visitor_hash())

    def _unpacked(self) -> tuple[list[PlacedHit], list[Cut]]:
        """The hits and their cuts."""
        hits, cuts = self._hits, self._cuts
        if hits is None or cuts is None:
            columns = self._packed()
            hits, cuts = self._hits, self._cuts = columns.hits(), []
            extend_cuts(hits, 0, cuts, self._rules)
        return hits, cuts

    def _packed(self) -> Columns:
        """The columns. If they were not at hand, the hits and cuts are let go for them."""
        columns = self._columns
        if columns is None:
            hits, cuts = self._unpacked()
            columns = self._columns = Columns()
            if hits:
                columns.append(hits)
                self._tail = cuts[-1]
            self._hits = self._cuts = None
        return columns

    def _place(self, placed: list[PlacedHit], rules: Rules, change: Change) -> None:
        """Put ``placed`` among the hits, cut what they touch anew, and note the difference."""
        if len(placed) > 1:
            placed.sort()
        if rules != self._rules:
            hits, old = self._unpacked()
            self._rules = rules
            self._columns = self._tail = None
            for hit in placed:
                insort(hits, hit)
            cuts = self._cuts = []
            extend_cuts(hits, 0, cuts, rules)
            self._note(old, cuts, change)
            return
        columns = self._packed()
        first = placed[0]
        if columns.ended_at < first[0] or not columns.pages:
            is_late = False
        else:
            is_late = (first[0], first[1]) < (columns.ended_at, columns.last_hash)
        if is_late:
            self._insert(placed, change)
        else:
            self._append(placed, columns, change)

    def _append(self, placed: list[PlacedHit], columns: Columns, change: Change) -> None:
        """The common case: everything is later than all before. Only the last session can change."""
        site, visitor_id, visitor = self.site, self.visitor_id, self._visitor or self._visitor_hash()
        cuts: list[Cut] = []
        # Only a session that may go on has to be known as it was.
        if columns.pages and placed[0][0] - columns.ended_at <= self._rules[0]:
            last = self._last_cut(columns)
            session = last.freeze(site, visitor_id, visitor)
            touches = last.touches.copy()
            cuts.append(last)
            extend_cuts(placed, 0, cuts, self._rules)
            if last.session is not session:
                change.sessions_minus.append(session)
                change.sessions_plus.append(last.freeze(site, visitor_id, visitor))
                if last.touches != touches:
                    change.note_touches(touches, last.touches, (site, visitor_id, visitor))
            new = cuts[1:]
        else:
            extend_cuts(placed, 0, cuts, self._rules)
            new = cuts
        for cut in new:
            change.sessions_plus.append(cut.freeze(site, visitor_id, visitor))
            change.touchpoints_plus.extend(cut.touchpoints(site, visitor_id, visitor))
        self._tail = cuts[-1]
        self._hits = self._cuts = None
        columns.append(placed)

    def _last_cut(self, columns: Columns) -> Cut:
        """The last session. A pause longer than the gap begins one for sure, so only what follows it is cut."""
        tail = self._tail
        if tail is None:
            cuts: list[Cut] = []
            extend_cuts(columns.hits(columns.last_start_behind(self._rules[0])), 0, cuts, self._rules)
            tail = self._tail = cuts[-1]
        return tail

    def _insert(self, placed: list[PlacedHit], change: Change) -> None:
        """Some hit is late: cut anew from the session it falls behind until a border stays where it was."""
        hits, cuts = self._unpacked()
        self._columns = self._tail = None
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
        owner = self._owner()
        change.note_sessions(old, new, owner)
        change.note_touches(
            [hit for cut in old for hit in cut.touches], [h for c in new for h in c.touches], owner
        )
