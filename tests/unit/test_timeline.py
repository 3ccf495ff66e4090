"""Timelines: where sessions begin and end, which hits are touchpoints, and what a late hit changes."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.acquisition import DIRECT, Acquisition
from attribution.drops import DropReason
from attribution.enrich import enrich
from attribution.hit import Hit
from attribution.ids import seal_click_id
from attribution.packing import pack_acquisition, unpack_acquisition
from attribution.policy import DAY_MS, MINUTE_MS, AttributionPolicy, SessionSwitch
from attribution.scenes import scene_of
from attribution.stored_past import StoredPast
from attribution.timeline import Change, Mark, Timeline, UnreadableTimeline, mark_of

POLICY = AttributionPolicy()
NOON = 1_700_049_600_000  # 2023-11-15T12:00:00Z, start of an hour
GAP, CAP = POLICY.session_gap_ms, POLICY.session_cap_ms
GOOGLE = Acquisition("Paid Search", "google", "cpc", "brand", click_id="c1", is_tagged_or_paid=True)
GOOGLE_AGAIN = Acquisition("Paid Search", "google", "cpc", "brand", click_id="c2", is_tagged_or_paid=True)
MAIL = Acquisition("Email", "mail", "email", "june", is_tagged_or_paid=True)
BLOG = Acquisition("Referral", "blog.example", "referral", referrer_host="blog.example")
PHONE, LAPTOP = scene_of("mobile", "DE"), scene_of("desktop", "FR")
FORUM = Acquisition("Referral", "forum.example", "referral", referrer_host="forum.example")

_numbers = itertools.count(1)


def mark(at: int, acquisition: Acquisition | None = None, **fields: object) -> Mark:
    """A page view at ``at`` with a fresh event hash; ``fields`` override."""
    given_fields = {
        "event_hash": next(_numbers),
        "in_session": True,
        "is_page_view": True,
        "path": "/",
    } | fields
    return Mark(occurred_at=at, acquisition=acquisition, **given_fields)  # type: ignore[arg-type]


def timeline_of(*marks: Mark, policy: AttributionPolicy = POLICY) -> Timeline:
    timeline = Timeline.empty("site", "visitor")
    timeline.apply(marks, policy)
    return timeline


def spans(timeline: Timeline) -> list[tuple[int, int]]:
    return [(session.started_at - NOON, session.hits) for session in timeline.sessions()]


def switched(switch: SessionSwitch) -> AttributionPolicy:
    return AttributionPolicy(session_switch=switch)


def test_hit_exactly_at_the_gap_extends_the_session() -> None:
    """A pause of exactly 30 minutes still belongs."""
    assert spans(timeline_of(mark(NOON), mark(NOON + GAP))) == [(0, 2)]


def test_hit_one_millisecond_after_the_gap_starts_a_session() -> None:
    """Longer than the gap ends it."""
    assert spans(timeline_of(mark(NOON), mark(NOON + GAP + 1))) == [(0, 1), (GAP + 1, 1)]


def test_hit_exactly_at_the_cap_belongs_and_one_later_does_not() -> None:
    """A busy day is cut 24 hours after its first hit."""
    busy = [mark(NOON + offset) for offset in range(0, CAP + 1, GAP)]
    assert spans(timeline_of(*busy)) == [(0, 49)]
    assert spans(timeline_of(*busy, mark(NOON + CAP + 1))) == [(0, 49), (CAP + 1, 1)]


@pytest.mark.parametrize(
    ("switch", "second", "sessions"),
    [
        (SessionSwitch.nothing, MAIL, 1),
        (SessionSwitch.nothing, FORUM, 1),
        (SessionSwitch.tagged_or_paid, MAIL, 2),
        (SessionSwitch.tagged_or_paid, GOOGLE_AGAIN, 2),
        (SessionSwitch.tagged_or_paid, FORUM, 1),
        (SessionSwitch.tagged_or_paid, GOOGLE, 1),
        (SessionSwitch.any_external, MAIL, 2),
        (SessionSwitch.any_external, FORUM, 2),
        (SessionSwitch.any_external, GOOGLE, 1),
    ],
)
def test_switch_decides_which_new_source_starts_a_session(
    switch: SessionSwitch, second: Acquisition, sessions: int
) -> None:
    """The same source again never does; another click id of the same campaign is another source."""
    timeline = timeline_of(mark(NOON, GOOGLE), mark(NOON + 1, second), policy=switched(switch))
    assert len(timeline.sessions()) == sessions


def test_session_without_source_counts_as_direct_for_the_switch() -> None:
    """A tagged hit splits a Direct session; a plain referrer does so only under any_external."""
    assert len(timeline_of(mark(NOON), mark(NOON + 1, MAIL)).sessions()) == 2
    assert len(timeline_of(mark(NOON), mark(NOON + 1, BLOG)).sessions()) == 1
    any_external = switched(SessionSwitch.any_external)
    assert len(timeline_of(mark(NOON), mark(NOON + 1, BLOG), policy=any_external).sessions()) == 2


def test_hit_tagged_as_direct_does_not_end_a_direct_session() -> None:
    """It says what was known already."""
    tagged = Acquisition("Direct", "(direct)", "(none)", is_tagged_or_paid=True)
    assert len(timeline_of(mark(NOON), mark(NOON + 1, tagged)).sessions()) == 1


def test_source_is_compared_with_the_last_one_seen() -> None:
    """google, then a plain referrer, then the same google link again: that is a new arrival."""
    timeline = timeline_of(mark(NOON, GOOGLE), mark(NOON + 1, BLOG), mark(NOON + 2, GOOGLE))
    assert spans(timeline) == [(0, 2), (2, 1)]


def test_untagged_repeat_of_the_last_referrer_is_nothing_new() -> None:
    """After a tagged landing, the next page often carries the referrer without the tags."""
    tagged = Acquisition("Display", "dfa", "cpm", referrer_host="ads.example", is_tagged_or_paid=True)
    again = Acquisition("Referral", "ads.example", "referral", referrer_host="ads.example")
    other = Acquisition("Referral", "news.example", "referral", referrer_host="news.example")
    policy = switched(SessionSwitch.any_external)
    marks = [mark(NOON + at, way) for at, way in enumerate((tagged, again, tagged, other, again))]
    assert spans(timeline_of(*marks, policy=policy)) == [(0, 3), (3, 1), (4, 1)]


def test_session_takes_the_first_source_it_has() -> None:
    """Not that of its first hit only."""
    (session,) = timeline_of(mark(NOON, path="/a"), mark(NOON + 1, BLOG, path="/b")).sessions()
    assert session.acquisition == BLOG
    assert session.landing_page == "/a"
    assert session.referrer_host == "blog.example"


def test_touchpoint_is_the_hit_that_brings_the_source() -> None:
    """One per session, with the landing page of its own hit."""
    (touch,) = timeline_of(mark(NOON, path="/a"), mark(NOON + 1, BLOG, path="/b")).touchpoints()
    assert (touch.touched_at, touch.acquisition, touch.landing_page) == (NOON + 1, BLOG, "/b")


def test_direct_session_has_its_first_hit_as_touchpoint() -> None:
    """Somebody came, from nowhere that we know."""
    (touch,) = timeline_of(mark(NOON, path="/a"), mark(NOON + 1, path="/b")).touchpoints()
    assert (touch.touched_at, touch.acquisition, touch.landing_page) == (NOON, DIRECT, "/a")


def test_further_tagged_hit_of_a_session_is_a_touchpoint() -> None:
    """Where the switch does not split, each new tagged source still earns its place; plain ones do not."""
    marks = [
        mark(NOON + n, source) for n, source in enumerate([GOOGLE, GOOGLE, BLOG, GOOGLE, MAIL, None, FORUM])
    ]
    timeline = timeline_of(*marks, policy=switched(SessionSwitch.nothing))
    assert [touch.touched_at - NOON for touch in timeline.touchpoints()] == [0, 3, 4]
    assert len(timeline.sessions()) == 1


def test_hours_of_a_session_begin_with_its_start() -> None:
    """The roll-up counts the session in the first hour and each hit in its own."""
    start = NOON + 50 * MINUTE_MS
    offsets = [0, 5, 15, 20, 45, 75]
    marks = [mark(start + offset * MINUTE_MS, is_page_view=offset != 15) for offset in offsets]
    (session,) = timeline_of(*marks).sessions()
    assert session.hours == (NOON // 1000, NOON // 1000 + 3600, NOON // 1000 + 7200)
    assert session.hour_hits == (2, 3, 1)
    assert session.hour_page_views == (2, 2, 1)
    assert (session.hits, session.page_views) == (6, 5)
    assert (session.started_at, session.ended_at) == (start, start + 75 * MINUTE_MS)


def test_late_hit_joins_two_sessions() -> None:
    """Two sessions are taken back, one is written; the later touchpoint goes."""
    timeline = timeline_of(mark(NOON), mark(NOON + 2 * GAP))
    change = timeline.apply([mark(NOON + GAP)], POLICY)
    assert [session.hits for session in change.sessions_minus] == [1, 1]
    assert [session.hits for session in change.sessions_plus] == [3]
    assert [touch.touched_at for touch in change.touchpoints_minus] == [NOON + 2 * GAP]
    assert change.touchpoints_plus == []


def test_late_tagged_hit_splits_a_session() -> None:
    """The second half now belongs to the new source."""
    timeline = timeline_of(mark(NOON), mark(NOON + 10))
    change = timeline.apply([mark(NOON + 5, MAIL)], POLICY)
    assert [session.hits for session in change.sessions_minus] == [2]
    assert [(session.hits, session.acquisition) for session in change.sessions_plus] == [
        (1, DIRECT),
        (2, MAIL),
    ]
    assert change.touchpoints_minus == []
    assert [touch.acquisition for touch in change.touchpoints_plus] == [MAIL]


def test_late_hit_changes_nothing_beyond_the_border_that_stays() -> None:
    """Sessions of other days are neither taken back nor written again."""
    days = [mark(NOON + day * DAY_MS) for day in range(10)]
    timeline = timeline_of(*days)
    change = timeline.apply([mark(NOON + 4 * DAY_MS + 1)], POLICY)
    assert [session.started_at for session in change.sessions_minus] == [NOON + 4 * DAY_MS]
    assert [session.hits for session in change.sessions_plus] == [2]
    assert change.touchpoints_minus == change.touchpoints_plus == []


def test_earlier_first_hit_renames_the_session() -> None:
    """The id of a session is that of its first hit."""
    timeline = timeline_of(mark(NOON))
    change = timeline.apply([mark(NOON - 1, path="/first")], POLICY)
    (old,), (new,) = change.sessions_minus, change.sessions_plus
    assert old.session_id != new.session_id
    assert new.landing_page == "/first"


def test_hits_of_one_instant_are_ordered_by_event_hash() -> None:
    """Whichever arrives first."""
    first, second = mark(NOON, path="/low", event_hash=1), mark(NOON, path="/high", event_hash=2**64 - 1)
    for order in ([first, second], [second, first]):
        timeline = Timeline.empty("site", "visitor")
        for one in order:
            timeline.apply([one], POLICY)
        assert [session.landing_page for session in timeline.sessions()] == ["/low"]


def test_duplicate_is_dropped_in_and_across_batches() -> None:
    """Also when it has another time: the first copy in the log counts."""
    one = mark(NOON, event_hash=7)
    timeline = Timeline.empty("site", "visitor")
    assert timeline.apply([one, one], POLICY).reasons == [None, DropReason.duplicate]
    change = timeline.apply([mark(NOON + 3, event_hash=7)], POLICY)
    assert change == Change([DropReason.duplicate], [], [], [], [], [])
    assert spans(timeline) == [(0, 1)]


def test_duplicate_outside_sessions_is_dropped() -> None:
    """Impressions are deduplicated like visits, also after a reload."""
    outside = mark(NOON, in_session=False, event_hash=9)
    timeline = timeline_of(outside)
    again = Timeline.from_bytes(timeline.to_bytes(), "site", "visitor")
    assert again.apply([outside], POLICY).reasons == [DropReason.duplicate]
    assert again.sessions() == again.touchpoints() == []


def test_visitor_over_the_limit_is_dropped_and_a_duplicate_stays_a_duplicate() -> None:
    """The limit counts accepted hits, those outside sessions too."""
    policy = AttributionPolicy(max_hits_per_visitor=2)
    first = mark(NOON, event_hash=1)
    timeline = Timeline.empty("site", "visitor")
    reasons = timeline.apply([first, mark(NOON, in_session=False), mark(NOON), first], policy).reasons
    assert reasons == [None, None, DropReason.visitor_over_limit, DropReason.duplicate]
    assert timeline.hit_count == 2


def test_conversion_is_affected_by_any_late_touch_not_after_it() -> None:
    """Outside today's window too: the conversion may be credited under a policy with a longer one."""
    lookback = POLICY.conversion_lookbacks_ms["lead"]
    bought = ("0" * 31 + "1", "lead")
    for offset, is_affected in [(-lookback - 1, True), (-lookback, True), (0, True), (1, False)]:
        timeline = timeline_of(mark(NOON, in_session=False, conversion=bought))
        change = timeline.apply([mark(NOON + offset)], POLICY)
        assert [conversion.conversion_id for conversion in change.affected] == [bought[0]] * is_affected, (
            offset
        )


