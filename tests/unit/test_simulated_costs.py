"""Cost reports of the simulated shop: repeatable, corrected in any order, right to the cent."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from fractions import Fraction

import pytest
from simulated_shop import DAYS, ENDS_AT, RATES, shop_costs, shop_world

from attribution.spend.fact import SpendFact
from attribution.spend.fields import FieldReader
from attribution.spend.labels import default_labels
from attribution.spend.merging import newest
from runtime.simulator.costs import COSTED, EURO, TARIFFS, Costs, in_dollars, rate_on
from runtime.simulator.crm import CURRENCY
from runtime.simulator.instants import DAY_MS
from runtime.simulator.programmes import programme_of
from runtime.simulator.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return shop_world()


@pytest.fixture(scope="module")
def costs(world: World) -> Costs:
    return shop_costs(world)


def _read(costs: Costs) -> list[SpendFact]:
    reader = FieldReader(datetime.fromtimestamp(ENDS_AT / 1000, UTC))
    return [reader.fact_of(fact) for fact in costs.facts]


def test_reports_are_read_and_their_newest_figures_are_the_truth(costs: Costs) -> None:
    """In the order of sending, corrections, older figures after newer ones and repetitions included."""
    standing: dict[str, SpendFact] = {}
    for fact in _read(costs):
        standing = newest(standing, [fact])
    assert len(standing) == costs.truth.facts
    billed: Counter[tuple[str, str, str]] = Counter()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for fact in standing.values():
        assert fact.cost % 10_000 == 0
        billed[fact.currency, fact.campaign, fact.day.isoformat()] += fact.cost // 10_000
        for name in ("clicks", "impressions", "views", "installs"):
            counts[name][fact.campaign] += getattr(fact, name)
    assert billed == costs.truth.billed
    assert counts["clicks"] == costs.truth.clicks
    assert counts["impressions"] == costs.truth.impressions
    assert counts["views"] == costs.truth.views
    assert counts["installs"] == costs.truth.installs
    assert {name for name, number in counts["installs"].items() if number} == {"tt_app"}


def test_senders_correct_and_repeat_in_any_order(costs: Costs) -> None:
    """Some older figure comes after the newer one; nothing is read in the future."""
    read = [(fact["campaign"], fact["day"], fact["as_of"]) for fact in costs.facts]
    assert len(read) > len(set(read)) > costs.truth.facts
    assert costs.truth.corrected == len(set(read)) - costs.truth.facts > 50
    seen: dict[tuple[str, str], str] = {}
    is_older_later = False
    for campaign, day, as_of in read:
        is_older_later |= seen.get((campaign, day), "") > as_of
        seen[campaign, day] = as_of
    assert is_older_later
    assert max(as_of for _, _, as_of in read) <= datetime.fromtimestamp(ENDS_AT / 1000, UTC).isoformat()


def test_every_programme_with_media_cost_has_reports_of_every_day(world: World, costs: Costs) -> None:
    """A fee is of some days only; one programme is billed in another currency than the shop's."""
    days = Counter(campaign for _, campaign, _ in costs.truth.billed)
    for campaign, name in COSTED.items():
        assert days[campaign] == DAYS if not TARIFFS[name].fee else 0 < days[campaign] < DAYS
    currencies = {campaign: currency for currency, campaign, _ in costs.truth.billed}
    assert {COSTED[campaign] for campaign, code in currencies.items() if code == EURO} == {"linkedin"}
    assert set(currencies.values()) == {EURO, CURRENCY}


def test_spend_stands_in_its_programme_before_any_touch_is_known(costs: Costs) -> None:
    """Under what clicks of the network are, and the campaign's name."""
    for fact in _read(costs):
        channel, source, _, campaign = default_labels(fact)
        assert programme_of(channel, source, campaign) == COSTED[fact.campaign]


def test_no_report_of_a_day_that_is_not_over(world: World) -> None:
    """Whatever the hour."""
    midnight = ENDS_AT // DAY_MS * DAY_MS
    for ends_at in (midnight, midnight + DAY_MS - 1):
        days = {day for _, _, day in shop_costs(world, ends_at=ends_at).truth.billed}
        assert max(days) == datetime.fromtimestamp(midnight / 1000 - 1, UTC).date().isoformat()


def test_a_euro_is_worth_what_the_last_rate_before_says() -> None:
    """Summed first, then rounded; nothing before the first rate."""
    assert rate_on(RATES, date(2026, 9, 30)) == Fraction("1.1172")
    assert rate_on(RATES, date(2026, 10, 1)) == Fraction("1.17005")
    assert rate_on(RATES, date(2026, 1, 1)) == 0
    billed = {(EURO, "a", "2026-09-30"): 3, (EURO, "a", "2026-10-02"): 2, (CURRENCY, "b", "2026-10-02"): 7}
    assert in_dollars(billed, RATES) == {"a": 6, "b": 7}  # 3.3516 + 2.3401
