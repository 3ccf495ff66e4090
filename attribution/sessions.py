"""Cutting a visitor's hits, in order, into sessions and marking the touchpoints among them.

A left fold: whether a hit starts a session depends only on the session before it. So a late hit can only
change the session that it falls behind and those after it, up to the first border that stays where it was.
"""

from __future__ import annotations

from attribution.acquisition import DIRECT, Acquisition
from attribution.ids import hit_id
from attribution.policy import SessionSwitch
from attribution.touchpoints import Session, Touchpoint

HOUR_MS = 3_600_000

PlacedHit = tuple[int, int, str, bool, Acquisition | None, int]
"""(occurred_at, event hash, path, is page view, acquisition, scene). Sorts by the first two, which are unique."""

Rules = tuple[int, int, str]
"""(gap ms, cap ms, switch): ``AttributionPolicy.session_rules``."""

DEFAULT_RULES: Rules = (30 * 60_000, 86_400_000, "tagged_or_paid")
"""Rules that timelines store as "nothing special". Part of the stored format: never change."""

# Enums are slow to ask, and these are asked for every visitor of a batch.
_NOTHING = SessionSwitch.nothing.value
_ANY_EXTERNAL = SessionSwitch.any_external.value


class Cut:
    """One session while it is cut out of the hits: where it begins, and what is counted so far."""

    __slots__ = (
        "acquisition",
        "count",
        "earlier",
        "ended_at",
        "first",
        "hour",
        "identity",
        "landing",
        "last",
        "page_views",
        "session",
        "started_at",
        "touches",
    )

    def __init__(self, first: int, hit: PlacedHit) -> None:
        at, _, _, is_page_view, acquisition, _ = hit
        self.first = first
        self.identity = ""
        self.landing = hit
        self.started_at = self.ended_at = at
        self.acquisition = acquisition
        self.last = DIRECT if acquisition is None else acquisition
        self.touches = [hit]
        self.count = 1
        self.page_views = 1 if is_page_view else 0
        self.hour = at // HOUR_MS
        # Per hour that is over: (hour, hits, page views) up to its end. Most sessions have none.
        self.earlier: list[tuple[int, int, int]] | None = None
        self.session: Session | None = None

    def extend(self, hit: PlacedHit) -> None:
        """Take one more hit, not earlier than the last."""
        at, _, _, is_page_view, acquisition, _ = hit
        self.session = None
        self.ended_at = at
        hour = at // HOUR_MS
        if hour != self.hour:
            if self.earlier is None:
                self.earlier = []
            self.earlier.append((self.hour, self.count, self.page_views))
            self.hour = hour
        self.count += 1
        if is_page_view:
            self.page_views += 1
        if acquisition is not None and (self.acquisition is None or not self.is_repeated_by(acquisition)):
            if self.acquisition is None:
                self.acquisition = acquisition
                self.touches = [hit]
            elif acquisition.is_tagged_or_paid:
                self.touches.append(hit)
            self.last = acquisition

    def is_repeated_by(self, acquisition: Acquisition) -> bool:
        """True if ``acquisition`` says again what the session's last one said."""
        last = self.last
        return acquisition is last or says_again(last, acquisition)

    def freeze(self, site: str, visitor_id: str, visitor: str) -> Session:
        """The session as it stands. ``visitor`` is the ``visitor_hash``."""
        session = self.session
        if session is None:
            acquisition = self.acquisition or DIRECT
            if not self.identity:
                self.identity = hit_id(visitor, self.landing[1])
            if self.earlier is None:
                hours: tuple[int, ...] = (self.hour * 3600,)
                hour_hits: tuple[int, ...] = (self.count,)
                hour_page_views: tuple[int, ...] = (self.page_views,)
            else:
                hours, hour_hits, hour_page_views = self._by_hour(self.earlier)
            session = self.session = Session(
                self.identity,
                visitor_id,
                site,
                self.started_at,
                self.ended_at,
                acquisition,
                self.landing[2],
                acquisition.referrer_host,
                self.count,
                self.page_views,
                hours,
                hour_hits,
                hour_page_views,
                self.landing[5],
            )
        return session

    def touchpoints(self, site: str, visitor_id: str, visitor: str) -> list[Touchpoint]:
        """The touchpoints among its hits, in time order. ``visitor`` is the ``visitor_hash``."""
        landing, identity = self.landing, self.identity
        if len(self.touches) == 1 and self.touches[0] is landing and identity:
            at, _, path, _, acquisition, scene = landing
            way = acquisition or DIRECT
            return [Touchpoint(identity, visitor_id, site, at, way, path, False, scene)]
        return [
            Touchpoint(
                # The session bears the name of its first hit, which is mostly the only touch.
                self.identity if hit is self.landing and self.identity else hit_id(visitor, hit[1]),
                visitor_id,
                site,
                hit[0],
                hit[4] or DIRECT,
                hit[2],
                False,
                hit[5],
            )
            for hit in self.touches
        ]

    def _by_hour(
        self, earlier: list[tuple[int, int, int]]
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Hours as epoch seconds, and the hits and page views in each."""
        ends = [*earlier, (self.hour, self.count, self.page_views)]
        begins = [(0, 0, 0), *earlier]
        return (
            tuple([hour * 3600 for hour, _, _ in ends]),
            tuple([end[1] - begin[1] for begin, end in zip(begins, ends, strict=True)]),
            tuple([end[2] - begin[2] for begin, end in zip(begins, ends, strict=True)]),
        )


def says_again(last: Acquisition, acquisition: Acquisition) -> bool:
    """True if ``acquisition`` says again what ``last`` said.

    That is the same key, or no more than the same referring host: after a tagged landing, a reload or the next page
    often carries the referrer without the tags.
    """
    if acquisition.key == last.key:
        return True
    host = acquisition.referrer_host
    return not acquisition.is_tagged_or_paid and host != "" and host == last.referrer_host


def touchpoint(hit: PlacedHit, site: str, visitor_id: str, visitor: str) -> Touchpoint:
    """The touchpoint that ``hit`` makes. ``visitor`` is the ``visitor_hash``."""
    at, event, path, _, acquisition, scene = hit
    return Touchpoint(hit_id(visitor, event), visitor_id, site, at, acquisition or DIRECT, path, False, scene)


def view_touchpoint(hit: PlacedHit, site: str, visitor_id: str, visitor: str) -> Touchpoint:
    """The touchpoint that the view ``hit`` makes. ``visitor`` is the ``visitor_hash``."""
    at, event, path, _, acquisition, scene = hit
    return Touchpoint(hit_id(visitor, event), visitor_id, site, at, acquisition or DIRECT, path, True, scene)


def extend_cuts(
    hits: list[PlacedHit],
    start: int,
    cuts: list[Cut],
    rules: Rules,
    old_cuts: list[Cut] | None = None,
    settled: int = 0,
    shift: int = 0,
) -> int:
    """Cut ``hits[start:]`` into sessions behind those in ``cuts`` (the last of which may go on).

    ``old_cuts`` are earlier cuts of the same hits less ``shift`` new ones, all of them before index
    ``settled``. As soon as a new border at or behind ``settled`` falls on an old one the rest is known to be
    unchanged: the fold stops there and returns the index of that old cut. Else it returns
    ``len(old_cuts)`` (0 without old cuts).
    """
    gap, cap, switch = rules
    is_switching = switch != _NOTHING
    is_any = switch == _ANY_EXTERNAL
    cut = cuts[-1] if cuts else None
    met = 0
    old_count = len(old_cuts) if old_cuts else 0
    for index in range(start, len(hits)):
        hit = hits[index]
        at = hit[0]
        if cut is not None and at - cut.ended_at <= gap and at - cut.started_at <= cap:
            acquisition = hit[4]
            if (
                acquisition is None
                or not is_switching
                or not (is_any or acquisition.is_tagged_or_paid)
                or cut.is_repeated_by(acquisition)
            ):
                cut.extend(hit)
                continue
        if old_cuts and index >= settled:
            old_index = index - shift
            while met < old_count and old_cuts[met].first < old_index:
                met += 1
            if met < old_count and old_cuts[met].first == old_index:
                return met
        cut = Cut(index, hit)
        cuts.append(cut)
    return old_count