def test_new_conversion_is_affected_even_without_any_touch() -> None:
    """Its value must stand somewhere: unattributed."""
    change = Timeline.empty("site", "visitor").apply(
        [mark(NOON, in_session=False, conversion=("ab" * 16, "purchase"))], POLICY
    )
    assert [(c.conversion_id, c.type, c.converted_at) for c in change.affected] == [
        ("ab" * 16, "purchase", NOON)
    ]


def test_conversion_is_affected_when_a_touch_moves_away() -> None:
    """A touchpoint that is taken back changes the path as well."""
    bought = ("ab" * 16, "purchase")
    timeline = timeline_of(mark(NOON), mark(NOON + 2 * GAP, conversion=bought))
    change = timeline.apply([mark(NOON + GAP)], POLICY)
    assert change.touchpoints_plus == []
    assert [conversion.conversion_id for conversion in change.affected] == [bought[0]]


def test_more_hits_without_a_changed_touch_affect_no_conversion() -> None:
    """The usual case costs the credit stage nothing."""
    timeline = timeline_of(mark(NOON), mark(NOON + 1, conversion=("ab" * 16, "purchase")))
    assert timeline.apply([mark(NOON + 2)], POLICY).affected == []


def test_new_session_rules_cut_the_whole_timeline_anew() -> None:
    """A timeline remembers the rules it was cut by, so that the change takes back what was written."""
    shorter = AttributionPolicy(session_gap_ms=MINUTE_MS)
    timeline = timeline_of(mark(NOON), mark(NOON + 2 * MINUTE_MS))
    reloaded = Timeline.from_bytes(timeline.to_bytes(), "site", "visitor")
    before = reloaded.sessions()
    change = reloaded.apply([mark(NOON + 10 * MINUTE_MS)], shorter)
    assert change.sessions_minus == before
    assert [session.hits for session in change.sessions_plus] == [1, 1, 1]
    again = Timeline.from_bytes(reloaded.to_bytes(), "site", "visitor")
    assert len(again.sessions()) == 3


