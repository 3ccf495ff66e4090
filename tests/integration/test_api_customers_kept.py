"""What is kept of customers between questions: used while nothing has come, never when something has."""

from __future__ import annotations

from typing import Any, cast

import pytest
from api_sales import EMAIL, EUR, NONE, SEARCH, day, link, sell
from api_store import Store, credit
from clickhouse_connect.driver.client import Client

import api.customers

LTV = "new_customers ltv"


class Reading:
    """A client that counts how often columns of numbers are read: customers, links and money are."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.times = 0

    def query_np(self, *given: Any, **named: Any) -> Any:
        self.times += 1
        return self._client.query_np(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def since(self, store: Store, metrics: str, **given: Any) -> int:
        """How often for one question."""
        before = self.times
        store.rows(metrics, **given)
        return self.times - before


@pytest.fixture
def reading(clean: tuple[Client, str]) -> Reading:
    return Reading(clean[0])


@pytest.fixture
def store(reading: Reading, clean: tuple[Client, str]) -> Store:
    """Ann buys for 10 (e-mail), Bob for 20 (search)."""
    made = Store(cast("Client", reading), clean[1])
    sell(made, "1", 0, (0, "10"), visitor="ann", touches=((EMAIL, 0),), recorded_at=day(0))
    sell(made, "2", 1, (1, "20"), visitor="bob", touches=((SEARCH, 1),), recorded_at=day(1))
    assert made.rows(LTV, **EUR) == [[2, "15.00"]]
    return made


def test_the_second_question_reads_nothing_again(store: Store, reading: Reading) -> None:
    assert reading.since(store, LTV, **EUR) == 0
    assert reading.since(store, LTV, by="channel", date_range=["2026-10-02", "2026-10-02"], **EUR) == 0
    # Of another model only the money is.
    assert reading.since(store, LTV, model="last_touch", **EUR) == 1
    assert reading.since(store, LTV, model="last_touch", **EUR) == 0
    assert reading.since(store, "new_customers", model="first_touch", **EUR) == 0
    assert reading.since(store, LTV, as_of="2026-10-03", **EUR) > 2
    assert reading.since(store, LTV, **EUR) == 0


def test_a_new_conversion_counts_in_the_next_question(store: Store) -> None:
    sell(store, "3", 2, (2, "60"), visitor="cy", recorded_at=day(0))
    assert store.rows(LTV, **EUR) == [[3, "30.00"]]
    sell(store, "4", -1, (-1, "10"), visitor="bob", touches=((EMAIL, -1),), recorded_at=day(0))
    assert store.rows(LTV, "channel", **EUR) == [[EMAIL, 2, "20.00"], [NONE, 1, "60.00"]]


def test_a_link_and_its_withdrawal_count_in_the_next_question(store: Store) -> None:
    links = [link(visitor, "email:x", recorded_at=day(0)) for visitor in ("ann", "bob")]
    store.put("identity_links", *links)
    assert store.rows(LTV, **EUR) == [[1, "30.00"]]
    store.put("identity_links", link("bob", "email:x", -1, recorded_at=day(0)))
    assert store.rows(LTV, **EUR) == [[2, "15.00"]]


def test_a_refund_counts_in_the_next_question(store: Store) -> None:
    """What is taken back whole makes nobody a customer; in the ledger and in the conversions, one after the other."""
    about = {"conversion_id": "2", "converted_at": day(1), "booked_at": day(3), "currency": "EUR"}
    for model in ("first_touch", "last_touch", "linear"):
        store.put("credits", credit(SEARCH, "-20", "0", model=model, recorded_at=day(3), **about))
    assert store.rows(LTV, **EUR) == [[2, "5.00"]]
    its = {"conversion_id": "2", "converted_at": day(1), "currency": "EUR", "visitor_id": "bob"}
    worth = [("20.0000", -1), ("0", 1)]
    store.put(
        "conversions",
        *(
            {**its, "type": "purchase", "value": value, "sign": sign, "recorded_at": day(3)}
            for value, sign in worth
        ),
    )
    assert store.rows(LTV, **EUR) == [[1, "10.00"]]
    assert store.rows(LTV, as_of="2026-10-04", **EUR) == [[2, "15.00"]]
    assert store.rows(LTV, **EUR) == [[1, "10.00"]]


def test_a_restatement_counts_in_the_next_question(store: Store) -> None:
    """Under one model credit goes from search to e-mail."""
    about = {"conversion_id": "2", "converted_at": day(1), "booked_at": day(1), "currency": "EUR"}
    moved = [credit(SEARCH, "-20", "-1", **about), credit(EMAIL, "20", "1", **about)]
    store.put("credits", *({**one, "conversion_type": "purchase", "cause": "policy"} for one in moved))
    assert store.rows(LTV, "channel", **EUR) == [[EMAIL, 2, "15.00"]]
    assert store.rows(LTV, "channel", model="last_touch", **EUR) == [
        [EMAIL, 1, "10.00"],
        [SEARCH, 1, "20.00"],
    ]


def test_rates_and_currencies_count_in_the_next_question(store: Store) -> None:
    rate = {"currency": "USD", "day": "2026-10-01", "source": "ecb"}
    store.put("fx_rates", {**rate, "rate": "2"})
    assert store.rows(LTV, currency="USD") == [[2, "30.00"]]
    store.put("fx_rates", {**rate, "rate": "4", "source": "own"})
    assert store.rows(LTV, currency="USD") == [[2, "60.00"]]
    assert store.rows(LTV, **EUR) == [[2, "15.00"]]
    assert store.rows(LTV, currency="USD", convert=False) == [[2, None]]
    assert store.rows(LTV, currency="USD") == [[2, "60.00"]]


def test_of_few_models_only_the_money_is_kept(
    store: Store, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were asked for last."""
    monkeypatch.setattr(api.customers, "MOST_KEPT", 2)
    for model, times in (("linear", 0), ("last_touch", 1), ("linear", 0), ("first_touch", 1), ("linear", 0)):
        assert reading.since(store, LTV, model=model, **EUR) == times
    assert reading.since(store, LTV, model="last_touch", **EUR) == 1
