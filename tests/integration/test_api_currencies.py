"""Money in several currencies, converted at the rate of its own day: figures computed by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from api_store import Store, credit, session
from clickhouse_connect.driver.client import Client
from msgspec import UnsetType
from sinks_rows import DAY, HOUR, NOON

from api.answers import QueryAnswer, Range

DROPPED = "dropped_conversions"


def spread(answer: QueryAnswer) -> Range:
    """What the models say of the revenue of the first row."""
    assert not isinstance(answer.spread, UnsetType)
    return answer.spread[0]["revenue"]


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    return Store(*clean)


def rate(currency: str, day: str, value: str, **given: str | int) -> dict[str, str | int]:
    return {"currency": currency, "day": day, "rate": value, "source": "ecb", **given}


def friday_rates(store: Store) -> None:
    """2026-10-02 is a Friday."""
    store.put(
        "fx_rates",
        rate("USD", "2026-10-02", "1.25"),
        rate("GBP", "2026-10-02", "0.8"),
        rate("USD", "2026-10-05", "1.2"),
    )


def test_money_is_converted_at_the_rate_of_its_own_day(store: Store) -> None:
    """10 EUR are 12.50 USD on Friday; 8 GBP are 10 EUR are 12.50 USD; 10 EUR are 12.00 USD on Monday."""
    friday_rates(store)
    store.put(
        "credits",
        credit("Email", "7"),
        credit("Email", "10", currency="EUR"),
        credit("Email", "8", currency="GBP"),
        credit("Email", "10", currency="EUR", converted_at=NOON + 3 * DAY),
    )
    assert store.rows("revenue conversions aov", "channel") == [["Email", "44.00", 4, "11.00"]]
    assert store.rows("revenue", "day") == [["2026-10-02", "32.00"], ["2026-10-05", "12.00"]]
    # 7 / 1.25 + 10 + 10 + 10
    assert store.rows("revenue", currency="EUR") == [["35.60"]]


def test_the_ledger_keeps_what_was_billed_and_the_answer_says_what_was_converted(store: Store) -> None:
    friday_rates(store)
    store.put("credits", credit("Email", "7"), credit("Email", "10", currency="EUR", converted_at=NOON + DAY))
    (converted,) = store.ask("revenue").meta.coverage.converted
    assert (converted.currency, converted.revenue, converted.worth, converted.oldest_rate_days) == (
        *("EUR", "10.00", "12.50"),
        1,
    )
    assert store.ask("revenue").meta.coverage.other_currencies == ()


def test_a_day_without_a_rate_has_the_last_one_before_it_however_old(store: Store) -> None:
    """Sunday has Friday's, and a day long after the last known one has that; the answer says how old it is."""
    friday_rates(store)
    store.put("credits", credit("Email", "10", currency="EUR", converted_at=NOON + 2 * DAY))
    answer = store.ask("revenue")
    assert (answer.rows, answer.meta.coverage.converted[0].oldest_rate_days) == ([["12.50"]], 2)
    store.put("credits", credit("Email", "10", currency="EUR", converted_at=NOON + 33 * DAY))
    answer = store.ask("revenue", "day")
    assert answer.rows == [["2026-10-04", "12.50"], ["2026-11-04", "12.00"]]
    assert answer.meta.coverage.converted[0].oldest_rate_days == 30
    assert store.ask("revenue", date_range=["2026-10-04", "2026-10-04"]).rows == [["12.50"]]


def test_what_has_no_rate_is_listed_and_never_added(store: Store) -> None:
    """Before the first known rate there is none; a currency without rates stays as it is, and so does the rest."""
    friday_rates(store)
    store.put(
        "credits",
        credit("Email", "7"),
        credit("Email", "10", currency="EUR"),
        credit("Email", "10", currency="EUR", converted_at=NOON - DAY),
        credit("Email", "300", currency="JPY"),
    )
    answer = store.ask("revenue aov conversions")
    coverage = answer.meta.coverage
    assert answer.rows == [["19.50", "9.75", 4]]
    assert [(one.currency, one.revenue, one.conversions) for one in coverage.other_currencies] == [
        ("EUR", "10.00", 1),
        ("JPY", "300", 1),
    ]
    assert [(one.currency, one.revenue, one.worth) for one in coverage.converted] == [
        ("EUR", "10.00", "12.50")
    ]
    assert (coverage.revenue, coverage.conversions) == ("19.50", 4)
    # Of yen there is no rate, so nothing can be converted into them.
    assert store.rows("revenue", currency="JPY") == [["300"]]