def test_dropped_hits_leave_the_old_session_rules_in_force() -> None:
    """Nothing accepted, nothing changed: the caller need not write such a timeline back."""
    again = mark(NOON)
    timeline = timeline_of(again, mark(NOON + 2 * MINUTE_MS))
    stored = timeline.to_bytes()
    change = timeline.apply([again], AttributionPolicy(session_gap_ms=MINUTE_MS))
    assert change == Change([DropReason.duplicate], [], [], [], [], [])
    assert timeline.to_bytes() == stored


def test_bytes_do_not_depend_on_the_order_of_arrival() -> None:
    """The stored form is a function of the set of hits."""
    marks = [
        mark(NOON, GOOGLE, path="/a", scene=PHONE),
        mark(NOON + 1, path="/b", scene=LAPTOP),
        mark(NOON + DAY_MS, MAIL, path="/a", conversion=("cd" * 16, "lead"), scene=PHONE),
        mark(NOON + 2, in_session=False),
        mark(NOON + 3, in_session=False, conversion=("ab" * 16, "purchase")),
    ]
    stored = set()
    for order in itertools.permutations(marks):
        timeline = Timeline.empty("site", "visitor")
        for one in order:
            timeline.apply([one], POLICY)
        stored.add(timeline.to_bytes())
    assert len(stored) == 1


