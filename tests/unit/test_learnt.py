"""Learnt models: published figures, brute force, and what may not matter."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import Rejected
from attribution.learnt import markov
from attribution.learnt.journeys import Journey, channels_of, grouped
from attribution.learnt.markov import removal_effects
from attribution.learnt.shapley import shapley_values

some_journeys = st.lists(
    st.builds(
        Journey,
        channels=st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(tuple),
        converted=st.integers(0, 5),
        lost=st.integers(0, 5),
    ),
    min_size=1,
    max_size=12,
)


def test_markov_gives_the_figures_of_a_published_example() -> None:
    """serhiipuzyrov.com, 2019: without Google Ads 0.2 of 0.8 is left, without mailing 0.4."""
    found = removal_effects(
        [
            Journey(("google ads",), 2, 1),
            Journey(("mailing",), 1, 0),
            Journey(("google ads", "mailing"), 1, 0),
        ]
    )
    assert found == pytest.approx({"google ads": 0.75, "mailing": 0.5}, abs=1e-12)


def test_markov_gives_the_figures_of_another_one() -> None:
    """analyzecore.com, 2016: C1 > C2 > C3 converts, C1 and C2 > C3 do not; two thirds of C1's walks are not needed."""
    found = removal_effects(
        [Journey(("C1", "C2", "C3"), 1, 0), Journey(("C1",), 0, 1), Journey(("C2", "C3"), 0, 1)]
    )
    assert found == pytest.approx({"C1": 0.5, "C2": 1.0, "C3": 1.0}, abs=1e-12)


def _without(journeys: Sequence[Journey], order: int, channel: str) -> float:
    """The probability of converting when each step to ``channel`` is lost: by walking until nothing is left."""
    steps: dict[tuple[str, ...], dict[tuple[str, ...] | bool, int]] = {}
    for journey in journeys:
        here: tuple[str, ...] = ()
        for end in range(1, len(journey.channels) + 1):
            there = journey.channels[max(0, end - order) : end]
            steps.setdefault(here, {}).setdefault(there, 0)
            steps[here][there] += journey.converted + journey.lost
            here = there
        for is_converted, count in ((True, journey.converted), (False, journey.lost)):
            steps.setdefault(here, {}).setdefault(is_converted, 0)
            steps[here][is_converted] += count
    mass: dict[tuple[str, ...], float] = {(): 1.0}
    converted = 0.0
    while sum(mass.values()) > 1e-14:
        moved: dict[tuple[str, ...], float] = {}
        for here, share in mass.items():
            total = sum(steps[here].values())
            for there, count in steps[here].items():
                if there is True:
                    converted += share * count / total
                elif there is not False and there[-1] != channel:
                    moved[there] = moved.get(there, 0.0) + share * count / total
        mass = moved
    return converted


@given(some_journeys, st.integers(1, 4))
def test_markov_is_what_is_left_when_all_walks_are_walked(journeys: list[Journey], order: int) -> None:
    """To 1e-9, for each order."""
    journeys = grouped(journeys)
    if not journeys:
        return
    whole = _without(journeys, order, "nobody")
    found = removal_effects(journeys, order)
    assert list(found) == channels_of(journeys)
    for channel, effect in found.items():
        expected = 1 - _without(journeys, order, channel) / whole if whole else 0.0
        assert effect == pytest.approx(expected, abs=1e-9)


@given(some_journeys)
def test_markov_does_not_depend_on_how_journeys_are_counted(journeys: list[Journey]) -> None:
    """Grouped or one by one, in any order."""
    whole = [journey for journey in journeys if journey.converted + journey.lost]
    if whole:
        assert removal_effects(grouped(whole)) == pytest.approx(removal_effects(whole[::-1]), abs=1e-12)


def test_markov_says_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that it does not have, and too many states to invert."""
    journeys = [Journey(("a", "b"), 1, 1)]
    with pytest.raises(Rejected, match="from 1 to 4"):
        removal_effects(journeys, 5)
    monkeypatch.setattr(markov, "MAX_STATES", 2)
    with pytest.raises(Rejected, match="choose a lower order"):
        removal_effects(journeys, 2)


def test_nobody_converted() -> None:
    """Nothing to lose."""
    assert removal_effects([Journey(("a",), 0, 3)]) == {"a": 0.0}


def _brute_force(journeys: Sequence[Journey]) -> dict[str, Fraction]:
    """The mean over all orders of what a channel adds when it joins those before it."""
    channels = channels_of(journeys)
    orders = list(permutations(channels))
    added = dict.fromkeys(channels, Fraction(0))
    for order in orders:
        for place, channel in enumerate(order):
            added[channel] += _worth(journeys, order[: place + 1]) - _worth(journeys, order[:place])
    return {channel: total / len(orders) for channel, total in added.items()}


def _worth(journeys: Sequence[Journey], allowed: Sequence[str]) -> int:
    return sum(journey.converted for journey in journeys if set(journey.channels) <= set(allowed))


@given(some_journeys)
def test_shapley_is_the_mean_over_all_orders(journeys: list[Journey]) -> None:
    """Exactly, in fractions; and nothing is lost."""
    found = shapley_values(journeys)
    assert found == _brute_force(journeys)
    assert sum(found.values()) == sum(journey.converted for journey in journeys)


def test_shapley_gives_the_figures_of_a_published_example() -> None:
    """towardsdatascience.com, "Data driven marketing attribution": Facebook, organic and LinkedIn, in percent."""
    counted = {"F": 20, "O": 10, "L": 17, "OF": 17, "LF": 30, "OL": 0, "FOL": 6}
    found = shapley_values([Journey(tuple(channels), count, 0) for channels, count in counted.items()])
    assert found == {"F": Fraction(91, 2), "L": 34, "O": Fraction(41, 2)}
