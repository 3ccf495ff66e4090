"""The story and what must be read after each step. Figures are worked out by hand; the arithmetic stands beside them.

Ada clicks a Google ad on her laptop, sees a LinkedIn ad there, and comes back on her phone by a newsletter, where
she fills in the form. HubSpot follows her to a deal over 12,000 EUR. Google's report says 300 USD, two days later
312.50. The shop pays 1,500 EUR back, the deal is lost, opened again, and won again. Then she buys a sample in the shop,
of which its server pays a part back. One euro is 1.25 dollars on the day of the ad.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from bench.closed_loop.senders import Senders, associated, changed, created

PAID_SEARCH, EMAIL = "Paid Search", "Email"
ORDER = "ACME-2041"
SAMPLE = "SHOP-77"
DEAL, CONTACT = 77001, 501
USD_PER_EUR = "1.25"
"""On the day of the ad."""
MAIL = "ada@acme.example"
EMAIL_SHA256 = hashlib.sha256(MAIL.encode()).hexdigest()


@dataclass(frozen=True)
class Expected:
    """What is to be read after a step. Amounts are EUR as text, as the query API writes them."""

    standing: Mapping[str, tuple[int, str]]
    """Conversion type to (how many stand, what they are worth). Types that are not named have nothing."""
    deal: Mapping[str, tuple[str, str]]
    """Model to what Paid Search and Email have of the deal; {} = neither has anything."""
    metrics: Mapping[str, object]
    """Of everything, under ``linear``."""
    order: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """As ``deal``, of the sample that she buys in the shop."""
    funnel: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    """Stage that anybody is at to (persons, whose deals are lost, seconds since the first stage, cost each). {} = it is
    not asked for."""


@dataclass(frozen=True)
class Step:
    """Something happens in the world."""

    title: str
    act: Callable[[Senders], Awaitable[None]]
    expected: Expected = field(repr=False)


def _shares(
    whole: str,
    *,
    half: str,
    quarter: str,
    three_quarters: str,
    third: str,
    two_thirds: str,
    decay: tuple[str, str],
) -> dict[str, tuple[str, str]]:
    """Two touches: the ad (day 0, 10:00) and the newsletter (day 3, 12:00), after which come lead and deal.

    W-shaped: 30 for the ad, 30 and 30 for the newsletter, which was last before lead and before deal; nobody stands
    between, so the 10 go to these three: 1/3 and 2/3. Full path: 22.5 for the ad and three times for the newsletter.
    Time decay, half-life 7 days: the ad is 74 hours older, 2^(-74/168) = 0.7369 to 1.
    """
    nothing = "0.00"
    return {
        "first_touch": (whole, nothing),
        "last_touch": (nothing, whole),
        "last_non_direct_touch": (nothing, whole),
        "first_paid_touch": (whole, nothing),
        "last_paid_touch": (whole, nothing),
        "linear": (half, half),
        "time_decay": decay,
        "position_based": (half, half),
        "j_shaped": (quarter, three_quarters),
        "inverse_j_shaped": (three_quarters, quarter),
        "w_shaped": (third, two_thirds),
        "full_path": (quarter, three_quarters),
    }


# One person on two devices. The ad at 10:00 of day 0; lead at 12:10 of day 3, on the phone; what HubSpot tells of her
# address at 9:00 of days 4 and 6, and at 10:00 of day 10. It is won at 10:00 of day 30, and that stays when it is won
# again.
_FORM = {"visit": (1, 0, None), "lead": (1, 0, 3 * 86_400 + 7_800)}
_SALES = {**_FORM, "mql": (1, 0, 4 * 86_400 - 3_600), "qualified_lead": (1, 0, 6 * 86_400 - 3_600)}
_DEAL = {**_SALES, "opportunity": (1, 0, 10 * 86_400)}


def _each(cost: str, stages: Mapping[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """All that was spent stands against the one person who came."""
    return {stage: (*said, cost) for stage, said in stages.items()}


# 12,000 x 0.424258745... = 5,091.1049...: the cent goes to the larger remainder, the newsletter's.
WON = _shares(
    "12000.00",
    half="6000.00",
    quarter="3000.00",
    three_quarters="9000.00",
    third="4000.00",
    two_thirds="8000.00",
    decay=("5091.10", "6908.90"),
)
# 10,500 x 0.424258745... = 4,454.7168...: here it is the ad's.
REFUNDED = _shares(
    "10500.00",
    half="5250.00",
    quarter="2625.00",
    three_quarters="7875.00",
    third="3500.00",
    two_thirds="7000.00",
    decay=("4454.72", "6045.28"),
)


def _sample(
    whole: str, half: str, quarter: str, third: str, decay: tuple[str, str]
) -> dict[str, tuple[str, str]]:
    """The same two touches; nobody says of this order that it had an opportunity.

    So W-shaped divides between the ad, which was first, and the newsletter, which was last before the lead.
    Full path has three moments: the ad is one of them, the newsletter is two, the lead's and the last.
    """

    def less(part: str) -> str:
        return f"{Decimal(whole) - Decimal(part):.2f}"

    shares = _shares(
        whole,
        half=half,
        quarter=quarter,
        three_quarters=less(quarter),
        third=third,
        two_thirds=less(third),
        decay=decay,
    )
    return {**shares, "w_shaped": (half, half), "full_path": (third, less(third))}


# 240 x 0.424258745... = 101.8220...; 150 x 0.424258745... = 63.6388...
SAMPLE_BOUGHT = _sample("240.00", "120.00", "60.00", "80.00", ("101.82", "138.18"))
SAMPLE_LEFT = _sample("150.00", "75.00", "37.50", "50.00", ("63.64", "86.36"))

_LEAD = {"lead": (1, "0.00")}
_QUALIFIED = {**_LEAD, "mql": (1, "0.00"), "sql": (1, "0.00")}
_OPEN = {**_QUALIFIED, "opportunity": (1, "12000.00")}


async def _clicks_an_ad(senders: Senders) -> None:
    url = "https://acme.example/?utm_source=google&utm_medium=cpc&utm_campaign=brand-search&gclid=story-1"
    await senders.browser("laptop", senders.at(0, 10), url=url, email_sha256=EMAIL_SHA256)


async def _is_told_what_it_cost(senders: Senders) -> None:
    await senders.report(**_REPORT, cost="300.00", as_of=senders.text(1, 6), day=senders.text(0)[:10])


async def _sees_another_and_reads_a_newsletter(senders: Senders) -> None:
    view = "https://acme.example/view?utm_source=linkedin&utm_medium=paid-social&utm_campaign=abm"
    await senders.browser("laptop", senders.at(3, 9), url=view, event="impression")
    click = "https://acme.example/offer?utm_source=newsletter&utm_medium=email&utm_campaign=spring"
    await senders.browser("phone", senders.at(3, 12), url=click)


async def _fills_the_form_in(senders: Senders) -> None:
    at = senders.at(3, 12, 10)
    await senders.browser(
        "phone", at, url="https://acme.example/offer", event="lead", email_sha256=EMAIL_SHA256
    )


async def _is_qualified(senders: Senders) -> None:
    await senders.hubspot(
        created("contact", CONTACT, senders.at(3, 12, 15)),
        changed("contact", CONTACT, "email", MAIL, senders.at(3, 12, 15)),
        changed("contact", CONTACT, "lifecyclestage", "marketingqualifiedlead", senders.at(4, 9)),
        changed("contact", CONTACT, "lifecyclestage", "salesqualifiedlead", senders.at(6, 9)),
    )


async def _becomes_a_deal(senders: Senders) -> None:
    at = senders.at(10, 10)
    opened = (
        created("deal", DEAL, at),
        associated(DEAL, CONTACT, at),
        changed("deal", DEAL, "order_id", ORDER, at),
        changed("deal", DEAL, "deal_currency_code", "EUR", at),
        changed("deal", DEAL, "amount", "10000", at),
        changed("deal", DEAL, "dealstage", "appointmentscheduled", at),
    )
    # Twice, and the later change first: HubSpot promises neither order nor once.
    await senders.hubspot(changed("deal", DEAL, "amount", "12000", senders.at(20, 9)))
    await senders.hubspot(*opened)
    await senders.hubspot(*reversed(opened))


async def _is_won(senders: Senders) -> None:
    await senders.hubspot(changed("deal", DEAL, "dealstage", "closedwon", senders.at(30, 10)))


async def _cost_is_corrected(senders: Senders) -> None:
    await senders.report(**_REPORT, cost="312.50", as_of=senders.text(3, 6), day=senders.text(0)[:10])
    # The figure of two days before comes once more: it is older, so it changes nothing.
    await _is_told_what_it_cost(senders)


async def _is_refunded_in_part(senders: Senders) -> None:
    told = {"id": "re-1", "order_id": ORDER, "amount": "1500.00", "currency": "EUR"}
    for _ in range(2):
        await senders.shop("msg_refund_1", "refund.succeeded", senders.at(40, 10), told)


async def _is_lost(senders: Senders) -> None:
    await senders.hubspot(changed("deal", DEAL, "dealstage", "closedlost", senders.at(45, 10)))


async def _is_opened_again(senders: Senders) -> None:
    await senders.hubspot(changed("deal", DEAL, "dealstage", "contractsent", senders.at(50, 10)))


async def _is_won_again(senders: Senders) -> None:
    await senders.hubspot(changed("deal", DEAL, "dealstage", "closedwon", senders.at(55, 10)))


async def _buys_a_sample(senders: Senders) -> None:
    await senders.browser(
        "phone", senders.at(58, 9), event="purchase", order_id=SAMPLE, value="240.00", currency="EUR"
    )


async def _is_paid_back_by_the_shops_server(senders: Senders) -> None:
    told = {"event": "refund", "order_id": SAMPLE, "value": "90.00", "currency": "EUR"}
    # Twice, and not by her phone.
    for _ in range(2):
        await senders.browser("server", senders.at(59, 9), **told)


_REPORT = {
    "ad_network": "google_ads",
    "account_id": "900-1",
    "campaign_id": "111",
    "campaign": "Brand-Search",
    "currency": "USD",
    "impressions": "4000",
    "clicks": "150",
}
# 300 USD are 240 EUR: 240/150 a click, 240/4 for a thousand impressions. 312.50 USD are 250 EUR.
_COST = {"spend": "240.00", "cpc": "1.60", "cpm": "60.00", "ctr": "0.0375"}
# With the impression that was seen on a page: 240/4.001 and 150/4001; 250/150 and 250/4.001.
_SEEN = {**_COST, "cpm": "59.99", "ctr": "0.037491"}
_CORRECTED = {"spend": "250.00", "cpc": "1.6667", "cpm": "62.48", "ctr": "0.037491"}
_NO_CUSTOMER = {"new_customers": "0", "cac": None, "ltv": None, "payback_days": None}
_CUSTOMER = {"new_customers": "1", "cac": "250.00", "ltv": "10500.00", "payback_days": "0"}
_NO_REVENUE = {"revenue": "0.00", "roas": "0", "pipeline": "0.00", "pipeline_roi": "-1"}

STEPS: tuple[Step, ...] = (
    Step("Ada clicks a Google ad on her laptop", _clicks_an_ad, Expected({}, {}, {"spend": "0.00"})),
    Step(
        "Google reports 300 USD for that day",
        _is_told_what_it_cost,
        Expected({}, {}, {**_COST, **_NO_REVENUE, **_NO_CUSTOMER, "cpql": None}),
    ),
    Step(
        "She sees a LinkedIn ad, and opens a newsletter on her phone",
        _sees_another_and_reads_a_newsletter,
        Expected({}, {}, {**_SEEN, **_NO_REVENUE}),
    ),
    Step(
        "She fills the form in",
        _fills_the_form_in,
        Expected(_LEAD, {}, {"spend": "240.00", "cpql": None}, funnel=_each("240.00", _FORM)),
    ),
    Step(
        "HubSpot: qualified by marketing, then by sales",
        _is_qualified,
        Expected(_QUALIFIED, {}, {"spend": "240.00", "qualified_leads": "1", "cpql": "240.00"}),
    ),
    Step(
        "HubSpot: a deal over 10,000 EUR, then 12,000",
        _becomes_a_deal,
        # (12,000 - 240) / 240
        Expected(
            _OPEN, {}, {"revenue": "0.00", "pipeline": "12000.00", "pipeline_roi": "49", **_NO_CUSTOMER}
        ),
    ),
    Step(
        "HubSpot: won",
        _is_won,
        # 12,000 / 240; one customer, who cost 240
        Expected(
            {**_OPEN, "deal_won": (1, "12000.00")},
            WON,
            {"revenue": "12000.00", "roas": "50", **_CUSTOMER, "cac": "240.00", "ltv": "12000.00"},
            funnel=_each("240.00", {**_DEAL, "customer": (1, 0, 30 * 86_400)}),
        ),
    ),
    Step(
        "Google corrects its figure to 312.50 USD",
        _cost_is_corrected,
        # 12,000 / 250; (12,000 - 250) / 250
        Expected(
            {**_OPEN, "deal_won": (1, "12000.00")},
            WON,
            {**_CORRECTED, "roas": "48", "pipeline_roi": "47", "cpql": "250.00", "cac": "250.00"},
        ),
    ),
    Step(
        "The shop pays 1,500 EUR back",
        _is_refunded_in_part,
        # 10,500 / 250; what the deal was hoped to bring stays
        Expected(
            {**_OPEN, "deal_won": (1, "10500.00")},
            REFUNDED,
            {"revenue": "10500.00", "roas": "42", "pipeline": "12000.00", "pipeline_roi": "47", **_CUSTOMER},
        ),
    ),
    Step(
        "HubSpot: lost after all",
        _is_lost,
        # Who bought nothing that stands is no customer; but she has been at both stages, where nothing of hers stands.
        Expected(
            _QUALIFIED,
            {},
            {"spend": "250.00", "cpql": "250.00", **_NO_REVENUE, **_NO_CUSTOMER},
            funnel=_each(
                "250.00", {**_SALES, "opportunity": (1, 1, 10 * 86_400), "customer": (1, 1, 30 * 86_400)}
            ),
        ),
    ),
    Step(
        "HubSpot: opened again",
        _is_opened_again,
        Expected(_OPEN, {}, {"revenue": "0.00", "roas": "0", "pipeline": "12000.00", "pipeline_roi": "47"}),
    ),
    Step(
        "HubSpot: won again",
        _is_won_again,
        # (10,500 - 250) / 250. Ada was won on day 30, and what she cost has been paid back for good since day 55.
        Expected(
            {**_OPEN, "deal_won": (1, "10500.00")},
            REFUNDED,
            {
                **{"revenue": "10500.00", "roas": "42", "roi": "41", "revenue_roi": "41"},
                **{"pipeline_roi": "47", **_CUSTOMER, "payback_days": "25"},
            },
            funnel=_each("250.00", {**_DEAL, "customer": (1, 0, 30 * 86_400)}),
        ),
    ),
    Step(
        "She buys a sample over 240 EUR in the shop",
        _buys_a_sample,
        # (10,500 + 240) / 250
        Expected(
            {**_OPEN, "deal_won": (1, "10500.00"), "purchase": (1, "240.00")},
            REFUNDED,
            {
                **{"revenue": "10740.00", "roas": "42.96", "roi": "41.96", "pipeline_roi": "47"},
                **{**_CUSTOMER, "ltv": "10740.00", "payback_days": "25"},
            },
            SAMPLE_BOUGHT,
        ),
    ),
    Step(
        "The shop's server: 90 EUR of it were paid back",
        _is_paid_back_by_the_shops_server,
        # (10,500 + 150) / 250; (10,650 - 250) / 250. It stays an order, and Ada one customer.
        Expected(
            {**_OPEN, "deal_won": (1, "10500.00"), "purchase": (1, "150.00")},
            REFUNDED,
            {
                **{"revenue": "10650.00", "roas": "42.6", "roi": "41.6", "revenue_roi": "41.6"},
                **{**_CUSTOMER, "ltv": "10650.00", "payback_days": "25"},
            },
            SAMPLE_LEFT,
        ),
    ),
)

BY_DAY: Mapping[tuple[str, str], tuple[tuple[int, str], ...]] = {
    ("deal_won", "conversion"): ((30, "12000.00"), (40, "-1500.00"), (45, "-10500.00"), (55, "10500.00")),
    ("deal_won", "touch"): ((0, "5250.00"), (3, "5250.00")),
    ("purchase", "conversion"): ((58, "240.00"), (59, "-90.00")),
    ("purchase", "touch"): ((0, "75.00"), (3, "75.00")),
}
"""At the end, under ``linear``: of deal and order the cash view, on which day what came and went, and the accrual view,
the days of the touches."""
