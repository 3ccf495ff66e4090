"""Learnt models: published figures, brute force, and what may not matter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import Rejected
from attribution.learnt import markov, shapley
from attribution.learnt.journeys import Journey, channels_of, grouped, journey_set, merged
from attribution.learnt.learning import Facts, learn_markov, learn_shapley
from attribution.learnt.markov import MarkovChain, removal_effects
from attribution.learnt.shapley import ShapleyGame, shapley_values
from attribution.learnt.tables import EVERY_SITE, ONE, Worth

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
    """Without Google Ads 0.2 of 0.8 is left, without mailing 0.4.

    serhiipuzyrov.com/2019/07/markov-chain-attribution-simple-explanation-of-removal-effect
    """
    found = removal_effects(
        [
            Journey(("google ads",), 2, 1),
            Journey(("mailing",), 1, 0),
            Journey(("google ads", "mailing"), 1, 0),
        ]
    )
    assert found == pytest.approx({"google ads": 0.75, "mailing": 0.5}, abs=1e-12)


def test_markov_gives_the_figures_of_another_one() -> None:
    """C1 > C2 > C3 converts, C1 and C2 > C3 do not.

    analyzecore.com/2016/08/03/attribution-model-r-part-1
    """
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


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
@given(some_journeys)
def test_shapley_is_the_mean_over_all_orders(journeys: list[Journey]) -> None:
    """Exactly, in fractions; and nothing is lost."""
    found = shapley_values(journeys)
    assert found == _brute_force(journeys)
    assert sum(found.values()) == sum(journey.converted for journey in journeys)


def test_shapley_gives_the_figures_of_a_published_example() -> None:
    """Facebook, organic and LinkedIn, in percent.

    towardsdatascience.com/data-driven-marketing-attribution-1a28d2e613a0
    """
    counted = {"F": 20, "O": 10, "L": 17, "OF": 17, "LF": 30, "OL": 0, "FOL": 6}
    found = shapley_values([Journey(tuple(channels), count, 0) for channels, count in counted.items()])
    assert found == {"F": Fraction(91, 2), "L": 34, "O": Fraction(41, 2)}


def _rates(journeys: Sequence[Journey]) -> dict[str, float]:
    """Shapley's definition for the share that converts among journeys within a set, over all orders."""
    channels = channels_of(journeys)

    def worth(allowed: Sequence[str]) -> Fraction:
        within = [journey for journey in journeys if set(journey.channels) <= set(allowed)]
        converted = sum(journey.converted for journey in within)
        reached = converted + sum(journey.lost for journey in within)
        return Fraction(converted, reached) if reached else Fraction(0)

    orders = list(permutations(channels))
    added = dict.fromkeys(channels, Fraction(0))
    for order in orders:
        for place, channel in enumerate(order):
            added[channel] += worth(order[: place + 1]) - worth(order[:place])
    return {channel: float(total / len(orders)) for channel, total in added.items()}


def _values(journeys: Sequence[Journey], worth: Worth, seed: int = 0) -> tuple[dict[str, float], float]:
    counted = journey_set(journeys)
    game = ShapleyGame(counted, worth, seed)
    found = game.values(game.set_counts(counted.converted), game.set_counts(counted.lost))
    return dict(zip(counted.channels, found.values.tolist(), strict=True)), found.bound


@settings(deadline=None)
@given(some_journeys)
def test_shapley_of_rates_is_the_mean_over_all_orders(journeys: list[Journey]) -> None:
    """Exact; together the rate of all journeys."""
    journeys = grouped(journeys)
    if not journeys:
        return
    found, bound = _values(journeys, Worth.conversion_rate)
    assert bound == 0
    assert found == pytest.approx(_rates(journeys), abs=1e-12)
    reached = sum(journey.converted + journey.lost for journey in journeys)
    assert sum(found.values()) == pytest.approx(sum(j.converted for j in journeys) / reached, abs=1e-12)


