"""Hits judged once more: their marks are replaced, whatever the order, and what changed is said to the last row."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from attribution.acquisition import Acquisition
from attribution.marks import Mark
from attribution.policy import MINUTE_MS, AttributionPolicy, SessionSwitch
from attribution.timeline import Change, Timeline
from attribution.touchpoints import Session, Touchpoint

T0 = 1_760_000_000_000
OLD = AttributionPolicy(session_switch=SessionSwitch.any_external)
NEW = AttributionPolicy(session_switch=SessionSwitch.nothing, session_gap_ms=60 * MINUTE_MS)
SEARCH = Acquisition("Organic Search", "google", "organic", referrer_host="google.com")
REFERRAL = Acquisition("Referral", "google.com", "referral", referrer_host="google.com")
MAIL = Acquisition("Email", "mail", "email", "june", is_tagged_or_paid=True)
_names = count(1)


def mark(
    minutes: int, acquisition: Acquisition | None, *, in_session: bool = True, event_hash: int = 0
) -> Mark:
    conversion = (f"{minutes:032x}", "purchase") if minutes % 7 == 0 else None
    return Mark(
        T0 + minutes * MINUTE_MS,
        event_hash or next(_names),
        in_session,
        True,
        f"/{minutes}",
        acquisition,
        conversion,
    )


def judged(mark_: Mark, acquisition: Acquisition | None, *, in_session: bool) -> Mark:
    """The same event, judged by other rules."""
    return Mark(
        mark_.occurred_at,
        mark_.event_hash,
        in_session,
        mark_.is_page_view,
        mark_.path,
        acquisition,
        mark_.conversion,
    )


class Tables:
    """The signed sums of all changes."""

    def __init__(self) -> None:
        self.sessions: Counter[Session] = Counter()
        self.touchpoints: Counter[Touchpoint] = Counter()

    def take(self, change: Change) -> None:
        self.sessions.subtract(change.sessions_minus)
        self.sessions.update(change.sessions_plus)
        self.touchpoints.subtract(change.touchpoints_minus)
        self.touchpoints.update(change.touchpoints_plus)

    def assert_stands(self, timeline: Timeline) -> None:
        assert +self.sessions == Counter(timeline.sessions())
        assert +self.touchpoints == Counter(timeline.touchpoints())
        assert not -self.sessions
        assert not -self.touchpoints


_ways = st.sampled_from([None, SEARCH, REFERRAL, MAIL])
_hits = st.lists(
    st.tuples(st.integers(0, 300), _ways, _ways, st.booleans(), st.booleans()), min_size=1, max_size=12
)


@given(hits=_hits, data=st.data())
def test_restated_in_any_batches_while_new_hits_arrive(
    hits: list[tuple[int, Acquisition | None, Acquisition | None, bool, bool]], data: st.DataObject
) -> None:
    """In the end all is as if every hit had been judged by the new rules when it came; the rows say so as well."""
    old = [mark(minutes, was, in_session=is_in) for minutes, was, _, is_in, _ in hits]
    new = [judged(mark, way, in_session=is_in) for mark, (_, _, way, _, is_in) in zip(old, hits, strict=True)]
    late = [mark(minutes, MAIL) for minutes in data.draw(st.lists(st.integers(0, 300), max_size=4))]
    timeline, tables = Timeline.empty("s", "v"), Tables()
    tables.take(timeline.apply(old, OLD))
    twice = new + data.draw(st.lists(st.sampled_from(new), max_size=4))
    steps: list[tuple[str, Mark]] = [("restate", one) for one in twice] + [("apply", one) for one in late]
    steps = data.draw(st.permutations(steps))
    while steps:
        size = data.draw(st.integers(1, 4))
        step, steps = steps[:size], steps[size:]
        tables.take(timeline.apply([one for kind, one in step if kind == "apply"], NEW))
        tables.take(timeline.restate([one for kind, one in step if kind == "restate"], NEW))
        tables.assert_stands(timeline)
        if data.draw(st.booleans()):
            timeline = Timeline.from_bytes(timeline.to_bytes(), "s", "v")
    expected = Timeline.empty("s", "v")
    expected.apply(new + late, NEW)
    assert timeline.to_bytes() == expected.to_bytes()
    tables.assert_stands(expected)


def test_nothing_changes_when_the_rules_say_the_same() -> None:
    marks = [mark(1, SEARCH), mark(3, None), mark(7, MAIL)]
    timeline = Timeline.empty("s", "v")
    timeline.apply(marks, OLD)
    before = timeline.to_bytes()
    change = timeline.restate(marks, OLD)
    assert timeline.to_bytes() == before
    assert [change.sessions_minus, change.sessions_plus, change.touchpoints_minus, change.affected] == [
        [],
        [],
        [],
        [],
    ]


def test_a_touchpoint_of_another_channel_concerns_the_conversions_behind_it() -> None:
    marks = [mark(1, SEARCH), mark(7, None), mark(14, None)]
    timeline = Timeline.empty("s", "v")
    timeline.apply(marks, OLD)
    change = timeline.restate([judged(marks[0], REFERRAL, in_session=True)], OLD)
    assert [touch.acquisition.channel for touch in change.touchpoints_minus] == ["Organic Search"]
    assert [touch.acquisition.channel for touch in change.touchpoints_plus] == ["Referral"]
    assert [int(conversion.conversion_id, 16) for conversion in change.affected] == [7, 14]


def test_a_timeline_that_was_lost_is_built_again_from_the_hits() -> None:
    """Of an order, too, that several hits report at the same instant, together or not."""
    marks = [mark(1, SEARCH), mark(7, None), mark(7, None), mark(14, MAIL, in_session=False), mark(7, None)]
    known = Timeline.empty("s", "v")
    known.apply(marks[:4], OLD)
    known.apply(marks[4:], OLD)
    assert [one.converted_at for one in known.conversions] == [T0 + 7 * MINUTE_MS, T0 + 14 * MINUTE_MS]
    lost = Timeline.empty("s", "v")
    change = lost.restate(marks, AttributionPolicy(max_hits_per_visitor=1, session_switch=OLD.session_switch))
    assert lost.to_bytes() == known.to_bytes()
    assert change.sessions_plus == known.sessions()
    assert [conversion.conversion_id for conversion in change.affected] == [
        conversion.conversion_id for conversion in known.conversions
    ]


def test_an_event_that_becomes_a_conversion_is_told_and_one_that_was_stays() -> None:
    plain = Mark(T0, 1, True, True, "/", None)
    timeline = Timeline.empty("s", "v")
    timeline.apply([plain], OLD)
    sale = Mark(T0, 1, True, True, "/", None, ("ab" * 16, "purchase"))
    assert [c.conversion_id for c in timeline.restate([sale], OLD).affected] == ["ab" * 16]
    assert timeline.restate([plain], OLD).affected == []
    assert [c.conversion_id for c in timeline.conversions] == ["ab" * 16]
