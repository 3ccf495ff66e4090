"""What ads cost beside what they brought: figures computed by hand, to the cent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from api_store import Store, credit, session
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, NOON

from attribution.errors import Rejected

PAID = "Paid Search"


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


def spent(amount: str, channel: str = PAID, **given: Any) -> dict[str, Any]:
    """A standing figure of a day; amount and counts are already multiplied by sign."""
    return {
        **{"channel": channel, "amount": amount, "currency": "USD", "ad_network": "google_ads"},
        **{"level": "campaign", "campaign_id": "1", "cause": "report", **given},
    }


def test_spend_without_conversions_and_conversions_without_spend_both_stay(store: Store) -> None:
    store.put("spend", spent("40"), spent("25", "Display"))
    store.put(
        "credits",
        credit(PAID, "100", "1.5"),
        credit("Email", "60"),
        credit("(unattributed)", "40", "0.5"),
    )
    assert store.rows("spend revenue conversions cpa roas roi", "channel", order_by=[["channel", "asc"]]) == [
        ["(unattributed)", "0.00", "40.00", Decimal("0.5"), "0.00", None, None],
        ["Display", "25.00", "0.00", 0, None, 0, -1],
        ["Email", "0.00", "60.00", 1, "0.00", None, None],
        # 40 / 1.5; 100 / 40; 60 / 40
        [PAID, "40.00", "100.00", Decimal("1.5"), "26.67", Decimal("2.5"), Decimal("1.5")],
    ]
    # 65 / 3 conversions; 160 attributed of 200 in all.
    assert store.rows("spend revenue cpa roas roi mer") == [
        ["65.00", "200.00", "21.67", Decimal("2.461538"), Decimal("1.461538"), Decimal("3.076923")]
    ]


def test_a_side_that_is_not_asked_for_adds_no_rows(store: Store) -> None:
    store.put("spend", spent("40"))
    store.put("credits", credit("Email", "1"))
    store.put("sessions", session("1", channel="Direct"))
    assert store.rows("spend", "channel") == [[PAID, "40.00"]]
    assert store.rows("cpc", "channel") == [[PAID, None]]
    assert store.rows("revenue", "channel") == [["Email", "1.00"]]
    assert store.rows("sessions", "channel") == [["Direct", 1]]


def test_prices_of_views_clicks_and_installs(store: Store) -> None:
    """Numerator and denominator are summed first: 12 + 0.34 over 7 clicks, not the mean of the days."""
    store.put(
        "spend",
        spent("12", impressions=1000, clicks=6, views=40, installs=3),
        spent("0.34", impressions=500, clicks=1, day="2026-10-03", campaign_id="2"),
    )
    store.put("hits", {"in_session": 0, "event": "impression", "channel": PAID})
    row = store.rows("spend impressions clicks views installs cpc cpm cpv ctr cpi", "channel")[0]
    assert row == [
        *(PAID, "12.34", 1501, 7, 40, 3),
        # 12.34 / 7, 12,340 / 1,501, 12.34 / 40, 7 / 1,501, 12.34 / 3
        *("1.7629", "8.22", "0.3085", Decimal("0.004664"), "4.11"),
    ]
    assert store.rows("cpc cpm cpv ctr cpi", filters=[["channel", "is", ["Email"]]]) == [[None] * 5]
    assert store.rows("cpc", "day") == [["2026-10-02", "2.00"], ["2026-10-03", "0.34"]]


def test_a_corrected_figure_replaces_and_never_doubles(store: Store) -> None:
    first = spent("10.500001", clicks=5)
    store.put("spend", first)
    back = {**first, "amount": "-10.500001", "clicks": -5, "sign": -1}
    store.put("spend", back, spent("12.25", clicks=6), token="correction")
    store.put("spend", back, spent("12.25", clicks=6), token="correction")
    assert store.rows("spend clicks", "channel day") == [[PAID, "2026-10-02", "12.25", 6]]
    store.put("spend", spent("-12.25", clicks=-6, sign=-1))
    assert store.rows("spend clicks", "channel day") == []


def test_micros_are_summed_before_they_are_rounded(store: Store) -> None:
    store.put("spend", *(spent("0.004", campaign_id=str(n)) for n in range(3)))
    assert store.rows("spend") == [["0.01"]]


def test_spend_is_converted_at_the_rate_of_its_day(store: Store) -> None:
    """10 EUR on Friday are 12.50 USD, on Saturday too; 100 JPY have no rate."""
    store.put("fx_rates", {"currency": "USD", "day": "2026-10-02", "rate": "1.25", "source": "ecb"})
    store.put(
        "spend",
        spent("10", currency="EUR"),
        spent("10", currency="EUR", day="2026-10-03", campaign_id="2"),
        spent("5"),
        spent("100", currency="JPY", campaign_id="3"),
    )
    store.put("credits", credit(PAID, "60"))
    answer = store.ask("spend roas", "channel")
    assert answer.rows == [[PAID, "30.00", 2]]
    assert answer.meta.spend is not None
    assert answer.meta.spend.spend == "30.00"
    assert [
        (one.currency, one.spend, one.worth, one.oldest_rate_days) for one in answer.meta.spend.billed
    ] == [
        ("EUR", "20.00", "25.00", 1),
        ("JPY", "100", None, None),
        ("USD", "5.00", "5.00", 0),
    ]
    assert store.rows("spend", convert=False) == [["5.00"]]
    assert store.ask("revenue").meta.spend is None


def test_of_a_conversion_type_spend_is_all_spend(store: Store) -> None:
    """A filter on the type leaves spend alone; each type's price is all spend of the channel by its conversions."""
    store.put("spend", spent("30"))
    store.put(
        "credits",
        credit(PAID, "90"),
        *(credit(PAID, "0", conversion_type="lead") for _ in range(3)),
    )
    assert store.rows("spend conversions cpa", filters=[["conversion_type", "is", ["lead"]]]) == [
        ["30.00", 3, "10.00"]
    ]
    assert store.rows("cpa roas", "channel conversion_type", order_by=[["conversion_type", "asc"]]) == [
        [PAID, "", None, 0],
        [PAID, "lead", "10.00", 0],
        [PAID, "purchase", "30.00", 3],
    ]


