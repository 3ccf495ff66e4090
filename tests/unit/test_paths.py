"""Paths: what counts for a conversion, and the reason for what does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from attribution.acquisition import DIRECT
from attribution.past import Past
from attribution.paths import Considered, Path, Why
from attribution.paths import build_path as build_path_of
from attribution.paths import explain_path as explain_path_of
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.timeline import TimelineConversion
from attribution.touchpoints import Touchpoint

POLICY = AttributionPolicy()
CONVERTED = 1_700_049_600_000
LOOKBACK = POLICY.conversion_lookbacks_ms["lead"]


def touch(at: int, name: str = "t") -> Touchpoint:
    return Touchpoint(name, "visitor", "site", at, DIRECT, "/")


def build_path(touches: list[Touchpoint], at: int, type_: str, policy: AttributionPolicy) -> Path:
    return build_path_of(Past(touches), TimelineConversion(at, "c", type_), policy)


def explain_path(
    touches: list[Touchpoint], at: int, type_: str, policy: AttributionPolicy
) -> list[Considered]:
    return explain_path_of(Past(touches), TimelineConversion(at, "c", type_), policy)


def test_touch_exactly_on_either_edge_counts() -> None:
    """At the conversion, and exactly as old as the window."""
    ends = [touch(CONVERTED - LOOKBACK), touch(CONVERTED)]
    assert list(build_path(ends, CONVERTED, "lead", POLICY).touchpoints) == ends


def test_touch_one_millisecond_outside_does_not_count() -> None:
    """Neither before the window nor after the conversion."""
    outside = [touch(CONVERTED - LOOKBACK - 1), touch(CONVERTED + 1)]
    assert build_path(outside, CONVERTED, "lead", POLICY).touchpoints == ()
    assert [one.why for one in explain_path(outside, CONVERTED, "lead", POLICY)] == [
        Why.before_window,
        Why.after_conversion,
    ]


def test_each_type_has_its_own_window() -> None:
    """60 days ago counts for a purchase, not for a lead."""
    old = [touch(CONVERTED - 60 * DAY_MS)]
    assert len(build_path(old, CONVERTED, "purchase", POLICY).touchpoints) == 1
    assert len(build_path(old, CONVERTED, "lead", POLICY).touchpoints) == 0


def test_touches_of_one_instant_are_ordered_by_id() -> None:
    """So that first and last are the same on every run."""
    path = build_path([touch(CONVERTED, "b"), touch(CONVERTED, "a")], CONVERTED, "lead", POLICY)
    assert [one.touchpoint_id for one in path.touchpoints] == ["a", "b"]


def test_type_without_a_window_counts_nothing_and_says_so() -> None:
    """A type that was taken out of the policy while its facts were on their way."""
    assert build_path([touch(CONVERTED)], CONVERTED, "gone", POLICY).touchpoints == ()
    (considered,) = explain_path([touch(CONVERTED)], CONVERTED, "gone", POLICY)
    assert (considered.is_counted, considered.why) == (False, Why.no_window)


@given(st.lists(st.integers(-LOOKBACK - 2, 2), max_size=20))
def test_explanation_agrees_with_the_path(offsets: list[int]) -> None:
    """Every touch is considered; the counted ones are the path."""
    touches = [touch(CONVERTED + offset, f"{number:02}") for number, offset in enumerate(offsets)]
    considered = explain_path(touches, CONVERTED, "lead", POLICY)
    path = build_path(touches, CONVERTED, "lead", POLICY)
    assert len(considered) == len(touches)
    assert [one.touchpoint for one in considered if one.is_counted] == list(path.touchpoints)
    assert all(0 <= CONVERTED - one.touched_at <= LOOKBACK for one in path.touchpoints)