def test_reloaded_timeline_is_the_same_timeline() -> None:
    """Sessions, touchpoints, conversions and bytes survive."""
    timeline = timeline_of(
        mark(NOON, GOOGLE), mark(NOON + 1), mark(NOON + DAY_MS, conversion=("ab" * 16, "rent"))
    )
    again = Timeline.from_bytes(timeline.to_bytes(), "site", "visitor")
    assert again.sessions() == timeline.sessions()
    assert again.touchpoints() == timeline.touchpoints()
    assert again.conversions == timeline.conversions
    assert again.to_bytes() == timeline.to_bytes()


def test_empty_timeline_can_be_stored() -> None:
    """A visitor whose hits were all dropped."""
    again = Timeline.from_bytes(Timeline.empty("site", "visitor").to_bytes(), "site", "visitor")
    assert (again.sessions(), again.hit_count) == ([], 0)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"garbage", b"\x90", b"\x9b\x02", bytes(200)])
def test_garbage_is_unreadable(data: bytes) -> None:
    """A named error, so that the worker stops instead of guessing."""
    with pytest.raises(UnreadableTimeline):
        Timeline.from_bytes(data, "site", "visitor")


def test_unknown_format_is_unreadable() -> None:
    """A timeline written by a later version."""
    data = bytearray(timeline_of(mark(NOON)).to_bytes())
    assert data[1] == 1
    data[1] = 2
    with pytest.raises(UnreadableTimeline, match="format 2"):
        Timeline.from_bytes(bytes(data), "site", "visitor")


