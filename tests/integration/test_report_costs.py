"""``headwater report`` with what ads cost, and in several currencies."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from api_store import Store, credit
from clickhouse_connect.driver.client import Client

from runtime import answers
from runtime.settings import Settings

REPORT: dict[str, Any] = {
    **{"by": "channel", "model": "linear", "date_range": None, "basis": "conversion", "currency": "USD"},
    "format_": "csv",
}


@pytest.fixture
def store(clean: tuple[Client, str]) -> Store:
    store = Store(*clean)
    store.put("fx_rates", {"currency": "USD", "day": "2026-09-30", "rate": "1.25", "source": "ecb"})
    store.put("credits", credit("Email", "60"), credit("Paid Search", "40", currency="EUR"))
    return store


@pytest.fixture
def settings(engine: str, clean: tuple[Client, str]) -> Settings:
    return Settings(clickhouse=engine, database=clean[1])


def report(settings: Settings, capsys: pytest.CaptureFixture[str], **given: Any) -> list[dict[str, str]]:
    answers.print_report(settings, **{**REPORT, **given})
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_what_ads_cost_stands_beside_the_revenue_where_there_is_any(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "spend" not in report(settings, capsys)[0]
    for channel, amount, currency in (("Paid Search", "20", "EUR"), ("Display", "7", "JPY")):
        store.put("spend", {"channel": channel, "amount": amount, "currency": currency})
    by_channel = {line["channel"]: line for line in report(settings, capsys)}
    paid = by_channel["Paid Search"]
    # 40 EUR and 20 EUR at 1.25
    assert [paid[name] for name in ("revenue", "spend", "cpa", "roas", "roi")] == [
        "50.00",
        "25.00",
        "25.00",
        "2",
        "1",
    ]
    assert [by_channel["Email"][name] for name in ("spend", "roas")] == ["0.00", ""]
    assert "spend" in report(settings, capsys, as_of="2026-10-03")[0]
    assert "spend" not in report(settings, capsys, by="landing_page")[0]
    assert [line["revenue"] for line in report(settings, capsys, convert=False)] == ["60.00", "0.00"]


def test_the_table_says_what_was_converted_and_what_was_billed(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put("spend", {"channel": "Display", "amount": "20", "currency": "EUR"})
    store.put("spend", {"channel": "Display", "amount": "7", "currency": "JPY"})
    answers.print_report(settings, **{**REPORT, "format_": "table"})
    said = capsys.readouterr().out
    assert "converted: 40.00 EUR = 50.00 USD (oldest rate: 2 days before)" in said
    assert "Spend of the time: 25.00 USD" in said
    assert "billed: 20.00 EUR = 25.00 USD (oldest rate: 2 days before)" in said
    assert "billed: 7 JPY, not added up" in said


def test_customers_stand_beside_them_when_asked_for(
    store: Store, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without spend there is nothing to relate them to."""
    store.put("conversions", {"conversion_id": "c", "type": "purchase", "value": "60", "visitor_id": "v"})
    store.put("credits", credit("Email", "60", conversion_id="c"))
    assert "new_customers" not in report(settings, capsys)[0]
    (email, paid) = report(settings, capsys, customers=True)
    assert [email[name] for name in ("new_customers", "ltv")] == ["1", "60.00"]
    assert [paid[name] for name in ("new_customers", "ltv")] == ["0", ""]
    assert "cac" not in email
    assert "ltv" in report(settings, capsys, customers=True, by="landing_page", as_of="2026-10-03")[0]
    store.put("spend", {"channel": "Email", "amount": "20", "currency": "USD"})
    (email, *_) = report(settings, capsys, customers=True)
    assert [email[name] for name in ("cac", "payback_days")] == ["20.00", "0"]
    answers.print_report(settings, **{**REPORT, "format_": "table", "customers": True})
    said = capsys.readouterr().out
    assert "Customers of all time: 1" in said
    assert "by 100 % of revenue" in said
