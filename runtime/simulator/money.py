"""What ads cost, deals and refunds: what the system says of them beside the truth. Pure.

Money is in US cents unless it stands under another currency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Self

from runtime.simulator.costs import COSTED, EURO, TARIFFS, Billed, CostTruth, exact_dollars, in_dollars
from runtime.simulator.crm import CURRENCY, OPPORTUNITY, SQL
from runtime.simulator.programmes import BY_NAME, programme_of
from runtime.simulator.report import Check, Line, dollars
from runtime.simulator.world import Truth

PURCHASE, WON = "purchase", "deal_won"


@dataclass(frozen=True)
class Cost:
    """What a campaign cost, and what came with it."""

    spend: int = 0
    impressions: int = 0
    clicks: int = 0
    views: int = 0
    installs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.spend + other.spend,
            self.impressions + other.impressions,
            self.clicks + other.clicks,
            self.views + other.views,
            self.installs + other.installs,
        )

    def __neg__(self) -> Cost:
        return Cost(-self.spend, -self.impressions, -self.clicks, -self.views, -self.installs)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """All but money: impressions, clicks, views, installs."""
        return self.impressions, self.clicks, self.views, self.installs


@dataclass(frozen=True)
class Gain:
    """Credit of one conversion type or place: conversions with all their digits."""

    conversions: Decimal = Decimal(0)
    revenue: int = 0
    pipeline: int = 0
    qualified: Decimal = Decimal(0)

    def __add__(self, other: Gain) -> Gain:
        return Gain(
            self.conversions + other.conversions,
            self.revenue + other.revenue,
            self.pipeline + other.pipeline,
            self.qualified + other.qualified,
        )

    def __neg__(self) -> Gain:
        return Gain(-self.conversions, -self.revenue, -self.pipeline, -self.qualified)


@dataclass(frozen=True)
class MoneySnapshot:
    """Everything reported of costs and deals at one moment, under ``linear`` where a model matters."""

    billed: Mapping[Billed, int]
    """Cents of the currency billed, not converted."""
    costs: Mapping[str, Cost]
    """By campaign; spend converted into the shop's currency."""
    types: Mapping[str, Gain]
    """By conversion type."""
    gains: Mapping[str, Gain]
    """By programme; credit that belongs to none is left out."""

    def since(self, before: Self) -> Self:
        """What has come since ``before``. Spend is rounded when it is converted: off by a cent of what came."""
        return replace(
            self,
            billed={place: cents - before.billed.get(place, 0) for place, cents in self.billed.items()},
            costs={name: cost + -before.costs.get(name, Cost()) for name, cost in self.costs.items()},
            types={name: gain + -before.types.get(name, Gain()) for name, gain in self.types.items()},
            gains={name: gain + -before.gains.get(name, Gain()) for name, gain in self.gains.items()},
        )


def by_programme(gains: Iterable[tuple[tuple[str, str, str], Gain]]) -> dict[str, Gain]:
    """Sums of places (channel, source, campaign)."""
    sums: dict[str, Gain] = defaultdict(Gain)
    for place, gain in gains:
        if name := programme_of(*place):
            sums[name] += gain
    return dict(sums)


def build_money_checks(
    truth: Truth,
    cost_truth: CostTruth,
    before: MoneySnapshot,
    after: MoneySnapshot,
    rates: Mapping[date, Decimal],
) -> list[Check]:
    """Everything of costs and deals that must be equal, to the cent. ``rates``: dollars for a euro."""
    now = after.since(before)
    return [
        *(_billed_check(currency, cost_truth, now) for currency in (CURRENCY, EURO)),
        _converted_check(before, after, rates),
        _counts_check(truth, cost_truth, now),
        _gain_check(
            "orders less refunds, each refund once",
            truth.orders,
            truth.crm.ordered - truth.crm.refunded,
            now.types.get(PURCHASE, Gain()),
        ),
        _gain_check("deals won", truth.crm.won_deals, truth.crm.won, now.types.get(WON, Gain())),
        _pipeline_check(truth, now),
        _count_check("qualified leads", truth.crm.qualified, now.types.get(SQL, Gain()).conversions),
    ]


def _billed_check(currency: str, truth: CostTruth, now: MoneySnapshot) -> Check:
    expected = {place: cents for place, cents in truth.billed.items() if place[0] == currency and cents}
    measured = {
        place: cents
        for place, cents in now.billed.items()
        if place[0] == currency and place[1] in COSTED and cents
    }
    return Check(
        f"spend as billed, {currency}, by campaign and day",
        f"{dollars(sum(expected.values()))} in {len(expected):,}",
        f"{dollars(sum(measured.values()))} in {len(measured):,}" + _first_difference(expected, measured),
        expected == measured,
    )