@settings(deadline=None)
@given(some_journeys)
def test_shapley_of_conversions_is_the_closed_form(journeys: list[Journey]) -> None:
    """In floats, for intervals."""
    found, bound = _values(grouped(journeys), Worth.conversions)
    assert bound == 0
    whole = {channel: float(value) for channel, value in shapley_values(grouped(journeys)).items()}
    assert found == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_sampled_shapley_stays_within_its_bound(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The same journeys exactly and by orders drawn: every channel is as near as promised."""
    rng = random.Random(seed)
    journeys = [
        Journey(tuple(rng.choices("abcdefg", k=rng.randint(1, 5))), rng.randint(0, 4), rng.randint(0, 30))
        for _ in range(200)
    ]
    exact, _ = _values(journeys, Worth.conversion_rate)
    monkeypatch.setattr(shapley, "EXACT_CHANNELS", 6)
    found, bound = _values(journeys, Worth.conversion_rate, seed)
    assert 0 < bound < 0.05
    assert 0 < max(abs(found[channel] - value) for channel, value in exact.items()) < bound
    assert _values(journeys, Worth.conversion_rate, seed) == (found, bound)
    assert _values(journeys, Worth.conversion_rate, seed + 1)[0] != found


def test_more_channels_than_can_be_enumerated() -> None:
    """Forty: sampled; the values add up to the rate of all journeys all the same."""
    rng = random.Random(3)
    names = [f"c{number:02}" for number in range(40)]
    journeys = [Journey(tuple(rng.choices(names, k=3)), 1, rng.randint(1, 9)) for _ in range(300)]
    found, bound = _values(journeys, Worth.conversion_rate)
    assert bound > 0
    reached = sum(journey.converted + journey.lost for journey in journeys)
    assert sum(found.values()) == pytest.approx(300 / reached, abs=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nearly_is_near(monkeypatch: pytest.MonkeyPatch, order: int) -> None:
    """The series that intervals use against the inverse; also for counts that leave states unvisited."""
    rng = random.Random(order)
    journeys = journey_set(
        Journey(tuple(rng.choices("abcdef", k=rng.randint(1, 9))), rng.randint(0, 2), rng.randint(0, 9))
        for _ in range(300)
    )
    chain = MarkovChain(journeys, order)
    monkeypatch.setattr(markov, "_FEW_STATES", 0)
    kept = np.arange(len(journeys.lost)) % 2
    for counts in ((journeys.converted, journeys.lost), (journeys.converted * kept, journeys.lost * kept)):
        assert chain.nearly(*counts) == pytest.approx(chain.removal_effects(*counts), abs=1e-5)
    none = np.zeros_like(journeys.lost)
    assert not chain.nearly(none, journeys.lost).any()
    assert not chain.removal_effects(none, none).any()


@settings(deadline=None)
@given(some_journeys, st.randoms())
def test_journeys_are_counted_alike_in_any_order(journeys: list[Journey], rng: random.Random) -> None:
    """In arrays as in a list, merged of parts as counted at once."""
    shuffled = rng.sample(journeys, k=len(journeys))
    whole, again = journey_set(journeys), journey_set(shuffled)
    for name in ("steps", "lengths", "converted", "lost"):
        assert getattr(whole, name).tolist() == getattr(again, name).tolist()
    expected = grouped(journeys)
    assert whole.channels == tuple(channels_of(expected))
    steps = iter(whole.steps.tolist())
    counts = zip(whole.lengths.tolist(), whole.converted.tolist(), whole.lost.tolist(), strict=True)
    found = [
        Journey(tuple(whole.channels[next(steps)] for _ in range(n)), won, lost) for n, won, lost in counts
    ]
    assert found == expected
    parts = merged([journey_set(journeys[::2]), journey_set(journeys[1::2])])
    assert parts.channels == whole.channels
    if whole.channels:
        effects = [MarkovChain(each).removal_effects(each.converted, each.lost) for each in (whole, parts)]
        assert effects[0] == pytest.approx(effects[1], abs=1e-12)


FACTS = Facts(from_ms=0, to_ms=1, types=("purchase",), seed=4, rounds=100)


def _some(number: int, seed: int = 1) -> list[Journey]:
    """Journeys whose truth is known: each of three channels may join, and adds its own chance of converting."""
    rng = random.Random(seed)
    chances = {"Direct": 0.02, "Email": 0.1, "Paid Search": 0.25}
    journeys = []
    for _ in range(number):
        channels = tuple(channel for channel in chances if rng.random() < 0.5) or ("Direct",)
        won = rng.random() < sum(chances[channel] for channel in channels)
        journeys.append(Journey(channels, int(won), int(not won)))
    return journeys


@pytest.mark.parametrize("model", ["markov", "shapley"])
def test_intervals_hold_the_share_and_narrow_with_more_journeys(model: str) -> None:
    """About by the root of the number."""

    def widths(number: int) -> float:
        sites = {EVERY_SITE: journey_set(_some(number))}
        table = learn_markov(sites, FACTS) if model == "markov" else learn_shapley(sites, FACTS)
        (site,) = table.sites
        assert sum(each.share for each in site.channels) == pytest.approx(ONE, abs=5)
        assert all(0 <= each.low <= each.share <= each.high <= ONE for each in site.channels)
        return sum(each.high - each.low for each in site.channels) / ONE

    assert 2 < widths(500) / widths(8_000) < 8


def test_nine_of_ten_intervals_hold_the_truth() -> None:
    """The shares of a hundred thousand journeys, by samples of a thousand: 90 % is promised, chance left its room."""
    truth = learn_markov({EVERY_SITE: journey_set(_some(100_000, 99))}, FACTS).sites[0].channels
    hits = 0
    for seed in range(60):
        found = learn_markov({EVERY_SITE: journey_set(_some(1_000, seed))}, FACTS).sites[0].channels
        hits += sum(each.low <= right.share <= each.high for each, right in zip(found, truth, strict=True))
    assert 0.82 < hits / 180 < 0.97


def test_the_same_seed_draws_the_same_journeys() -> None:
    """Another one draws others: the effects stay, the interval differs."""
    sites = {EVERY_SITE: journey_set(_some(500))}
    first = learn_markov(sites, FACTS)
    assert learn_markov(sites, FACTS).version == first.version
    other = learn_markov(sites, msgspec.structs.replace(FACTS, seed=5))
    assert [each.effect for each in other.sites[0].channels] == [
        each.effect for each in first.sites[0].channels
    ]
    assert other.sites[0].channels != first.sites[0].channels


def test_sampled_orders_widen_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not exact says so."""
    sites = {EVERY_SITE: journey_set(_some(3_000))}
    exact = learn_shapley(sites, FACTS).sites[0]
    monkeypatch.setattr(shapley, "EXACT_CHANNELS", 2)
    sampled = learn_shapley(sites, FACTS).sites[0]
    assert exact.error == 0
    assert sampled.error > 0
    for right, wide in zip(exact.channels, sampled.channels, strict=True):
        assert abs(right.effect - wide.effect) <= sampled.error
        assert wide.low <= right.share <= wide.high
        assert wide.high - wide.low > right.high - right.low


def test_learning_says_what_it_lacks() -> None:
    """Too few journeys, conversions or channels, no lost journey, no site at all."""
    for journeys, why in (
        (_some(99), "99 journeys"),
        ([Journey(("a", "b"), 29, 500)], "29 conversions are too few"),
        ([Journey(("a",), 50, 500)], "of one channel, a"),
    ):
        for learn in (learn_markov, learn_shapley):
            with pytest.raises(Rejected, match=why) as caught:
                learn({"shop": journey_set(journeys)}, FACTS)
            assert caught.value.reason == "too_few_journeys"
    with pytest.raises(Rejected, match="No journey was lost"):
        learn_shapley({"": journey_set([Journey(("a", "b"), 500, 0)])}, FACTS)
    with pytest.raises(Rejected, match="no journeys in this period"):
        learn_markov({}, FACTS)