def test_leads_deals_and_what_they_cost(store: Store) -> None:
    """An open deal is pipeline and no revenue; a lead is qualified once, whatever else it is called."""
    store.put("spend", spent("200"))
    store.put(
        "credits",
        *(
            credit(PAID, "0", conversion_type=name)
            for name in ("lead", "mql", "sql", "sql", "qualified_lead")
        ),
        credit(PAID, "1000", conversion_type="opportunity"),
        credit("(unattributed)", "500", conversion_type="opportunity"),
        credit(PAID, "700", conversion_type="deal_won"),
    )
    metrics = "revenue pipeline qualified_leads cpql roas pipeline_roi"
    # 200 / 3; 700 / 200; (1,000 - 200) / 200
    assert store.rows(metrics) == [["700.00", "1500.00", 3, "66.67", Decimal("3.5"), 4]]
    assert store.ask("revenue").meta.coverage.revenue == "700.00"
    assert store.rows(
        "revenue pipeline", "conversion_type", filters=[["conversion_type", "is", ["opportunity"]]]
    ) == [["opportunity", "0.00", "1500.00"]]


def test_revenue_roi_is_of_the_touches_of_a_time(store: Store) -> None:
    """What was spent in September, and what its touches brought later."""
    store.put("spend", spent("50", day="2026-09-30"))
    store.put("credits", credit(PAID, "150", touched_at=NOON - 2 * DAY, converted_at=NOON + 40 * DAY))
    september = {"date_range": ["2026-09-01", "2026-09-30"]}
    assert store.rows("revenue_roi roas", basis="touch", **september) == [[2, 3]]
    assert store.rows("roas", basis="conversion", **september) == [[0]]


def test_all_revenue_by_all_spend_has_no_parts(store: Store) -> None:
    store.put("spend", spent("50"), spent("50", day="2026-10-03"))
    store.put("credits", credit("Email", "150"), credit("(unattributed)", "50"))
    assert store.rows("mer", "day site") == [["2026-10-02", "site1", 4], ["2026-10-03", "site1", 0]]
    with pytest.raises(Rejected, match="roas"):
        store.rows("mer", "channel")


def test_spend_is_dated_by_when_it_became_known(store: Store) -> None:
    early = spent("10", recorded_at=NOON, campaign_label="c")
    store.put("spend", early)
    store.put("spend", {**early, "amount": "-10", "sign": -1, "recorded_at": NOON + 1})
    store.put("spend", {**early, "amount": "12", "recorded_at": NOON + 1})
    store.put("credits", credit(PAID, "30", campaign="c"))
    assert store.rows("spend roas", "campaign", as_of="2026-10-02T12:00:00Z") == [["c", "10.00", 3]]
    assert store.rows("spend roas", "campaign", as_of="2026-10-03") == [["c", "12.00", Decimal("2.5")]]