def _first_difference(expected: Mapping[Billed, int], measured: Mapping[Billed, int]) -> str:
    for place in sorted({*expected, *measured}):
        if (true := expected.get(place, 0)) != (seen := measured.get(place, 0)):
            return f" ({place[1]} on {place[2]}: {dollars(true)} -> {dollars(seen)})"
    return ""


def _converted_check(before: MoneySnapshot, after: MoneySnapshot, rates: Mapping[date, Decimal]) -> Check:
    """Of all that stands: what was there before the demo may have been rounded, too."""
    ours = {place: cents for place, cents in after.billed.items() if place[1] in COSTED}
    expected = in_dollars(ours, rates)
    measured = {name: after.costs.get(name, Cost()).spend for name in expected}
    old = sum(before.costs.get(name, Cost()).spend for name in expected)
    return Check(
        f"spend in {CURRENCY}, each day at its rate",
        dollars(sum(expected.values()) - old),
        dollars(sum(measured.values()) - old),
        expected == measured,
    )


def true_costs(truth: Truth, cost_truth: CostTruth, rates: Mapping[date, Decimal]) -> dict[str, Cost]:
    """By campaign. Impressions are those that the network tells and those that a page's pixel has heard."""
    spend = in_dollars(cost_truth.billed, rates)
    names = {*spend, *(name for name in truth.views if name in COSTED)}
    return {
        name: Cost(
            spend.get(name, 0),
            cost_truth.impressions[name] + truth.views[name],
            cost_truth.clicks[name],
            cost_truth.views[name],
            cost_truth.installs[name],
        )
        for name in names
    }


def _counts_check(truth: Truth, cost_truth: CostTruth, now: MoneySnapshot) -> Check:
    expected = {
        name: cost.counts for name, cost in true_costs(truth, cost_truth, {}).items() if any(cost.counts)
    }
    measured = {name: cost.counts for name, cost in now.costs.items() if name in COSTED and any(cost.counts)}
    return Check(
        "impressions, clicks, views and installs of each campaign",
        _counts(expected),
        _counts(measured),
        expected == measured,
    )


def _counts(counts: Mapping[str, tuple[int, int, int, int]]) -> str:
    return " / ".join(f"{sum(each[place] for each in counts.values()):,}" for place in range(4))


def _gain_check(name: str, number: int, cents: int, gain: Gain) -> Check:
    return Check(
        name,
        f"{dollars(cents)} in {number:,}",
        f"{dollars(gain.revenue)} in {_plain(gain.conversions)}",
        gain.revenue == cents and gain.conversions == number,
    )


def _pipeline_check(truth: Truth, now: MoneySnapshot) -> Check:
    gain, crm = now.types.get(OPPORTUNITY, Gain()), truth.crm
    others = sum(other.pipeline for name, other in now.types.items() if name != OPPORTUNITY)
    return Check(
        "pipeline: deals that are open or won, no revenue",
        f"{dollars(crm.pipeline)} in {crm.opportunities:,}",
        f"{dollars(gain.pipeline + others)} in {_plain(gain.conversions)}",
        gain.pipeline + others == crm.pipeline
        and gain.conversions == crm.opportunities
        and gain.revenue == 0,
    )


def _count_check(name: str, expected: int, measured: Decimal) -> Check:
    return Check(name, f"{expected:,}", _plain(measured), measured == expected)


def _plain(number: Decimal) -> str:
    return f"{number.normalize():,f}"


# What each programme cost


@dataclass(frozen=True)
class CostLine:
    """One programme with media cost: what it cost beside what it brought."""

    label: str
    true: Cost
    cost: Cost
    """As measured."""
    caused: int
    """What it truly brought."""
    gain: Gain
    """What ``linear`` says that it brought."""

    @property
    def ratios(self) -> dict[str, Fraction | None]:
        """Metrics by name; money in cents. None where the base is 0."""
        spend, gain = self.cost.spend, self.gain
        return {
            **{f"true_{name}": value for name, value in _prices(self.true).items()},
            **_prices(self.cost),
            "cpa": _ratio(spend, gain.conversions),
            "cpql": _ratio(spend, gain.qualified),
            "true_roas": _ratio(self.caused, self.true.spend),
            "roas": _ratio(gain.revenue, spend),
            "true_roi": _ratio(self.caused - self.true.spend, self.true.spend),
            "roi": _ratio(gain.revenue - spend, spend),
            "pipeline_roi": _ratio(gain.pipeline - spend, spend),
        }


