"""Attribution models: one promise for all, checked for every model that is registered, and each one's own rule."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.acquisition import DIRECT, Acquisition
from attribution.channels import CHANNELS, PAID_CHANNELS
from attribution.errors import Misconfigured
from attribution.learnt.tables import EVERY_SITE, LEARNT_MODELS, ChannelEffect, LearntTable, SiteEffects
from attribution.models import DIVISIONS, MODELS, check_models, division_of, model_named, weights_of
from attribution.money import share, share_by_parts
from attribution.past import Past
from attribution.paths import Path, build_path
from attribution.policy import DAY_MS, AttributionPolicy, CustomKind, CustomModel
from attribution.timeline import TimelineConversion
from attribution.touchpoints import Touchpoint

POLICY = AttributionPolicy()
CONVERTED = 1_700_049_600_000
SEARCH = Acquisition("Organic Search", "google", "organic")
PAID = Acquisition("Paid Search", "google", "cpc")
NEEDS_A_PAID_TOUCH = {"first_paid_touch", "last_paid_touch"}


def path_of(
    *ages_ms: int,
    direct: Collection[int] = (),
    paid: Collection[int] = (),
    lead: int | None = None,
    opportunity: int | None = None,
) -> Path:
    """A path of touches of these ages, oldest first; those at the indexes ``direct`` are Direct, at ``paid`` paid.

    ``lead`` and ``opportunity``: how many milliseconds before the conversion.
    """

    def acquisition(number: int) -> Acquisition:
        return DIRECT if number in direct else PAID if number in paid else SEARCH

    touches = [
        Touchpoint(f"t{number:04}", "v", "s", CONVERTED - age, acquisition(number), "/")
        for number, age in enumerate(sorted(ages_ms, reverse=True))
    ]
    moments = [None if before is None else CONVERTED - before for before in (lead, opportunity)]
    return Path(tuple(touches), CONVERTED, "purchase", *moments)


ages = st.lists(st.integers(0, 90 * DAY_MS), max_size=40)


SHARES = {"Direct": 100_000_000, "Organic Search": 250_000_000, "Paid Search": 600_000_000}
LEARNT = SiteEffects(
    EVERY_SITE, 100, 30, tuple(ChannelEffect(name, part, 0, 0, 0) for name, part in SHARES.items())
)
OWN = {
    "own_weights": CustomModel(kind=CustomKind.weights, first=5, middle=2, last=3),
    "own_middle": CustomModel(kind=CustomKind.weights, middle=1),
    "own_positions": CustomModel(kind=CustomKind.positions, positions=(3, 2, 1), from_end=True),
    "own_decay": CustomModel(kind=CustomKind.time_decay, half_life_ms=DAY_MS),
}
DIVISIONS_OF_ALL = {
    **DIVISIONS,
    **{name: division_of(name, AttributionPolicy(custom_models=OWN)) for name in OWN},
    **{
        name: LearntTable(
            model=name, from_ms=0, to_ms=1, types=("purchase",), seed=0, rounds=0, sites=(LEARNT,)
        ).division
        for name in LEARNT_MODELS
    },
}
"""Rule models, learnt ones with a table, and those that a policy describes."""
ALL = {name: MODELS.get(name) or weights_of(division) for name, division in DIVISIONS_OF_ALL.items()}


@pytest.mark.parametrize("name", ALL)
class TestEveryModel:
    """The promise."""

    @given(
        ages=ages,
        direct=st.sets(st.integers(0, 39)),
        paid=st.sets(st.integers(0, 39)),
        lead=st.none() | st.integers(0, 100 * DAY_MS),
        opportunity=st.none() | st.integers(0, 100 * DAY_MS),
        half_life=st.sampled_from([1, 1000, DAY_MS, 7 * DAY_MS]),
    )
    def test_weights_are_fractions_that_sum_to_exactly_one(
        self,
        name: str,
        ages: list[int],
        direct: set[int],
        paid: set[int],
        lead: int | None,
        opportunity: int | None,
        half_life: int,
    ) -> None:
        """One per touchpoint, none negative, path untouched, the same each time."""
        path = path_of(*ages, direct=direct, paid=paid, lead=lead, opportunity=opportunity)
        policy = AttributionPolicy(time_decay_half_life_ms=half_life)
        before = repr(path)
        weights = ALL[name](path, policy)
        assert isinstance(weights, tuple)
        assert all(isinstance(weight, Fraction) and weight >= 0 for weight in weights)
        assert len(weights) == len(ages)
        has_paid = any(touch.acquisition is PAID for touch in path.touchpoints)
        assert sum(weights) == (1 if has_paid or (ages and name not in NEEDS_A_PAID_TOUCH) else 0)
        assert ALL[name](path, policy) == weights
        assert repr(path) == before

    def test_whole_numbers_divide_as_the_weights_do(self, name: str) -> None:
        """The ledger shares by these: small ones, so that nothing large is multiplied where nothing has to be."""
        for count in (1, 2, 3, 4, 9):
            ages = [number * DAY_MS for number in range(count)]
            path = path_of(*ages, direct={count - 1} - {0}, paid={0, 1}, lead=3 * DAY_MS)
            parts = DIVISIONS_OF_ALL[name](path, POLICY)
            assert all(isinstance(part, int) and part >= 0 for part in parts)
            assert tuple(Fraction(part, sum(parts)) for part in parts) == ALL[name](path, POLICY)
            assert share(4990, ALL[name](path, POLICY)) == share_by_parts(4990, parts)

    def test_single_touch_gets_everything(self, name: str) -> None:
        """However old."""
        for path in (path_of(5, paid=(0,)), path_of(89 * DAY_MS, paid=(0,), lead=5)):
            assert ALL[name](path, POLICY) == (1,)

    def test_long_path_is_divided_too(self, name: str) -> None:
        """A visitor with thousands of touches."""
        random = Random(1)
        ages = [random.randrange(90 * DAY_MS) for _ in range(2000)]
        weights = ALL[name](path_of(*ages, paid={7, 1500}, lead=20 * DAY_MS), POLICY)
        assert sum(weights) == 1
        assert sum(share(4990, weights)) == 4990


@pytest.mark.parametrize("name", MODELS)
def test_model_is_known_by_its_name(name: str) -> None:
    """The registry's key is the function's name, with a line of help."""
    assert model_named(name, POLICY) is MODELS[name]
    assert MODELS[name].__name__ == name  # type: ignore[attr-defined]
    assert MODELS[name].__doc__


def test_policy_names_only_models_that_exist() -> None:
    """The default policy runs."""
    check_models(POLICY)
    assert set(POLICY.models) <= set(MODELS)


def test_unknown_model_is_answered_with_the_valid_names() -> None:
    """One line that says what to change."""
    with pytest.raises(Misconfigured) as caught:
        check_models(AttributionPolicy(models=("linear", "lineer")))
    assert "lineer" in str(caught.value)
    assert all(name in caught.value.hint for name in MODELS)


def test_first_and_last_touch() -> None:
    """All to one end."""
    assert MODELS["first_touch"](path_of(3, 2, 1), POLICY) == (1, 0, 0)
    assert MODELS["last_touch"](path_of(3, 2, 1), POLICY) == (0, 0, 1)


def test_last_non_direct_touch_skips_direct_ones() -> None:
    """Unless there is nothing else: then the last Direct."""
    weigh = MODELS["last_non_direct_touch"]
    assert weigh(path_of(3, 2, 1, direct=(1, 2)), POLICY) == (1, 0, 0)
    assert weigh(path_of(3, 2, 1, direct=(0,)), POLICY) == (0, 0, 1)
    assert weigh(path_of(3, 2, 1, direct=(0, 1, 2)), POLICY) == (0, 0, 1)


def test_paid_touches_at_the_ends_of_what_was_paid() -> None:
    """Without one nobody is credited: the conversion is unattributed under these models."""
    first, last = MODELS["first_paid_touch"], MODELS["last_paid_touch"]
    assert first(path_of(4, 3, 2, 1, paid=(1, 2)), POLICY) == (0, 1, 0, 0)
    assert last(path_of(4, 3, 2, 1, paid=(1, 2)), POLICY) == (0, 0, 1, 0)
    assert first(path_of(2, 1, direct=(0,)), POLICY) == last(path_of(2, 1, direct=(0,)), POLICY) == (0, 0)


@pytest.mark.parametrize("channel", CHANNELS)
def test_paid_is_what_ga4_groups_as_paid_or_display(channel: str) -> None:
    """E-mail, messages and affiliates cost money too, but no tag says so."""
    said = channel.startswith("Paid ") or channel in ("Display", "Cross-network")
    assert (channel in PAID_CHANNELS) is said


def test_linear_is_the_same_to_each() -> None:
    """Thirds are thirds, not 0.333."""
    assert MODELS["linear"](path_of(3, 2, 1), POLICY) == (Fraction(1, 3),) * 3


@pytest.mark.parametrize(
    ("count", "percent"),
    [(1, [100]), (2, [50, 50]), (3, [40, 20, 40]), (4, [40, 10, 10, 40]), (6, [40, 5, 5, 5, 5, 40])],
)
def test_position_based_is_forty_twenty_forty(count: int, percent: list[int]) -> None:
    """One touch takes all, two share."""
    weights = MODELS["position_based"](path_of(*range(count)), POLICY)
    assert [weight * 100 for weight in weights] == percent


@pytest.mark.parametrize(
    ("name", "count", "percent"),
    [
        ("j_shaped", 1, [100]),
        ("j_shaped", 2, [25, 75]),
        ("j_shaped", 4, [20, 10, 10, 60]),
        ("inverse_j_shaped", 1, [100]),
        ("inverse_j_shaped", 2, [75, 25]),
        ("inverse_j_shaped", 4, [60, 10, 10, 20]),
    ],
)
def test_j_shapes_are_those_of_adobe(name: str, count: int, percent: list[int]) -> None:
    """J: the end counts most; inverse J: the beginning."""
    assert [weight * 100 for weight in MODELS[name](path_of(*range(count)), POLICY)] == percent


@pytest.mark.parametrize(
    ("lead", "opportunity", "percent"),
    [
        (45, 25, [30, 5, 30, 30, 5]),  # led to by the third touch (age 50) and the fourth (30)
        (45, 45, [30, Fraction(10, 3), 60, Fraction(10, 3), Fraction(10, 3)]),  # one touch holds both moments
        (
            95,
            25,
            [60, Fraction(10, 3), Fraction(10, 3), 30, Fraction(10, 3)],
        ),  # the first touch made the lead
        (50, 30, [30, 5, 30, 30, 5]),  # at the same instant counts
        (45, None, [45, Fraction(10, 3), 45, Fraction(10, 3), Fraction(10, 3)]),  # no opportunity
        (45, 200, [45, Fraction(10, 3), 45, Fraction(10, 3), Fraction(10, 3)]),  # older than the window
        (None, None, [90, 2.5, 2.5, 2.5, 2.5]),
    ],
)
def test_w_shape_has_three_key_moments(
    lead: int | None, opportunity: int | None, percent: list[Fraction | float]
) -> None:
    """First touch, lead and opportunity 30 % each, 10 % to the rest."""
    path = path_of(100, 70, 50, 30, 10, lead=lead, opportunity=opportunity)
    assert [weight * 100 for weight in MODELS["w_shaped"](path, POLICY)] == percent


@pytest.mark.parametrize(
    ("lead", "opportunity", "percent"),
    [
        (45, 25, [22.5, 10, 22.5, 22.5, 22.5]),
        (45, 5, [22.5, 5, 22.5, 5, 45]),  # the last touch led to the opportunity, too
        (45, None, [30, 5, 30, 5, 30]),
        (None, None, [45, Fraction(10, 3), Fraction(10, 3), Fraction(10, 3), 45]),
    ],
)
def test_full_path_has_four_key_moments(
    lead: int | None, opportunity: int | None, percent: list[Fraction | float]
) -> None:
    """First touch, lead, opportunity and the last touch before the deal was won 22.5 % each, 10 % to the rest."""
    path = path_of(100, 70, 50, 30, 10, lead=lead, opportunity=opportunity)
    assert [weight * 100 for weight in MODELS["full_path"](path, POLICY)] == percent


def test_key_moments_share_everything_when_nobody_is_between() -> None:
    """Two touches, three moments."""
    assert MODELS["w_shaped"](path_of(9, 3, lead=5, opportunity=2), POLICY) == (
        Fraction(2, 3),
        Fraction(1, 3),
    )
    assert MODELS["full_path"](path_of(9, 3, lead=5, opportunity=2), POLICY) == (
        Fraction(1, 2),
        Fraction(1, 2),
    )


def test_time_decay_gives_the_published_figures() -> None:
    """Ages 0, 0, 6, 9 days: 33.8 / 33.8 / 18.6 / 13.8 %; of 50: 16.88 / 16.88 / 9.32 / 6.92."""
    weights = MODELS["time_decay"](path_of(0, 0, 6 * DAY_MS, 9 * DAY_MS), POLICY)
    assert [round(float(weight) * 100, 1) for weight in weights] == [13.8, 18.6, 33.8, 33.8]
    assert share(5000, weights) == [692, 932, 1688, 1688]


@given(st.lists(st.integers(0, 90 * DAY_MS), min_size=1, max_size=12), st.integers(1, 30 * DAY_MS))
def test_time_decay_follows_the_formula(ages: list[int], half_life: int) -> None:
    """Against floats, to within their own precision."""
    policy = AttributionPolicy(time_decay_half_life_ms=half_life)
    youngest = min(ages)
    floats = [2.0 ** (-(age - youngest) / half_life) for age in sorted(ages, reverse=True)]
    weights = MODELS["time_decay"](path_of(*ages), policy)
    for weight, expected in zip(weights, floats, strict=True):
        assert float(weight) == pytest.approx(expected / sum(floats), rel=1e-9, abs=1e-15)


def test_time_decay_does_not_depend_on_the_machine() -> None:
    """Integers only: this exact fraction, everywhere."""
    older, newer = MODELS["time_decay"](path_of(0, 7 * DAY_MS), POLICY)
    assert (older, newer) == (Fraction(1, 3), Fraction(2, 3))
    older, _ = MODELS["time_decay"](path_of(0, DAY_MS), POLICY)
    assert older == Fraction(4176913159044680791, 8788599177472068695)


def test_path_built_from_touches_in_any_order_is_weighed_in_time_order() -> None:
    """The first touch is the first in time."""
    touches = list(path_of(9, 5, 1).touchpoints)
    path = build_path(Past(touches[::-1]), TimelineConversion(CONVERTED, "c", "purchase"), POLICY)
    assert path.touchpoints[MODELS["first_touch"](path, POLICY).index(Fraction(1))] == touches[0]
