"""Customers against the real engine: a small world in which every figure is worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from api_sales import DISPLAY, EMAIL, EUR, NONE, SEARCH, link, sell, spend
from api_store import Store
from clickhouse_connect.driver.client import Client

import api.customers
from api.service import QueryService
from attribution.errors import Rejected
from attribution.policy import AttributionPolicy

METRICS = "new_customers ltv cac payback_days"


@pytest.fixture(scope="module")
def world(migrated: tuple[Client, str]) -> Store:
    """Five customers.

    - Ann buys on her laptop for 100 (day 0, search then e-mail) and on her phone for 60 (day 10), of which 20 are paid
      back on day 20: 140.
    - Bob's trial of 0 (day 1) makes nobody a customer. His first paid invoice is of 50 USD (day 31, search): 40 EUR at
      1.25; the next of 50 USD (day 61) is 50 EUR at 1.00: 90.
    - Carl has two deals that name his contact, and no visitor: 1,000 (day 5) and 500 (day 40): 1,500. What he may bring
      yet (an opportunity on day 3) is pipeline.
    - Dora is paid back everything: no customer.
    - Eve buys for 20 (day 6, e-mail), and a shop tells an order of her user id for 80 (day 8): 100.
    - Nobody knows who bought for 10 (day 7).
    """
    store = Store(*migrated)
    rates = {"2026-10-02": "1.25", "2026-12-01": "1.00"}
    store.put(
        "fx_rates",
        *({"currency": "USD", "day": of, "rate": rate, "source": "ecb"} for of, rate in rates.items()),
    )
    store.put("identity_links", link("laptop", "user:ann"), link("phone", "user:ann"), link("eve", "user:e"))
    sell(store, "A1", 0, (0, "100"), visitor="laptop", touches=((SEARCH, 0), (EMAIL, 0)))
    sell(store, "A2", 10, (10, "60"), (20, "-20"), visitor="phone", touches=((DISPLAY, 9),))
    sell(store, "B0", 1, (1, "0"), visitor="bob", touches=((DISPLAY, 1),))
    sell(store, "B1", 31, (31, "50"), visitor="bob", touches=((SEARCH, 1),), currency="USD")
    sell(store, "B2", 61, (61, "50"), visitor="bob", currency="USD", type_="renewal")
    sell(store, "C0", 3, (3, "700"), ids=("email:c",), type_="opportunity")
    sell(store, "C1", 5, (5, "1000"), ids=("crm:9", "email:c"), type_="deal_won")
    sell(store, "C2", 40, (40, "500"), ids=("email:c",), type_="deal_won")
    sell(store, "D1", 2, (2, "30"), (4, "-30"), visitor="dora", touches=((SEARCH, 2),))
    sell(store, "E1", 6, (6, "20"), visitor="eve", touches=((EMAIL, 6),))
    sell(store, "E2", 8, (8, "80"), ids=("user:e",))
    sell(store, "N1", 7, (7, "10"))
    # 10 USD are 8 EUR.
    store.put("spend", spend(SEARCH, 0, "100"), spend(DISPLAY, 1, "50"), spend(EMAIL, 0, "10", "USD"))
    return store


def by_channel(store: Store, model: str, **given: Any) -> dict[str, list[Any]]:
    rows = store.rows(METRICS, "channel", model=model, **EUR, **given)
    assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)
    return {row[0]: row[1:] for row in rows}


def test_every_figure_by_channel_under_three_models(world: Store) -> None:
    """What is spent without a customer stays, and customers of whom no touch is known cost nothing."""
    nobody = {DISPLAY: [0, None, None, None], NONE: [2, "755.00", "0.00", 0]}  # (1,500 + 10) / 2
    assert by_channel(world, "first_touch") == {
        # Ann and Bob: (140 + 90) / 2, 100 / 2; on the first day they brought 100 + 40.
        SEARCH: [2, "115.00", "50.00", 0],
        EMAIL: [1, "100.00", "8.00", 0],
        **nobody,
    }
    assert by_channel(world, "last_touch") == {
        SEARCH: [1, "90.00", "100.00", None],  # Bob alone: 40 + 50 is less than 100
        EMAIL: [2, "120.00", "4.00", 0],  # Ann and Eve: (140 + 100) / 2, 8 / 2
        **nobody,
    }
    assert by_channel(world, "linear") == {
        # Half of Ann, and Bob: (70 + 90) / 1.5, 100 / 1.5. 50 + 40 on the first day, 30 more on Ann's tenth.
        SEARCH: [Decimal("1.5"), "106.67", "66.67", 10],
        EMAIL: [Decimal("1.5"), "113.33", "5.33", 0],  # (70 + 100) / 1.5, 8 / 1.5
        **nobody,
    }


@pytest.mark.parametrize("model", ["first_touch", "last_touch", "linear"])
def test_the_total_is_every_customer_once(world: Store, model: str) -> None:
    answer = world.ask(METRICS, model=model, **EUR)
    # (140 + 90 + 1,500 + 100 + 10) / 5; (100 + 50 + 8) / 5
    assert answer.rows == [[5, "368.00", "31.60", 0]]
    assert answer.meta.customers is not None
    assert (answer.meta.customers.customers, answer.meta.customers.without_person) == (5, 1)
    assert answer.meta.bases.keys() == {"ltv", "cac", "payback_days"}


def test_cohorts_are_those_of_the_first_purchase_or_of_the_touch_before_it(world: Store) -> None:
    """Bob became a customer in November, by a touch of October. What a cohort has brought is of all time."""
    # (140 + 1,500 + 100 + 10) / 4, 158 / 4
    assert world.rows(METRICS, "month", **EUR) == [
        ["2026-10", 4, "437.50", "39.50", 0],
        ["2026-11", 1, "90.00", "0.00", 0],
    ]
    assert world.rows(METRICS, "month", basis="touch", **EUR) == [["2026-10", 5, "368.00", "31.60", 0]]
    days = {row[0]: row[1:] for row in world.rows("new_customers ltv", "day", basis="touch", **EUR)}
    assert days["2026-10-02"] == [1, "140.00"]
    assert days["2026-10-03"] == [1, "90.00"]
    within = {"date_range": ["2026-11-02", "2026-11-02"], **EUR}
    assert world.rows(METRICS, "channel", **within) == [[SEARCH, 1, "90.00", "0.00", 0]]
    assert world.rows(METRICS, date_range=["2026-11-03", None], **EUR) == [[0, None, None, None]]


def test_the_type_is_that_of_the_first_purchase_and_spend_has_none(world: Store) -> None:
    # 158 / 4 and 158 / 1; Ann, Bob, Eve and nobody bought (140 + 90 + 100 + 10) / 4
    assert world.rows(METRICS, "conversion_type", **EUR) == [
        ["purchase", 4, "85.00", "39.50", 61 - 61],
        ["deal_won", 1, "1500.00", "158.00", 0],
        ["", 0, None, None, None],
    ]
    only = {"filters": [["conversion_type", "is", ["deal_won", "renewal"]]], **EUR}
    assert world.rows(METRICS, **only) == [[1, "1500.00", "158.00", 0]]
    assert world.rows("new_customers", "conversion_type channel", **only) == [["deal_won", NONE, 1]]


def test_money_that_is_not_converted_makes_customers_but_no_ltv(world: Store) -> None:
    """Bob's is in USD; Ann's and all others' in EUR."""
    assert world.rows("new_customers ltv", "channel", convert=False, **EUR)[0] == [NONE, 2, "755.00"]
    only = {"filters": [["channel", "is", [SEARCH]]], "convert": False}
    assert world.rows("new_customers ltv spend cac", **only, **EUR) == [
        [Decimal("1.5"), "140.00", "100.00", "66.67"]
    ]
    assert world.rows("new_customers ltv", **only, currency="USD") == [[Decimal("1.5"), "100.00"]]
    # 140 EUR x 1.25, of which the 60 - 20 of days 10 and 20 at 1.25 too; 50 + 50 USD
    del only["convert"]
    assert world.rows("new_customers ltv", **only, currency="USD") == [[Decimal("1.5"), "125.00"]]