def _prices(cost: Cost) -> dict[str, Fraction | None]:
    return {
        "cpc": _ratio(cost.spend, cost.clicks),
        "cpm": _ratio(1_000 * cost.spend, cost.impressions),
        "ctr": _ratio(cost.clicks, cost.impressions),
        "cpi": _ratio(cost.spend, cost.installs),
    }


def build_cost_lines(lines: Iterable[Line], true: Mapping[str, Cost], now: MoneySnapshot) -> list[CostLine]:
    """A line for each programme that costs media, and the last one for all of them. ``true``: by campaign."""
    caused = {line.name: line.caused for line in lines}
    found = []
    for name, tariff in TARIFFS.items():
        told, really = (
            sum((costs.get(campaign, Cost()) for campaign in tariff.networks), Cost())
            for costs in (now.costs, true)
        )
        gain = now.gains.get(name, Gain())
        found.append(CostLine(BY_NAME[name].label, really, told, caused.get(name, 0), gain))
    return [
        *found,
        CostLine(
            "All of these",
            sum((line.true for line in found), Cost()),
            sum((line.cost for line in found), Cost()),
            sum(line.caused for line in found),
            sum((line.gain for line in found), Gain()),
        ),
    ]


def _ratio(value: Decimal | Fraction | int, base: Decimal | Fraction | int) -> Fraction | None:
    return Fraction(value) / Fraction(base) if base else None


# Every metric


def true_metrics(truth: Truth, cost_truth: CostTruth, rates: Mapping[date, Decimal]) -> dict[str, Fraction]:
    """Metrics of everything whose truth does not depend on a model; money in major units, not rounded."""
    crm = truth.crm
    spend = sum(exact_dollars(cost_truth.billed, rates).values(), Fraction(0)) / 100
    clicks, views, installs = (
        counts.total() for counts in (cost_truth.clicks, cost_truth.views, cost_truth.installs)
    )
    impressions = cost_truth.impressions.total() + truth.views.total()
    sessions, revenue = truth.sessions.total(), Fraction(truth.revenue, 100)
    known = {
        "hits": Fraction(truth.unique),
        "sessions": Fraction(sessions),
        "impressions": Fraction(impressions),
        "clicks": Fraction(clicks),
        "views": Fraction(views),
        "installs": Fraction(installs),
        "spend": spend,
        "conversions": Fraction(truth.conversions),
        "revenue": revenue,
        "qualified_leads": Fraction(crm.qualified),
        "pipeline": Fraction(crm.pipeline, 100),
        "cr": _ratio(truth.conversions, sessions),
        "cpc": _ratio(spend, clicks),
        "cpm": _ratio(1_000 * spend, impressions),
        "cpv": _ratio(spend, views),
        "cpi": _ratio(spend, installs),
        "ctr": _ratio(clicks, impressions),
        "cpa": _ratio(spend, truth.conversions),
        "cpql": _ratio(spend, crm.qualified),
        "mer": _ratio(revenue, spend),
        "new_customers": Fraction(truth.customers),
        "cac": _ratio(spend, truth.customers),
        "ltv": _ratio(revenue, truth.customers),
        "payback_days": _payback(truth.earned, 100 * spend),
    }
    return {name: value for name, value in known.items() if value is not None}


def _payback(earned: Mapping[int, int], spend: Fraction) -> Fraction | None:
    """The age in days from which on ``earned``, cents by age, covers ``spend`` for good; None = never."""
    left, since = -spend, None
    for age in sorted({0, *earned}):
        left += earned.get(age, 0)
        since = None if left < 0 else age if since is None else since
    return None if since is None else Fraction(since)


def metrics_check(true: Mapping[str, Fraction], told: Mapping[str, object]) -> Check:
    """Every metric whose truth is known, to the last digit in which it is told."""
    wrong = [name for name, value in true.items() if not _is_rounded(value, told.get(name))]
    return Check(
        "every metric whose truth is known",
        f"{len(true)} metrics",
        f"{len(true) - len(wrong)} right" + (f"; not {', '.join(wrong)}" if wrong else ""),
        not wrong,
    )


def _is_rounded(value: Fraction, told: object) -> bool:
    if told is None:
        return False
    number = Decimal(str(told))
    # A ratio has six decimals, zeros at its end left out; money has those of its currency, or two more.
    exponent = number.as_tuple().exponent
    decimals = -exponent if isinstance(exponent, int) else 0
    finest = Fraction(1, 10 ** (decimals if isinstance(told, str) else 6))
    return abs(Fraction(number) - value) <= finest / 2