def test_nothing_is_converted_when_it_is_not_wanted(store: Store) -> None:
    friday_rates(store)
    store.put("credits", credit("Email", "7"), credit("Email", "10", currency="EUR"))
    answer = store.ask("revenue aov", convert=False)
    assert answer.rows == [["7.00", "7.00"]]
    assert [(one.currency, one.revenue) for one in answer.meta.coverage.other_currencies] == [
        ("EUR", "10.00")
    ]
    assert answer.meta.coverage.converted == ()


def test_own_rates_count_before_those_of_the_bank_and_later_ones_before_earlier(store: Store) -> None:
    friday_rates(store)
    store.put("credits", credit("Email", "10", currency="EUR"))
    own = rate("USD", "2026-10-02", "1.5", source="own")
    store.put("fx_rates", {**own, "recorded_at": NOON})
    assert store.rows("revenue") == [["15.00"]]
    store.put("fx_rates", {**own, "rate": "1.1", "recorded_at": NOON + 1})
    assert store.rows("revenue") == [["11.00"]]
    # Of the next days they are the last rate, until the bank tells a newer one.
    store.put("credits", credit("Email", "10", currency="EUR", converted_at=NOON + DAY))
    assert store.rows("revenue", "day") == [["2026-10-02", "11.00"], ["2026-10-03", "11.00"]]


def test_rounding_comes_after_summing(store: Store) -> None:
    """Three thirds: 1 JPY is 1/3 EUR each. Rounded one by one they would be 0.99."""
    store.put("fx_rates", rate("JPY", "2026-10-02", "3"))
    store.put("credits", *(credit("Email", "1", currency="JPY", campaign=str(n)) for n in range(3)))
    assert store.rows("revenue", currency="EUR") == [["1.00"]]
    assert store.rows("revenue", "campaign", currency="EUR", order_by=[["campaign", "asc"]]) == [
        [str(n), "0.33"] for n in range(3)
    ]


def test_converted_money_has_the_decimals_of_its_currency(store: Store) -> None:
    """0.05 EUR are 0.0625 USD: half a cent to even, in rows, ranges and coverage."""
    friday_rates(store)
    store.put("credits", credit("Email", "0.05", currency="EUR"))
    answer = store.ask("revenue", "channel", spread=True)
    assert answer.rows == [["Email", "0.06"]]
    assert spread(answer).high == "0.06"
    assert answer.meta.coverage.revenue == answer.meta.coverage.parts[0].revenue == "0.06"


def test_the_parts_of_the_coverage_add_up_to_the_cent(store: Store) -> None:
    """Thirds again, two attributed and one not: 0.67 and 0.33 of 1.00."""
    store.put("fx_rates", rate("JPY", "2026-10-02", "3"))
    yen = {"currency": "JPY"}
    store.put(
        "credits",
        *(credit("Email", "1", **yen) for _ in range(2)),
        credit("(unattributed)", "1", source="(no consent)", **yen),
    )
    store.put(DROPPED, {"conversion_id": "r", "value": "10", "currency": "JPY", "reason": "bot"})
    coverage = store.ask("revenue", currency="EUR").meta.coverage
    parts = {part.name: part.revenue for part in coverage.parts}
    assert (parts["attributed"], parts["no_consent"], parts["bot"]) == ("0.67", "0.33", "3.33")
    assert (coverage.revenue, coverage.heard_revenue) == ("1.00", "4.33")
    assert sum(Decimal(part.revenue) for part in coverage.parts) == Decimal(coverage.heard_revenue)


