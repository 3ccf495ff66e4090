"""How much of what touches bring has arrived: figures computed by hand."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from api_store import Store, credit
from clickhouse_connect.driver.client import Client
from sinks_rows import DAY, HOUR, NOON

from api.answers import Maturity, QueryAnswer
from api.requests import parse_query
from api.service import QueryService
from attribution.policy import AttributionPolicy

OLD = NOON - 200 * DAY
RECENT = ("2026-09-01", None)


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


@pytest.fixture
def ask(clean: tuple[Client, str]) -> Any:
    """Questions at noon of 2026-10-02."""
    service = QueryService(*clean, AttributionPolicy(), clock=lambda: NOON / 1000)

    def answer(metrics: str, by: str = "", **given: Any) -> QueryAnswer:
        asked: dict[str, Any] = {"basis": "touch", "date_range": RECENT, **given}
        body = {"metrics": metrics.split(), "dimensions": by.split(), **asked}
        return service.query(parse_query(json.dumps(body).encode()))

    return answer


def came(lag: int, amount: str, conversions: str, touched_at: int = OLD, **given: Any) -> dict[str, Any]:
    """Entries of ``conversions`` conversions, all of them ``lag`` after the touch."""
    return credit("Email", amount, conversions, touched_at=touched_at, converted_at=touched_at + lag, **given)


def told(answer: QueryAnswer) -> Maturity:
    assert answer.meta.maturity is not None
    return answer.meta.maturity


def test_young_touches_are_measured_by_how_old_ones_brought_their_revenue(store: Store, ask: Any) -> None:
    """A quarter came within the hour, the rest on the tenth day; so five days after the touch a quarter is there."""
    store.put("credits", came(HOUR // 2, "50", "50"), came(10 * DAY, "150", "50"))
    store.put(
        "credits",
        credit("Email", "10", touched_at=NOON - 5 * DAY),
        credit("Display", "100", touched_at=NOON - 20 * DAY),
        credit("Email", "0", conversion_type="lead", touched_at=NOON - 5 * DAY),
        credit("(unattributed)", "9", touched_at=NOON - 5 * DAY),
    )
    by_channel = ask("revenue maturity", "channel", order_by=[["channel", "asc"]])
    assert by_channel.rows == [
        ["(unattributed)", "9.00", None],
        ["Display", "100.00", 1],
        ["Email", "10.00", Decimal("0.25")],
    ]
    # 110 of 100 + 10 / 0.25
    total = ask("maturity")
    assert total.rows == [[Decimal("0.785714")]]
    assert [(one.days, one.share) for one in told(total).arrived] == [
        *((days, Decimal("0.25")) for days in (1, 2, 7)),
        *((days, 1) for days in (14, 30, 60, 90)),
    ]
    assert (told(total).conversions, told(total).window_days, told(total).refused) == (100, 90, None)


def test_the_day_on_which_it_comes_counts_when_it_is_over(store: Store, ask: Any) -> None:
    store.put("credits", came(HOUR // 2, "50", "50"), came(10 * DAY, "150", "50"))
    for days, share in ((10, Decimal("0.25")), (11, 1)):
        store.put("credits", credit(f"after {days}", "10", touched_at=NOON - days * DAY))
        assert ask("maturity", filters=[["channel", "is", [f"after {days}"]]]).rows == [[share]]


def test_too_few_old_conversions_are_refused_and_say_so(store: Store, ask: Any) -> None:
    store.put("credits", came(HOUR, "99", "99"), credit("Email", "10", touched_at=NOON - 5 * DAY))
    answer = ask("revenue maturity")
    assert answer.rows == [["10.00", None]]
    assert "99 conversions" in told(answer).refused
    store.put("credits", came(HOUR, "1", "1"))
    assert ask("maturity").rows == [[1]]
    # Those of another type do not help, and conversions without revenue are none.
    assert ask("maturity", filters=[["conversion_type", "is", ["deal_won"]]]).rows == [[None]]


def test_touches_that_are_too_young_are_not_projected(store: Store, ask: Any) -> None:
    """A twenty-fifth within the hour is too little to say anything of touches that are an hour old."""
    store.put("credits", came(HOUR // 2, "4", "50"), came(10 * DAY, "96", "50"))
    store.put("credits", credit("Email", "10", touched_at=NOON - HOUR))
    assert ask("maturity").rows == [[None]]


def test_maturity_of_converted_money_and_as_of_an_instant(store: Store, ask: Any) -> None:
    store.put("fx_rates", {"currency": "USD", "day": "2020-01-01", "rate": "2", "source": "ecb"})
    store.put("credits", came(HOUR // 2, "50", "50"), came(10 * DAY, "75", "50", currency="EUR"))
    store.put("credits", credit("Email", "5", currency="EUR", touched_at=NOON - 5 * DAY))
    answer = ask("revenue maturity")
    assert answer.rows == [["10.00", Decimal("0.25")]]
    assert told(ask("maturity", convert=False)).conversions == 50
    assert ask("maturity", as_of="2026-10-20").rows == [[1]]
