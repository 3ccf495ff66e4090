"""Many paths at once give what one path at a time gives: the same parts, the same units, for every registered model."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attribution import money
from attribution.acquisition import Acquisition
from attribution.bulk import (
    BULK_DIVISIONS,
    NEVER,
    JourneySums,
    Paths,
    parts_of,
    share_by_parts,
    shares,
    sum_by_channel,
)
from attribution.bulk.decay import halved
from attribution.learnt.journeys import Journey, journey_set
from attribution.learnt.markov import MarkovChain
from attribution.learnt.shapley import ShapleyGame
from attribution.learnt.tables import Worth
from attribution.ledger import WEIGHT_ONE
from attribution.models import DIVISIONS, Parts
from attribution.models.decay import time_decay
from attribution.paths import Path
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.touchpoints import Touchpoint

POLICY = AttributionPolicy()
CONVERTED = 1_700_049_600_000
CHANNELS = ("Direct", "Organic Search", "Paid Search", "Display", "Email")
LARGEST = 10**16
"""``MAX_MAJOR_UNITS`` of a currency with four decimals."""

_moment = st.none() | st.integers(0, 100 * DAY_MS)


def path_of(
    touches: Sequence[tuple[int, str]], lead: int | None = None, opportunity: int | None = None
) -> Path:
    """A path of touches (milliseconds before the conversion, channel), brought into order."""
    made = [
        Touchpoint(f"t{number:04}", "v", "s", CONVERTED - age, Acquisition(channel, "x", "y"), "/")
        for number, (age, channel) in enumerate(sorted(touches, reverse=True))
    ]
    moments = [None if before is None else CONVERTED - before for before in (lead, opportunity)]
    return Path(tuple(made), CONVERTED, "purchase", *moments)


some_paths = st.lists(
    st.builds(
        path_of,
        st.lists(
            st.tuples(
                st.integers(0, 90 * DAY_MS) | st.sampled_from((0, DAY_MS, 7 * DAY_MS)),
                st.sampled_from(CHANNELS),
            ),
            min_size=1,
            max_size=12,
        ),
        _moment,
        _moment,
    ),
    max_size=8,
)


def _one_by_one(name: str, paths: Sequence[Path], policy: AttributionPolicy) -> list[Parts]:
    return [DIVISIONS[name](path, policy) for path in paths]


@pytest.mark.parametrize("name", DIVISIONS)
@settings(max_examples=40)
@given(some_paths, st.integers(1, 60 * DAY_MS))
def test_every_model_gives_the_same_parts(name: str, paths: list[Path], half_life: int) -> None:
    """Found by the registry: a new model is checked here without a line of its own."""
    policy = AttributionPolicy(time_decay_half_life_ms=half_life)
    expected = [part for parts in _one_by_one(name, paths, policy) for part in parts]
    assert parts_of(name, Paths.of(paths), policy).tolist() == expected


def test_every_built_in_model_is_vectorised() -> None:
    """One that is only asked path by path would be thousands of times slower without a word."""
    assert BULK_DIVISIONS.keys() == {
        name for name, divide in DIVISIONS.items() if divide.__module__.startswith("attribution.models")
    }


def test_a_model_without_a_vectorised_form_is_asked_path_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plug-in is; from arrays alone it cannot be."""
    monkeypatch.setitem(DIVISIONS, "linear", lambda path, policy: (3,) * len(path.touchpoints))
    monkeypatch.delitem(BULK_DIVISIONS, "linear")
    paths = Paths.of([path_of([(5, "Email"), (3, "Direct")]), path_of([(1, "Email")])])
    assert parts_of("linear", paths, POLICY).tolist() == [3, 3, 3]
    bare = Paths(
        paths.names, paths.channels, paths.touched_at, paths.offsets, paths.lead_at, paths.opportunity_at
    )
    with pytest.raises(ValueError, match="path by path"):
        parts_of("linear", bare, POLICY)


def test_a_path_without_touchpoints_is_refused() -> None:
    """Its credit is unattributed under any model; segments of no length would be read wrongly."""
    with pytest.raises(ValueError, match="without touchpoints"):
        Paths.of([path_of([(5, "Email")]), path_of([])])


@pytest.mark.parametrize("name", DIVISIONS)
@settings(max_examples=40)
@given(some_paths, st.lists(st.integers(-LARGEST, LARGEST), min_size=8, max_size=8))
def test_every_model_credits_the_same_units(name: str, paths: list[Path], values: list[int]) -> None:
    """Money and billionths, any amount."""
    divided = _one_by_one(name, paths, POLICY)
    many = Paths.of(paths)
    parts = parts_of(name, many, POLICY)
    for totals in (values[: len(paths)], [WEIGHT_ONE] * len(paths)):
        expected = [
            share
            for total, one in zip(totals, divided, strict=True)
            for share in (money.share_by_parts(total, one) if any(one) else (0,) * len(one))
        ]
        found = share_by_parts(np.array(totals, dtype=np.int64), parts, many.offsets)
        assert found.tolist() == expected
        assert sum(sum_by_channel(many, found).values()) == sum(expected)


some_parts = st.lists(
    st.lists(
        st.integers(0, 5) | st.integers(0, 1 << 62) | st.sampled_from((1 << 31, (1 << 31) - 1, 1 << 62)),
        min_size=1,
        max_size=9,
    ),
    min_size=1,
    max_size=9,
)