def test_pages_and_orders(world: Store) -> None:
    everything = world.rows("ltv new_customers", "channel", **EUR)
    assert [row[0] for row in everything] == [NONE, EMAIL, SEARCH]
    for offset in range(4):
        page = world.ask("ltv new_customers", "channel", limit=2, offset=offset, **EUR)
        assert page.rows == everything[offset : offset + 2]
        assert page.meta.next_offset == (2 if offset == 0 else None)
    ordered = world.rows("cac spend", "channel", order_by=[["cac", "asc"]], **EUR)
    assert [row[0] for row in ordered] == [NONE, EMAIL, SEARCH, DISPLAY]
    assert [row[0] for row in world.rows("spend ltv", "channel", order_by=[["spend", "desc"]], **EUR)] == [
        *(SEARCH, DISPLAY, EMAIL, NONE)
    ]


def test_customers_stand_beside_everything_else(world: Store) -> None:
    """Groups of other sides stay, those that only later purchases are of do not."""
    alone = {row[0] for row in world.rows("new_customers", "channel", **EUR)}
    assert alone == {SEARCH, EMAIL, NONE}
    answer = world.ask("revenue people visitors new_customers roas cac", "channel", spread=True, **EUR)
    mixed = {row[0]: row[1:] for row in answer.rows}
    assert mixed[DISPLAY] == ["40.00", 0, 0, 0, Decimal("0.8"), None]
    # 50 of Ann, 40 of Bob
    assert mixed[SEARCH] == ["90.00", 0, 0, Decimal("1.5"), Decimal("0.9"), "66.67"]
    assert isinstance(answer.spread, list)
    assert [ranges["revenue"].high for ranges in answer.spread][1:] == ["140.00", "120.00", "40.00"]
    assert world.rows("new_customers", "landing_page source", **EUR) == [["", "(direct)", 5]]
    with pytest.raises(Rejected, match="landing_page"):
        world.rows("cac", "landing_page")


def test_margin_pays_back_and_is_told(world: Store, migrated: tuple[Client, str]) -> None:
    """Of search under linear: 45 + 15 - 10 + 25 of 100."""

    def store_with(margin: str) -> Store:
        store = Store(*migrated)
        store._service = QueryService(*migrated, AttributionPolicy(), currency="EUR", margin=Decimal(margin))
        return store

    search = ["channel", "is", [SEARCH]]
    answer = store_with("0.5").ask(
        "payback_days ltv", "channel", filters=[["channel", "is", [SEARCH, EMAIL]]]
    )
    assert answer.rows == [[EMAIL, 0, "113.33"], [SEARCH, None, "106.67"]]
    assert answer.meta.customers is not None
    assert answer.meta.customers.margin == Decimal("0.5")
    # 72 on the first day, 24 more on the tenth, 8 less on the twentieth, 40 more on Bob's thirtieth
    assert store_with("0.8").rows("payback_days", filters=[search]) == [[30]]


def test_more_than_can_be_read_is_refused_by_name(
    world: Store, migrated: tuple[Client, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whoever has not read it yet."""
    monkeypatch.setattr(api.customers, "MOST_CONVERSIONS", 3)
    with pytest.raises(Rejected, match="up to 3 conversions") as rejected:
        Store(*migrated).rows("new_customers")
    assert (rejected.value.reason, rejected.value.field) == ("not_available", "metrics")