def test_a_currency_that_turns_up_later_is_converted_at_once(store: Store) -> None:
    """What is known of currencies is asked once; an answer that shows another is asked anew."""
    friday_rates(store)
    store.put("credits", credit("Email", "7"))
    assert store.rows("revenue") == [["7.00"]]
    store.put("credits", credit("Email", "10", currency="EUR"))
    assert store.rows("revenue") == [["19.50"]]


def test_everything_else_is_the_same_beside_converted_money(store: Store) -> None:
    """Visits, visitors, filters, order, pages, ranges of models, the ledger as of an instant, landing pages."""
    friday_rates(store)
    store.put("sessions", session("1", channel="Email"), session("2", channel="Direct"))
    store.put(
        "credits",
        credit("Email", "10", currency="EUR", landing_page="/a"),
        credit("Email", "1", model="last_touch"),
        credit("Direct", "20", recorded_at=NOON + HOUR),
    )
    metrics = "hits sessions visitors people conversions revenue cr aov"
    assert (
        store.rows(metrics, "channel")
        == [
            ["Direct", 1, 1, 1, 1, 1, "20.00", 1, "20.00"],
            ["Email", 1, 1, 1, 1, 1, "12.50", 1, "12.50"],
        ][:: 1 if store.rows("hits", "channel")[0][0] == "Direct" else -1]
    )
    by_revenue = store.rows("revenue", "channel", order_by=[["revenue", "asc"]], limit=1)
    assert by_revenue == [["Email", "12.50"]]
    assert store.rows("revenue", filters=[["channel", "is", ["Email"]]]) == [["12.50"]]
    assert store.rows("revenue", "landing_page", as_of="2026-10-02T12:30:00Z") == [["/a", "12.50"]]
    assert store.rows("cr revenue", "channel conversion_type", limit=1, order_by=[["revenue", "asc"]]) == [
        ["Email", "purchase", 1, "12.50"]
    ]
    answer = store.ask("revenue", "channel", spread=True, filters=[["channel", "is", ["Email"]]])
    assert spread(answer).low == "0.00"
    assert spread(answer).high == "12.50"


def test_rows_can_be_put_in_the_order_of_every_metric_of_converted_money(store: Store) -> None:
    friday_rates(store)
    store.put(
        "spend",
        *(
            {"channel": channel, "amount": amount, "currency": "EUR", "clicks": 1, "impressions": 10}
            for channel, amount in (("Email", "1"), ("Display", "4"))
        ),
    )
    store.put("credits", credit("Email", "10", currency="EUR"), credit("Display", "20", currency="EUR"))
    metrics = "spend revenue aov cpc cpm cpa roas roi pipeline_roi platform_value cpql"
    for metric in metrics.split():
        rows = store.rows(f"{metric} sessions", "channel", order_by=[[metric, "asc"], ["channel", "asc"]])
        ordered = [row[1] for row in rows if row[1] is not None]
        assert ordered == sorted(ordered, key=Decimal)
    assert store.rows("roas", "channel") == [["Email", 10], ["Display", 5]]


def test_rates_that_change_between_questions_change_the_answer_at_once(store: Store) -> None:
    """Rates are remembered: a corrected one counts in the next question, and so does one of a day before all others."""
    friday_rates(store)
    store.put("fx_rates", rate("USD", "2026-09-30", "1.1"))
    store.put("credits", credit("Email", "10", currency="EUR"))
    assert store.rows("revenue") == [["12.50"]]
    assert store.rows("revenue") == [["12.50"]]
    store.put("fx_rates", rate("USD", "2026-10-02", "1.3", source="own"))
    assert store.rows("revenue") == [["13.00"]]
    store.put("credits", credit("Email", "10", currency="EUR", converted_at=NOON - 2 * DAY))
    assert store.rows("revenue") == [["24.00"]]
    assert store.rows("revenue", "day") == [["2026-09-30", "11.00"], ["2026-10-02", "13.00"]]