@given(st.data())
def test_damaged_bytes_are_unreadable_or_still_work(data: st.DataObject) -> None:
    """Never another error, whatever byte is turned or cut off."""
    timeline = timeline_of(
        mark(NOON, GOOGLE, path="/a", scene=PHONE),
        mark(NOON + 1, BLOG, conversion=("ab" * 16, "purchase"), scene=LAPTOP),
        mark(NOON, in_session=False),
        mark(NOON, MAIL, in_session=False, is_view=True, scene=PHONE, event_hash=1 << 40),
    )
    stored = bytearray(timeline.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    stored = stored[: data.draw(st.integers(1, len(stored)))]
    with suppress(UnreadableTimeline):
        looked_back = StoredPast.from_bytes(bytes(stored), "site", "visitor")
    try:
        damaged = Timeline.from_bytes(bytes(stored), "site", "visitor")
    except UnreadableTimeline:
        return
    assert {*looked_back.touchpoints} == {*damaged.touchpoints()}
    damaged.apply([mark(NOON + 5), mark(NOON - 5)], POLICY)
    assert damaged.sessions()


def test_timeline_of_a_usual_visitor_is_small() -> None:
    """Five touchpoints, eight page views, one order: the memory of the state store is made of these."""
    visits = [
        (
            "https://shop.example/?utm_source=google&utm_medium=cpc&utm_campaign=brand_search&gclid="
            + "A" * 80,
            "",
        ),
        ("https://shop.example/pricing", ""),
        ("https://shop.example/products/alpha", "https://www.google.com/"),
        ("https://shop.example/products/beta", ""),
        ("https://shop.example/?utm_source=newsletter&utm_medium=email&utm_campaign=june", ""),
        ("https://shop.example/", ""),
        (
            "https://shop.example/products/alpha?utm_source=facebook&utm_medium=paid_social&utm_campaign=lookalike",
            "",
        ),
        ("https://shop.example/checkout", ""),
    ]
    starts = [0, 1, 1440, 1442, 4000, 9000, 13000, 13003]
    marks = []
    for number, ((url, referrer), minute) in enumerate(zip(visits, starts, strict=True)):
        hit = Hit(
            event_id=f"event-{number}",
            site="site",
            visitor_id="visitor",
            occurred_at=NOON + minute * MINUTE_MS + 123 * number,
            received_at=NOON,
            event="purchase" if number == 7 else "page_view",
            url=url,
            referrer=referrer,
            user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)",
            country="DE",
        )
        marks.append(mark_of(hit, enrich(hit), POLICY))
    timeline = timeline_of(*marks)
    assert len(timeline.touchpoints()) == 5
    assert len(timeline.to_bytes()) <= 330


