"""Customers while what is known of people, ids and currencies changes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from api_sales import EMAIL, EUR, SEARCH, day, link, sell, spend
from api_store import Store
from clickhouse_connect.driver.client import Client

from attribution.persons import IdentityRules
from attribution.policy import AttributionPolicy
from attribution.spend.fact import Level, SpendFact
from attribution.spend.labels import default_labels


def test_a_link_makes_two_customers_one_and_its_withdrawal_two(clean: tuple[Client, str]) -> None:
    """The later purchase of what are two people is no longer a first one; as it stood, it still is."""
    store = Store(*clean)
    sell(store, "1", 0, (0, "10"), visitor="a", touches=((EMAIL, 0),), recorded_at=day(0))
    sell(store, "2", 1, (1, "20"), visitor="b", touches=((SEARCH, 1),), recorded_at=day(1))
    assert store.rows("new_customers ltv", "channel", **EUR) == [[EMAIL, 1, "10.00"], [SEARCH, 1, "20.00"]]
    links = [link(visitor, "email:x", recorded_at=day(2)) for visitor in "ab"]
    store.put("identity_links", *links)
    assert store.rows("new_customers ltv", "channel", **EUR) == [[EMAIL, 1, "30.00"]]
    store.put("identity_links", link("b", "email:x", -1, recorded_at=day(3)))
    two = [[2, "15.00"]]
    assert store.rows("new_customers ltv", **EUR) == two
    for as_of, expected in (
        ("2026-10-02", [[1, "10.00"]]),
        ("2026-10-03", two),
        ("2026-10-04", [[1, "30.00"]]),
    ):
        assert store.rows("new_customers ltv", as_of=as_of, **EUR) == expected
    assert store.rows("new_customers ltv", as_of="2026-10-05", **EUR) == two


def test_salaries_are_spend_and_can_be_left_out_by_their_source(clean: tuple[Client, str]) -> None:
    """A plain CSV with a network of one's own and no campaign: it stands under what ``default_labels`` says of it."""
    store = Store(*clean)
    salaries = SpendFact(
        day=date(2026, 10, 2),
        ad_network="sales_team",
        level=Level.account,
        account_id="",
        currency="EUR",
        cost=900_000_000,
        as_of=datetime(2026, 11, 2, tzinfo=UTC),
        imported_at=datetime(2026, 11, 2, tzinfo=UTC),
    )
    channel, source, medium, _ = default_labels(salaries)
    assert (channel, source) == ("Paid Other", "sales_team")
    sell(store, "1", 0, (0, "300"), visitor="a", touches=((SEARCH, 0),))
    store.put("spend", spend(SEARCH, 0, "100"), spend(channel, 0, "900", source=source, medium=medium))
    assert store.rows("cac roas payback_days", **EUR) == [["1000.00", Decimal("0.3"), None]]
    ads = {"filters": [["source", "is_not", ["sales_team"]]], **EUR}
    assert store.rows("cac roas payback_days", **ads) == [["100.00", 3, 0]]


def test_blocked_ids_name_nobody(clean: tuple[Client, str]) -> None:
    policy = AttributionPolicy(identity=IdentityRules(blocked_ids=("jürgen", "till")))
    store = Store(*clean, policy)
    for name, id_ in (("1", "crm:JÜRGEN"), ("2", "crm:Jürgen"), ("3", "user:TILL"), ("4", "user:Till")):
        sell(store, name, 0, (0, "10"), ids=(id_,))
    answer = store.ask("new_customers")
    assert answer.rows == [[4]]
    assert answer.meta.customers is not None
    assert answer.meta.customers.without_person == 4


def test_a_currency_that_came_after_the_time_asked_for_is_converted(clean: tuple[Client, str]) -> None:
    store = Store(*clean)
    store.put("fx_rates", {"currency": "USD", "day": "2026-10-02", "rate": "2", "source": "ecb"})
    sell(store, "1", 0, (0, "10"), visitor="a")
    within = {"date_range": ["2026-10-02", "2026-10-02"], **EUR}
    assert store.rows("ltv", **within) == [["10.00"]]
    sell(store, "2", 3, (3, "10"), visitor="a", currency="USD")
    assert store.rows("ltv", **within) == [["15.00"]]