def test_a_campaign_under_its_id_has_its_networks_name(store: Store) -> None:
    """The newest one; names are told of the rows that are shown, and of ids only."""
    brand = {"campaign_id": "17391", "campaign_label": "17391"}
    store.put(
        "spend",
        spent("10", **brand, campaign="Brand", as_of=NOON),
        spent("10", **brand, campaign="Brand [2026]", as_of=NOON + 1, day="2026-10-03"),
        spent("5", campaign_id="2", campaign_label="2", campaign="2"),
        spent("4", campaign_id="3", campaign_label="3", campaign="Elsewhere", ad_network="meta_ads"),
        spent("3", campaign_id="x7", campaign_label="autumn", campaign="Autumn"),
    )
    store.put("credits", credit(PAID, "30", campaign="17391"))
    answer = store.ask("spend revenue", "campaign", limit=2)
    assert answer.rows == [["17391", "20.00", "30.00"], ["2", "5.00", "0.00"]]
    assert answer.meta.campaign_names == {"17391": "Brand [2026]"}
    assert store.ask("spend", "campaign").meta.campaign_names == {"17391": "Brand [2026]", "3": "Elsewhere"}
    assert store.ask("spend", "channel").meta.campaign_names is None


def test_by_ad_network_and_beside_visitors(store: Store) -> None:
    store.put("spend", spent("10", clicks=3), spent("20", ad_network="meta_ads"))
    store.put("sessions", session("1", channel=PAID, ad_network="google_ads"), session("2"))
    store.put("credits", credit(PAID, "30", ad_network="google_ads"), credit("Direct", "1"))
    assert store.rows("spend clicks sessions visitors revenue roas", "ad_network") == [
        ["meta_ads", "20.00", 0, 0, 0, "0.00", 0],
        ["google_ads", "10.00", 3, 1, 1, "30.00", 3],
        ["", "0.00", 0, 1, 1, "1.00", None],
    ]
    assert store.rows("spend visitors", filters=[["ad_network", "is", ["google_ads"]]]) == [["10.00", 1]]


def test_what_platforms_claim_stands_beside_and_is_never_added(store: Store) -> None:
    """Nobody claims anything for e-mail; what the platform takes back is gone; its money is converted."""
    store.put("fx_rates", {"currency": "USD", "day": "2026-10-02", "rate": "1.25", "source": "ecb"})
    first = spent("10", platform_conversions="3.5", platform_value="80", currency="EUR")
    store.put("spend", first, spent("4", "Display"))
    store.put("spend", spent("5", campaign_id="2", platform_conversions="1", platform_value="0.5"))
    store.put("credits", credit(PAID, "60", "2"), credit("Email", "5"))
    metrics = "spend conversions platform_conversions revenue platform_value"
    assert store.rows(metrics, "channel", order_by=[["platform_value", "desc"], ["spend", "desc"]]) == [
        [PAID, "17.50", 2, Decimal("4.5"), "60.00", "100.50"],
        ["Display", "4.00", 0, None, "0.00", None],
        ["Email", "0.00", 1, None, "5.00", None],
    ]
    assert store.rows("platform_value revenue sessions visitors", convert=False) == [["0.50", "65.00", 0, 0]]
    store.put(
        "spend",
        {**first, "amount": "-10", "platform_conversions": "-3.5", "platform_value": "-80", "sign": -1},
    )
    assert store.rows("platform_conversions platform_value", "channel", limit=1) == [[PAID, 1, "0.50"]]


def test_reach_is_told_only_where_one_figure_is_the_answer(store: Store) -> None:
    first = spent("1", reach=700, impressions=1000)
    store.put("spend", first, spent("1", reach=800, day="2026-10-03"), spent("1", day="2026-10-04"))
    assert store.rows("reach impressions", "day") == [
        ["2026-10-02", 700, 1000],
        ["2026-10-03", 800, 0],
        ["2026-10-04", None, 0],
    ]
    assert store.rows("reach") == [[None]]
    store.put("spend", {**first, "amount": "-1", "impressions": -1000, "sign": -1}, {**first, "reach": 701})
    second = spent("1", campaign_id="2", day="2026-10-03")
    store.put("spend", second)
    assert store.rows("reach", "day", limit=2) == [["2026-10-02", 701], ["2026-10-03", None]]