def test_mark_keeps_of_a_click_id_only_whether_it_is_the_same() -> None:
    """The text is personal and long; its digest still tells two clicks apart."""
    assert "c1" not in repr(seal_click_id(GOOGLE))
    assert seal_click_id(GOOGLE).key != seal_click_id(GOOGLE_AGAIN).key
    assert seal_click_id(MAIL) is MAIL


@given(
    st.builds(
        Acquisition,
        *[st.sampled_from(["", "google", "cpc", "Direct"]) | st.text(max_size=3)] * 10,
        st.booleans(),
    )
)
def test_packed_acquisition_comes_back(acquisition: Acquisition) -> None:
    """For any texts, those in the table of words and others."""
    assert unpack_acquisition(pack_acquisition(acquisition)) == acquisition


_between = st.sampled_from(["nothing", "stored", "asked", "reloaded"])
_step = st.sampled_from([0, 0, 1, 3, 7, 9, 10, 10, 11, 12, -1, -8, -20, -40])
"""Since the latest hit so far; below 0 = late."""
_visit = st.tuples(
    _step,
    st.sampled_from([None, None, GOOGLE, GOOGLE_AGAIN, BLOG, FORUM]),
    st.sampled_from([0, PHONE, PHONE, LAPTOP]),
)


@given(st.lists(st.tuples(_between, st.lists(_visit, min_size=1, max_size=4)), max_size=8))
def test_changes_add_up_whatever_happens_to_the_timeline_in_between(
    batches: list[tuple[str, list[tuple[int, Acquisition | None, int]]]],
) -> None:
    """Stored, read back, asked for its sessions, with late hits or none: the changes lead to what one batch gives."""
    policy = AttributionPolicy(session_gap_ms=10, session_cap_ms=25)
    timeline, everything, latest = Timeline.empty("site", "visitor"), list[Mark](), NOON
    sessions, touchpoints = set[str](), set[str]()
    for between, visits in batches:
        if between == "stored":
            timeline.to_bytes()
        elif between == "asked":
            timeline.sessions()
        elif between == "reloaded":
            timeline = Timeline.from_bytes(timeline.to_bytes(), "site", "visitor")
        marks = []
        for step, acquisition, scene in visits:
            event_hash = next(_numbers) * 97 % 89 << 32 | next(_numbers)
            marks.append(mark(latest + step, acquisition, event_hash=event_hash, scene=scene))
            latest = max(latest, latest + step)
        change = timeline.apply(marks, policy)
        everything += marks
        for standing, minus, plus in (
            (sessions, change.sessions_minus, change.sessions_plus),
            (touchpoints, change.touchpoints_minus, change.touchpoints_plus),
        ):
            gone, new = set(map(repr, minus)), set(map(repr, plus))
            assert gone <= standing
            assert not new & standing
            standing -= gone
            standing |= new
    at_once = timeline_of(*everything, policy=policy)
    assert sessions == set(map(repr, at_once.sessions())) == set(map(repr, timeline.sessions()))
    assert touchpoints == set(map(repr, at_once.touchpoints())) == set(map(repr, timeline.touchpoints()))
    assert timeline.to_bytes() == at_once.to_bytes()
