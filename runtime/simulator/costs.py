"""What the simulated shop's advertising cost: daily reports of its networks by campaign, some corrected days later.

Facts are those of ``POST /v1/spend`` (docs/spend.md). LinkedIn bills in euros, all others in the shop's dollars.
Figures that are corrected were first told too high or too low; in the order of sending the older figure may come last,
and some facts come twice. What counts is the truth: the newest figure of each campaign and day.

Pure: the same arguments give the same reports. Money is in cents of the currency billed.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from runtime.simulator.crm import CURRENCY, text
from runtime.simulator.instants import DAY_MS, HOUR_MS, iso

EURO = "EUR"
FIRST_H, CORRECTED_H = 30, 78
"""Hours after the beginning of a day at which its figures are read: the next morning, and two days later."""
POST_DAYS = 16
"""Who is paid by the post posts once in so many days."""
_SHARE_CORRECTED, _SHARE_TWICE = 0.2, 0.05
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Tariff:
    """How a programme is billed."""

    networks: Mapping[str, str]
    """Campaign to the network that reports it."""
    click: int
    """Cents for a click, about."""
    seen: int
    """Impressions for a click, about; 0: the network tells neither."""
    currency: str = CURRENCY
    fee: int = 0
    """Cents for a post, where that is what is paid for."""
    views: int = 0
    """Video views for a hundred impressions."""
    claims: bool = False
    """The network says what it thinks that it brought."""
    elsewhere: int = 0
    """Clicks of a day, about, that lead elsewhere than to the shop: to a store of apps."""
    installs: int = 0
    """Apps installed for a hundred clicks."""


def _by(network: str, *campaigns: str) -> dict[str, str]:
    return dict.fromkeys(campaigns, network)


TARIFFS: Mapping[str, Tariff] = {
    "google_ads": Tariff(_by("google_ads", "gads_generic", "gads_brand"), 55, 24, claims=True),
    "bing_ads": Tariff(_by("microsoft_ads", "bing_generic"), 40, 30),
    "linkedin": Tariff(_by("linkedin_ads", "li_offices", "li_leadgen"), 240, 160, EURO),
    "meta": Tariff(_by("meta_ads", "meta_prospecting", "meta_stories"), 48, 80, claims=True),
    "tiktok": Tariff(_by("tiktok_ads", "tt_sparks"), 30, 140, views=35),
    "x": Tariff(_by("x_ads", "x_takeover"), 42, 120),
    "programmatic": Tariff({"prog_prospecting": "google_display", "prog_returning": "criteo"}, 36, 400),
    "affiliate": Tariff({"aff_content": "awin", "aff_coupon": "impact"}, 25, 12),
    "influencer": Tariff(_by("influencers", "inf_mira", "inf_homelab"), 0, 0, fee=18_000),
    "app": Tariff(_by("tiktok_ads", "tt_app"), 26, 60, elsewhere=24, installs=35),
}
"""By programme. What is free of media cost (mail, search engines' own results, links) is not in it."""
COSTED = {campaign: name for name, tariff in TARIFFS.items() for campaign in tariff.networks}
"""Campaign to programme."""

Billed = tuple[str, str, str]
"""(currency, campaign, day as ISO 8601)."""


@dataclass
class CostTruth:
    """The newest figure of everything, added up."""

    billed: Counter[Billed] = field(default_factory=Counter)
    """Cents of the currency."""
    clicks: Counter[str] = field(default_factory=Counter)
    """By campaign, as impressions, views and installs."""
    impressions: Counter[str] = field(default_factory=Counter)
    views: Counter[str] = field(default_factory=Counter)
    installs: Counter[str] = field(default_factory=Counter)
    facts: int = 0
    """Different things: a campaign on a day."""
    corrected: int = 0


@dataclass(frozen=True)
class Costs:
    """All reports in the order of sending, and the truth about them."""

    facts: list[dict[str, str]]
    truth: CostTruth


def build_costs(
    visits: Mapping[tuple[str, str, int], int], *, seed: int, first_day: int, ends_at: int, run_id: str = ""
) -> Costs:
    """Reports of all days since ``first_day`` (days since 1970) that are over at ``ends_at`` (epoch ms, UTC).

    ``visits``: by programme, campaign and day, as ``Truth.clicks``; nobody comes without a click that is billed.
    ``run_id`` becomes part of each campaign's id, so that several worlds can live in one installation.
    """
    rng = random.Random(f"{seed}/costs")
    truth = CostTruth()
    facts: list[dict[str, str]] = []
    for day in range(first_day, ends_at // DAY_MS):
        for name, tariff in TARIFFS.items():
            campaigns = list(tariff.networks)
            untold = [rng.choice(campaigns) for _ in range(visits.get((name, "", day), 0))]
            for campaign in campaigns:
                clicks = visits.get((name, campaign, day), 0) + untold.count(campaign)
                facts += _reports(rng, name, campaign, day, clicks, ends_at, run_id, truth)
    facts += [dict(fact) for fact in facts if rng.random() < _SHARE_TWICE]
    rng.shuffle(facts)
    return Costs(facts, truth)


def _reports(
    rng: random.Random,
    name: str,
    campaign: str,
    day: int,
    visits: int,
    ends_at: int,
    run_id: str,
    truth: CostTruth,
) -> list[dict[str, str]]:
    """One fact, or the one that was wrong and the one that corrects it."""
    tariff = TARIFFS[name]
    # Some click and never arrive.
    clicks = visits + rng.randint(0, 2) if tariff.seen else 0
    if tariff.elsewhere:
        clicks += rng.randint(tariff.elsewhere // 2, tariff.elsewhere * 3 // 2)
    impressions = sum(rng.randint(tariff.seen // 2, tariff.seen * 3 // 2) for _ in range(clicks + 1))
    cost = sum(rng.randint(tariff.click * 6 // 10, tariff.click * 14 // 10) for _ in range(clicks))
    if tariff.fee:
        if (day + list(tariff.networks).index(campaign)) % POST_DAYS:
            return []
        cost = tariff.fee
    on = (_EPOCH + timedelta(days=day)).isoformat()
    views, installs = impressions * tariff.views // 100, clicks * tariff.installs // 100
    truth.billed[tariff.currency, campaign, on] += cost
    truth.clicks[campaign] += clicks
    truth.impressions[campaign] += impressions
    truth.views[campaign] += views
    truth.installs[campaign] += installs
    truth.facts += 1
    base = {
        "day": on,
        "ad_network": tariff.networks[campaign],
        "account_id": "lumen",
        "campaign_id": f"{run_id or 'demo'}-{campaign}",
        "campaign": campaign,
        "currency": tariff.currency,
    }
    began = day * DAY_MS
    first, corrected = began + FIRST_H * HOUR_MS, began + CORRECTED_H * HOUR_MS
    figures = {
        "cost": text(cost),
        "clicks": str(clicks),
        "impressions": str(impressions),
        "views": str(views),
        "installs": str(installs),
    }
    if tariff.claims:
        figures |= {"platform_conversions": str(clicks // 8), "platform_value": text(clicks // 8 * 9_900)}
    if corrected >= ends_at or rng.random() >= _SHARE_CORRECTED:
        return [base | figures | {"as_of": iso(min(first, ends_at))}]
    truth.corrected += 1
    wrong = {
        "cost": text(cost * rng.randint(80, 115) // 100 + 1),
        "clicks": str(clicks + rng.randint(0, 2)),
        "impressions": str(impressions + rng.randint(0, 40)),
        "installs": str(installs + rng.randint(0, 2) if tariff.installs else 0),
    }
    return [base | figures | wrong | {"as_of": iso(first)}, base | figures | {"as_of": iso(corrected)}]


def rate_on(rates: Mapping[date, Decimal], day: date) -> Fraction:
    """Dollars for one euro on ``day``: of a day without a rate the last before it, 0 before the first."""
    known = sorted(rates)
    place = bisect_right(known, day)
    return Fraction(rates[known[place - 1]]) if place else Fraction(0)


def exact_dollars(billed: Mapping[Billed, int], rates: Mapping[date, Decimal]) -> dict[str, Fraction]:
    """Cents of the shop's currency by campaign, each day at its rate, not rounded."""
    days = {day for currency, _, day in billed if currency == EURO}
    rate_by_day = {day: rate_on(rates, date.fromisoformat(day)) for day in days}
    sums: dict[str, Fraction] = {}
    for (currency, campaign, day), cents in billed.items():
        rate = rate_by_day[day] if currency == EURO else Fraction(1)
        sums[campaign] = sums.get(campaign, Fraction(0)) + cents * rate
    return sums


def in_dollars(billed: Mapping[Billed, int], rates: Mapping[date, Decimal]) -> dict[str, int]:
    """The same, rounded half to even as answers are: after summing."""
    return {campaign: round(amount) for campaign, amount in exact_dollars(billed, rates).items()}
