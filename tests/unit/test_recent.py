"""Recent timelines: never more than the budget, whoever comes, and never anything but what was given back."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.enrich import enrich
from attribution.marks import Mark, mark_of
from attribution.policy import AttributionPolicy
from attribution.timeline import Timeline
from bench.traffic import build_traffic
from streams.recent import RecentTimelines, held_bytes
from streams.stitch_read import Visitor

POLICY = AttributionPolicy()
OWNERS = ("one", "two", "three")
VISITORS = [("s", str(number)) for number in range(8)]
SIZES = st.integers(0, 2_000)
KINDS = ("give back", "give some back", "fail")
BATCHES = st.tuples(
    st.sampled_from(OWNERS),
    st.dictionaries(st.sampled_from(VISITORS), SIZES, min_size=1),
    st.dictionaries(st.sampled_from(VISITORS), SIZES),
    st.sampled_from(KINDS),
)


class Refused(Exception):
    """A batch that fails."""


@given(budget=st.integers(0, 12 * held_bytes(1_000)), batches=st.lists(BATCHES, max_size=30))
def test_the_budget_holds_whoever_comes(
    budget: int, batches: list[tuple[str, dict[Visitor, int], dict[Visitor, int], str]]
) -> None:
    """``given``: what each batch of each owner gave back last. Only this very object may come out, and only to him."""
    recent = RecentTimelines(budget)
    given: dict[tuple[str, Visitor], Timeline] = {}
    for owner, read, changed, kind in batches:
        try:
            with recent.loan(owner) as loan:
                missing = loan.take(read)
                for visitor in read:
                    if visitor not in missing:
                        assert loan.timeline(visitor) is given[owner, visitor]
                        assert loan.key(visitor) == visitor[1].encode()
                for visitor in missing:
                    loan.add(visitor, Timeline.empty(*visitor), visitor[1].encode(), read[visitor])
                assert recent.held <= budget or len(recent) == 0
                if kind == "fail":
                    raise Refused
                without = list(read)[:2] if kind == "give some back" else []
                given |= {(owner, visitor): loan.timeline(visitor) for visitor in read}
                loan.give_back({v: size for v, size in changed.items() if v in read}, without)
                for visitor in without:
                    del given[owner, visitor]
        except Refused:
            for visitor in read:
                given.pop((owner, visitor), None)
        assert recent.held <= budget
    for owner in OWNERS:
        with recent.loan(owner) as loan:
            loan.take(VISITORS)
    assert (recent.held, len(recent)) == (0, 0)


def test_who_was_not_seen_for_longest_makes_room() -> None:
    recent = RecentTimelines(3 * held_bytes(100))
    for number in (0, 1, 2, 0, 3):
        visitor = ("s", str(number))
        with recent.loan("one") as loan:
            for missing in loan.take([visitor]):
                loan.add(missing, Timeline.empty(*missing), b"", 100)
            loan.give_back({})
    with recent.loan("one") as loan:
        assert loan.take(("s", str(number)) for number in range(4)) == [("s", "1")]


@pytest.mark.parametrize(("fewest", "most"), [(1, 2), (5, 8), (9, 20), (200, 400)])
def test_a_timeline_takes_no_more_memory_than_it_counts_for(fewest: int, most: int) -> None:
    """As a worker has it: its hits come in several batches, or it was read back and is worked on."""
    rng = random.Random(1)
    marks: dict[Visitor, list[Mark]] = {}
    for hit in build_traffic(12_000).hits:
        if hit.visitor_id.startswith("robot"):
            continue
        visitor = ("s", hit.visitor_id if most < 100 else str(rng.randrange(40)))
        marks.setdefault(visitor, []).append(mark_of(hit, enrich(hit), POLICY))
    visitors = {visitor: its for visitor, its in marks.items() if fewest <= len(its) <= most}
    assert len(visitors) >= 30
    sizes: list[int] = []
    held: list[Timeline] = []
    tracemalloc.start()
    try:
        for (site, visitor_id), its in visitors.items():
            timeline = Timeline.empty(site, visitor_id)
            for start in range(0, len(its) - 1, 3):
                timeline.apply(its[start : min(start + 3, len(its) - 1)], POLICY)
                timeline.to_bytes()
            timeline = Timeline.from_bytes(timeline.to_bytes(), site, visitor_id)
            timeline.apply(its[-1:], POLICY)
            sizes.append(held_bytes(len(timeline.to_bytes())))
            held.append(timeline)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < sum(sizes) < 4 * taken
