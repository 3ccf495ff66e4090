"""Every model against what others have published: documentation, worked examples, test data of other packages.

To 1e-9 where the source gives exact weights, else to the digits that it prints. The models are called as the product
does, one path at a time and many at once; learnt models are compared with brute force, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.acquisition import Acquisition
from attribution.bulk import Paths, parts_of, share_by_parts
from attribution.learnt.journeys import Journey, JourneySet, journey_set
from attribution.learnt.markov import MarkovChain, removal_effects
from attribution.learnt.shapley import ShapleyGame, shapley_values
from attribution.learnt.tables import Worth
from attribution.models import MODELS
from attribution.paths import Path
from attribution.policy import DAY_MS, AttributionPolicy
from attribution.touchpoints import Touchpoint

CONVERTED = 1_700_049_600_000
HOUR_MS = 3_600_000
EXACT = 1e-9


def path_of(
    *touches: tuple[str, float],
    lead: float | None = None,
    opportunity: float | None = None,
    unit: int = DAY_MS,
) -> Path:
    """A path of (channel, age) in time order; ``lead`` and ``opportunity``: how long before the conversion."""
    made = [
        Touchpoint(f"t{n:02}", "v", "s", CONVERTED - round(age * unit), Acquisition(channel, "x", "y"), "/")
        for n, (channel, age) in enumerate(touches)
    ]
    moments = [None if before is None else CONVERTED - round(before * unit) for before in (lead, opportunity)]
    return Path(tuple(made), CONVERTED, "purchase", *moments)


def weights_of(name: str, path: Path, half_life_ms: int = 7 * DAY_MS) -> list[float]:
    """The weights, which must be the same one path at a time and many at once."""
    policy = AttributionPolicy(time_decay_half_life_ms=half_life_ms)
    weights = MODELS[name](path, policy)
    many = Paths.of([path, path])
    parts = parts_of(name, many, policy).tolist()
    assert parts[: len(weights)] == parts[len(weights) :]
    assert tuple(Fraction(part, sum(parts) // 2 or 1) for part in parts[: len(weights)]) == weights
    return [float(weight) for weight in weights]


def credited(name: str, path: Path, cents: int) -> list[int]:
    """What each touchpoint gets of an amount."""
    policy = AttributionPolicy()
    many = Paths.of([path])
    return share_by_parts(np.array([cents]), parts_of(name, many, policy), many.offsets).tolist()


# raw.githubusercontent.com/coreyhaines31/marketingskills, skills/attribution/references/attribution-models.md: a deal
# of $12,000, touches on days 0, 5, 12, 30 and 38, won on day 38. It prints time decay to the nearest five dollars.
DEAL = path_of(
    ("Paid Social", 38), ("Organic Search", 33), ("Paid Social", 26), ("Paid Search", 8), ("Direct", 0)
)


@pytest.mark.parametrize(
    ("name", "dollars", "digits"),
    [
        ("first_touch", [12_000, 0, 0, 0, 0], EXACT),
        ("last_touch", [0, 0, 0, 0, 12_000], EXACT),
        ("last_non_direct_touch", [0, 0, 0, 12_000, 0], EXACT),
        ("linear", [2_400] * 5, EXACT),
        ("position_based", [4_800, 800, 800, 800, 4_800], EXACT),
        ("time_decay", [175, 290, 575, 3_415, 7_545], 2.6),
    ],
)
def test_one_deal_under_six_models(name: str, dollars: list[int], digits: float) -> None:
    """One journey, scored six ways."""
    assert [12_000 * weight for weight in weights_of(name, DEAL)] == pytest.approx(dollars, abs=digits)


# github.com/snowplow/dbt-snowplow-attribution,
# integration_tests/data/expected/snowplow_attribution_channel_attributions_expected.csv: amounts in whole units. Its
# position based figures of the middle (2 of 66.50, 7 of 140) do not add up to the conversion: only the ends are taken.
@pytest.mark.parametrize(
    ("channels", "cents", "linear", "ends"),
    [
        (["Direct"], 5_000, [50], [50]),
        (["Direct"], 2_042, [20], [20]),
        (["Video"], 20_000, [200], [200]),
        (["Organic Search", "Display", "Organic Search"], 6_650, [22, 22, 22], [27, 27]),
        (["Direct", "Organic Search", "Direct"], 14_000, [47, 47, 47], [56, 56]),
        (["Direct"], 2_400, [24], [24]),
    ],
)
def test_snowplow_channels(channels: list[str], cents: int, linear: list[int], ends: list[int]) -> None:
    """First, last, linear and the ends of position based."""
    path = path_of(*((channel, len(channels) - n) for n, channel in enumerate(channels)))
    count = len(channels)
    assert credited("first_touch", path, cents) == [cents, *[0] * (count - 1)]
    assert credited("last_touch", path, cents) == [*[0] * (count - 1), cents]
    assert [round(share / 100) for share in credited("linear", path, cents)] == linear
    positions = [round(share / 100) for share in credited("position_based", path, cents)]
    assert [positions[0], positions[-1]][-len(ends) :] == ends


def test_the_journeys_of_marketing_attribution_models() -> None:
    """github.com/DP6/Marketing-Attribution-Models, tests/test_heuristics.py: A > B > C and A > C; decay by hours."""
    journeys = [
        path_of(("A", 2), ("B", 1), ("C", 0), unit=HOUR_MS),
        path_of(("A", 1), ("C", 0), unit=HOUR_MS),
    ]

    def by_channel(name: str, paths: Iterable[Path]) -> dict[str, float]:
        sums = dict.fromkeys("ABC", 0.0)
        for path in paths:
            for touch, weight in zip(path.touchpoints, weights_of(name, path, HOUR_MS), strict=True):
                sums[touch.acquisition.channel] += weight
        return sums

    assert by_channel("last_touch", journeys) == {"A": 0, "B": 0, "C": 2}
    assert by_channel("first_touch", journeys) == {"A": 2, "B": 0, "C": 0}
    assert by_channel("linear", journeys) == pytest.approx({"A": 5 / 6, "B": 1 / 3, "C": 5 / 6}, abs=EXACT)
    assert by_channel("position_based", journeys) == pytest.approx({"A": 0.9, "B": 0.2, "C": 0.9}, abs=EXACT)
    assert by_channel("time_decay", journeys[:1]) == pytest.approx(
        {"A": 0.25 / 1.75, "B": 0.5 / 1.75, "C": 1 / 1.75}, abs=EXACT
    )


def test_google_ads_halves_credit_every_week() -> None:
    """developers.google.com/google-ads/api, AttributionModelEnum: "half-life is 1 week"; mccordweb.com/weblogs/?p=4627
    quotes its help: a click eight days before a conversion gets half of the credit of one a day before."""
    older, newer = weights_of("time_decay", path_of(("Paid Search", 8), ("Paid Search", 1)))
    assert older / newer == pytest.approx(0.5, abs=EXACT)


def test_time_decay_over_four_weeks() -> None:
    """stementorai.com/lesson/adobe-12: touches 28, 21, 14 and 7 days before; the last gets eight times the first."""
    weights = weights_of("time_decay", path_of(("A", 28), ("B", 21), ("C", 14), ("D", 7)))
    assert weights == pytest.approx([0.0667, 0.1333, 0.2667, 0.5333], abs=5e-5)
    assert weights == pytest.approx([1 / 15, 2 / 15, 4 / 15, 8 / 15], abs=EXACT)


def test_time_decay_of_adobe() -> None:
    """experienceleague.adobe.com, attribution models: ages 0, 0, 6 and 9 days share 50: 16.88, 16.88, 9.32 and 6.92."""
    path = path_of(("A", 9), ("B", 6), ("C", 0), ("D", 0))
    assert credited("time_decay", path, 5_000) == [692, 932, 1_688, 1_688]


@pytest.mark.parametrize(
    ("name", "count", "percent"),
    [
        (
            "position_based",
            4,
            [40, 10, 10, 40],
        ),  # also help.salesforce.com, mc_mi_mta_models: its own example
        ("position_based", 2, [50, 50]),
        ("position_based", 1, [100]),
        ("linear", 5, [20] * 5),  # also matomo.org/faq, faq_25500
        ("j_shaped", 4, [20, 10, 10, 60]),
        ("j_shaped", 2, [25, 75]),
        ("j_shaped", 1, [100]),
        ("inverse_j_shaped", 4, [60, 10, 10, 20]),
        ("inverse_j_shaped", 2, [75, 25]),
        ("inverse_j_shaped", 1, [100]),
    ],
)
def test_curves_of_adobe(name: str, count: int, percent: list[int]) -> None:
    """experienceleague.adobe.com/en/docs/analytics/analyze/analysis-workspace/attribution/models, with its rules for
    one and two touch points."""
    path = path_of(*((channel, count - n) for n, channel in enumerate("ABCDEF"[:count])))
    assert [100 * weight for weight in weights_of(name, path)] == pytest.approx(percent, abs=EXACT)


def test_w_shape_of_seven_touches() -> None:
    """leadsources.io/?p=15960: advertisement 30 %, white paper (lead) 30 %, four in between 2.5 % each, the touch that
    closes (opportunity) 30 %."""
    path = path_of(
        *(("Paid Social", 60), ("Referral", 40), ("Email", 30), ("Email", 25), ("Email", 20), ("Email", 15)),
        ("Display", 5),
        lead=40,
        opportunity=5,
    )
    assert [100 * weight for weight in weights_of("w_shaped", path)] == pytest.approx(
        [30, 30, 2.5, 2.5, 2.5, 2.5, 30], abs=EXACT
    )


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("w_shaped", [30, 10 / 3, 30, 30, 10 / 3, 10 / 3]),
        ("full_path", [22.5, 5, 22.5, 22.5, 5, 22.5]),
    ],
)
def test_key_moments_of_hubspot(name: str, percent: list[float]) -> None:
    """knowledge.hubspot.com/reports/understand-attribution-reporting: first interaction, the last before the lead and
    before the deal was created, the last before it was won; all others share a tenth equally."""
    path = path_of(
        *(("A", 90), ("B", 70), ("C", 50), ("D", 30), ("E", 20), ("F", 10)), lead=45, opportunity=25
    )
    assert [100 * weight for weight in weights_of(name, path)] == pytest.approx(percent, abs=EXACT)


def test_first_and_last_paid_touch() -> None:
    """github.com/rittmananalytics/ra_data_warehouse, pull request 26: over the paid touches only, else unattributed."""
    path = path_of(("Email", 9), ("Paid Search", 7), ("Direct", 5), ("Paid Social", 3), ("Direct", 1))
    assert weights_of("first_paid_touch", path) == [0, 1, 0, 0, 0]
    assert weights_of("last_paid_touch", path) == [0, 0, 0, 1, 0]
    assert weights_of("last_paid_touch", path_of(("Email", 2), ("Direct", 1))) == [0, 0]


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        # analyzecore.com/2016/08/03/attribution-model-r-part-1
        (
            {"C1 C2 C3": (1, 0), "C1": (0, 1), "C2 C3": (0, 1)},
            {"C1": 0.5, "C2": 1.0, "C3": 1.0},
        ),
        # serhiipuzyrov.com/2019/07/markov-chain-attribution-simple-explanation-of-removal-effect
        ({"G": (2, 1), "M": (1, 0), "G M": (1, 0)}, {"G": 0.75, "M": 0.5}),
        # github.com/jmwoloso/pychattr, README (a port of ChannelAttribution): A must be met, half is lost without B
        ({"A B A B B A": (1, 0), "A B B A A": (1, 0), "A A": (1, 0)}, {"A": 1.0, "B": 0.5}),
    ],
)
def test_markov_of_published_examples(
    counted: dict[str, tuple[int, int]], expected: dict[str, float]
) -> None:
    """Removal effects, exactly."""
    journeys = [Journey(tuple(text.split()), *counts) for text, counts in counted.items()]
    assert removal_effects(journeys) == pytest.approx(expected, abs=EXACT)


def test_markov_beside_a_simulation() -> None:
    """github.com/jmwoloso/pychattr, README: 10,000 simulated walks give A 1.991106 and B 1.008894 of three conversions.

    Exact are 2 and 1. B's removal effect is a share of 10,000 walks, so its standard error is 0.005, that of the
    conversions of B 0.007; the printed figures lie within two of them.
    """
    effects = removal_effects([Journey(tuple(text), 1, 0) for text in ("ABABBA", "ABBAA", "AA")])
    whole = sum(effects.values())
    assert {name: 3 * effect / whole for name, effect in effects.items()} == pytest.approx(
        {"A": 1.991106, "B": 1.008894}, abs=2 * 0.007
    )


def _walked(journeys: Sequence[Journey], without: str) -> float:
    """Probability of converting by iterating values until they move by less than 1e-15; no step to ``without``."""
    steps: dict[str, dict[str, int]] = {}
    for journey in journeys:
        for here, there in zip(("^", *journey.channels), journey.channels, strict=False):
            found = steps.setdefault(here, {})
            found[there] = found.get(there, 0) + journey.converted + journey.lost
        ends = steps.setdefault(journey.channels[-1], {})
        ends["+"] = ends.get("+", 0) + journey.converted
        ends["-"] = ends.get("-", 0) + journey.lost
    values = dict.fromkeys(steps, 0.0)
    while True:
        known = {**values, "+": 1.0, "-": 0.0, without: 0.0}
        better = {
            here: sum(count * known[there] for there, count in found.items()) / sum(found.values())
            for here, found in steps.items()
            if sum(found.values())
        }
        moved = max(abs(better[here] - values[here]) for here in better)
        values.update(better)
        if moved < 1e-15:
            return values["^"]


some_journeys = st.lists(
    st.builds(
        Journey,
        channels=st.lists(st.sampled_from("abcd"), min_size=1, max_size=6).map(tuple),
        converted=st.integers(0, 4),
        lost=st.integers(1, 4),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=50)
@given(some_journeys)
def test_markov_is_value_iteration(journeys: list[Journey]) -> None:
    """To 1e-9 by linear algebra, to 1e-12 by iterating."""
    whole = _walked(journeys, "nobody")
    for channel, effect in removal_effects(journeys).items():
        assert effect == pytest.approx(1 - _walked(journeys, channel) / whole if whole else 0.0, abs=EXACT)


def test_shapley_of_a_published_example() -> None:
    """towardsdatascience.com, "Data driven marketing attribution": Facebook, organic and LinkedIn."""
    counted = {"F": 20, "O": 10, "L": 17, "OF": 17, "LF": 30, "FOL": 6}
    journeys = [Journey(tuple(channels), count, 0) for channels, count in counted.items()]
    assert shapley_values(journeys) == {"F": Fraction(91, 2), "L": 34, "O": Fraction(41, 2)}


def _over_orders(journeys: JourneySet, worth: Worth) -> list[float]:
    """The mean over all orders of joining of what a channel adds, by the definition."""
    ends = np.cumsum(journeys.lengths).tolist()
    sets = [
        set(journeys.steps[end - length : end].tolist())
        for end, length in zip(ends, journeys.lengths, strict=True)
    ]

    def worth_of(members: set[int]) -> Fraction:
        inside = [n for n, met in enumerate(sets) if met <= members]
        converted = sum(int(journeys.converted[n]) for n in inside)
        if worth is Worth.conversions:
            return Fraction(converted)
        return Fraction(converted, converted + sum(int(journeys.lost[n]) for n in inside) or 1)

    count = len(journeys.channels)
    added = [Fraction(0)] * count
    orders = list(permutations(range(count)))
    for order in orders:
        for place, channel in enumerate(order):
            added[channel] += worth_of({*order[: place + 1]}) - worth_of({*order[:place]})
    return [float(total / len(orders)) for total in added]


@settings(max_examples=50)
@given(some_journeys, st.sampled_from(Worth))
def test_shapley_is_the_mean_over_all_permutations(journeys: list[Journey], worth: Worth) -> None:
    """Both worths."""
    found = journey_set(journeys)
    game = ShapleyGame(found, worth)
    values = game.values(game.set_counts(found.converted), game.set_counts(found.lost)).values
    assert values.tolist() == pytest.approx(_over_orders(found, worth), abs=EXACT)


def test_shapley_of_a_game_between_three_channels() -> None:
    """github.com/DP6/Marketing-Attribution-Models, README: worth 7, 6 and 4 alone, 15, 7 and 9 in pairs, 19 together.

    The page prints the game only; the values follow from the definition. What a set adds to the worth of those within
    it is what its own journeys are worth, here also less than nothing.
    """
    own = {"O": 7, "F": 6, "D": 4, "OF": 2, "OD": -4, "FD": -1, "OFD": 5}
    values = shapley_values([Journey(tuple(channels), worth, 0) for channels, worth in own.items()])
    worths = {"": 0, "O": 7, "F": 6, "D": 4, "FO": 15, "DO": 7, "DF": 9, "DFO": 19}
    for channel, value in values.items():
        added = [
            worths["".join(sorted((*before, channel)))] - worths["".join(sorted(before))]
            for order in permutations("OFD")
            for before in [order[: order.index(channel)]]
        ]
        assert value == Fraction(sum(added), len(added))
    assert sum(values.values()) == 19


def test_markov_of_higher_order_ignores_what_is_further_back() -> None:
    """Anderl, Becker, von Wangenheim, Schumann 2014: a state is the last k channels. Of order 1 the walks a > b and
    c > b end alike; of order 2 what came before b decides."""
    journeys = journey_set([Journey(("a", "b"), 1, 0), Journey(("c", "b"), 0, 1)])
    first, second = (
        MarkovChain(journeys, order).removal_effects(journeys.converted, journeys.lost) for order in (1, 2)
    )
    assert first.tolist() == pytest.approx([0.5, 1.0, 0.5], abs=EXACT)
    assert second.tolist() == pytest.approx([1.0, 1.0, 0.0], abs=EXACT)