@given(some_parts, st.lists(st.integers(-LARGEST, LARGEST) | st.integers(0, 99), min_size=9, max_size=9))
@example([[1 << 62, 1 << 62], [1 << 62, 0, 1 << 62]], [4, 5, 0, 0, 0, 0, 0, 0, 0])
@example([[3 << 60, 1 << 60, 1 << 60, 3 << 60]], [2, 0, 0, 0, 0, 0, 0, 0, 0])
@example([[0, 0], [1, 1]], [7, 7, 0, 0, 0, 0, 0, 0, 0])
def test_any_parts_are_shared_to_the_same_unit(divided: list[list[int]], values: list[int]) -> None:
    """Parts that a plug-in may think of: small and large ones in one call, ties, nobody at all."""
    totals = values[: len(divided)]
    offsets = np.cumsum([0, *map(len, divided)], dtype=np.int64)
    parts = np.array([part for one in divided for part in one], dtype=np.uint64)
    expected = [
        share
        for total, one in zip(totals, divided, strict=True)
        for share in (money.share_by_parts(total, one) if any(one) else (0,) * len(one))
    ]
    assert share_by_parts(np.array(totals, dtype=np.int64), parts, offsets).tolist() == expected


def test_remainders_too_near_for_a_double_are_compared_exactly() -> None:
    """The second touch has one part in 2^62 more than the first, so the odd unit is its own; and the mirror image."""
    for parts, expected in (
        ([(1 << 61) - 1, (1 << 61) + 1], [0, 1]),
        ([(1 << 61) + 1, (1 << 61) - 1], [1, 0]),
    ):
        found = share_by_parts(np.array([1]), np.array(parts, dtype=np.uint64), np.array([0, 2]))
        assert found.tolist() == money.share_by_parts(1, parts) == expected


def test_a_share_just_below_a_whole_unit_is_not_rounded_up() -> None:
    """10^16 units: a double has no bits left for the remainder."""
    parts = [(1 << 62) // 3, (1 << 62) // 7, 1 << 62, 5]
    found = share_by_parts(np.array([LARGEST - 1]), np.array(parts, dtype=np.uint64), np.array([0, 4]))
    assert found.tolist() == money.share_by_parts(LARGEST - 1, parts)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two paths at a time or all at once; long paths among short ones."""
    random = Random(4)
    paths = [
        path_of(
            [
                (random.randrange(90 * DAY_MS), random.choice(CHANNELS))
                for _ in range(random.choice((1, 3, 400)))
            ],
            30 * DAY_MS,
        )
        for _ in range(9)
    ]
    many, values = Paths.of(paths), np.array([random.randrange(10**6) for _ in paths])
    for name in DIVISIONS:
        parts = parts_of(name, many, POLICY)
        whole = share_by_parts(values, parts, many.offsets)
        with monkeypatch.context() as patch:
            patch.setattr(shares, "_CHUNK", 2)
            assert share_by_parts(values, parts, many.offsets).tolist() == whole.tolist()


@given(st.lists(st.integers(0, 1 << 50), min_size=1, max_size=30), st.integers(1, 1 << 54))
def test_powers_of_one_half_are_the_same_integers(ages: list[int], half_life: int) -> None:
    """Also ages of thousands of half-lives and half-lives of thousands of years."""
    youngest = min(ages)
    path = path_of([(age, "Email") for age in ages])
    expected = time_decay(path, AttributionPolicy(time_decay_half_life_ms=half_life))
    found = halved(np.array(sorted(ages, reverse=True)) - youngest, half_life)
    assert tuple(found.tolist()) == expected


def test_a_half_life_of_a_million_years_is_refused() -> None:
    """Its digits would not fit."""
    with pytest.raises(ValueError, match="half-life"):
        halved(np.array([1]), 1 << 55)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), st.integers(0, 5), st.integers(0, 5)
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(Worth),
)
def test_journeys_added_up_in_chunks_teach_the_same(
    counted: list[tuple[list[str], int, int]], worth: Worth
) -> None:
    """As ``MarkovChain`` and ``ShapleyGame`` over each sequence."""
    names = tuple("abcd")
    sums = JourneySums(names)
    for chunk in (counted[:3], counted[3:]):
        if chunk:
            sums.add(
                Paths(
                    names,
                    np.array([names.index(channel) for one, _, _ in chunk for channel in one]),
                    np.zeros(sum(len(one) for one, _, _ in chunk), dtype=np.int64),
                    np.cumsum([0, *(len(one) for one, _, _ in chunk)]),
                    np.full(len(chunk), NEVER),
                    np.full(len(chunk), NEVER),
                ),
                np.array([converted for _, converted, _ in chunk]),
                np.array([lost for _, _, lost in chunk]),
            )
    journeys = journey_set([Journey(tuple(one), converted, lost) for one, converted, lost in counted])
    chain, game = MarkovChain(journeys), ShapleyGame(journeys, worth)
    effects = chain.removal_effects(journeys.converted, journeys.lost)
    values = game.values(game.set_counts(journeys.converted), game.set_counts(journeys.lost)).values
    for found, expected in ((sums.removal_effects(), effects), (sums.shapley_values(worth), values)):
        by_channel = dict(zip(journeys.channels, expected.tolist(), strict=True))
        assert found == pytest.approx({name: by_channel.get(name, 0.0) for name in names}, abs=1e-12)


def test_journeys_of_other_channels_are_not_added() -> None:
    """Their numbers would mean something else."""
    with pytest.raises(ValueError, match="other channels"):
        JourneySums(("Direct",)).add(Paths.of([path_of([(5, "Email")])]), np.array([1]), np.array([0]))
    with pytest.raises(ValueError, match="63 channels"):
        JourneySums(tuple(f"{number:02}" for number in range(63)))
