"""Reports of programmatic and native platforms, and commissions of affiliate networks, as they document them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from attribution.spend.fact import MICROS, Level, SpendFact
from attribution.spend.labels import default_labels
from attribution.spend.merging import balance, counted, newest, replace
from attribution.spend.reading import Reading, read_reports
from attribution.spend.reconciling import agrees, reconcile
from attribution.spend.rows import Assumed
from attribution.spend.sheet import ReportFile
from tests.unit.spend_samples import AS_OF

REPORTS = Path(__file__).parent / "spend_reports" / "programmatic"
FIRST = date(2026, 10, 1)
ASSUMED = {"awin": Assumed(currency="GBP"), "cj": Assumed(currency="EUR"), "": Assumed(currency="USD")}


def read(name: str, later: int = 0, was: str = "", now: str = "") -> Reading:
    """``later``: days after the first import; ``was`` becomes ``now``."""
    content = (REPORTS / f"{name}.csv").read_text(encoding="utf-8").replace(was, now) if was else ""
    content = content or (REPORTS / f"{name}.csv").read_text(encoding="utf-8")
    imported_at = AS_OF.replace(day=AS_OF.day + later)
    return read_reports([ReportFile(f"{name}.csv", content.encode(), imported_at)], ASSUMED)


@pytest.mark.parametrize(
    ("name", "network", "level", "currency", "campaigns", "costs"),
    [
        (
            "display_video_360",
            "google_display",
            Level.ad_group,
            "EUR",
            {("7", "Autumn")},
            [12.345678, 3.5, 10],
        ),
        ("trade_desk", "the_trade_desk", Level.ad_group, "USD", {("c1", "Autumn")}, [20.123456, 4.5]),
        ("amazon", "amazon_ads", Level.campaign, "GBP", {("4001", "Shoes SP")}, [2.34]),
        ("amazon_campaigns", "amazon_ads", Level.campaign, "GBP", {("4001", "")}, [2.34]),
        ("criteo", "criteo", Level.campaign, "USD", {("54321", "Lower funnel")}, [17.5, 48.25]),
        ("taboola", "taboola", Level.campaign, "USD", {("5750752", "Autumn native")}, [6.02]),
        ("awin", "awin", Level.campaign, "GBP", {("189069", "Vouchers"), ("77", "Blog")}, [15, 8]),
        ("cj", "cj", Level.campaign, "EUR", {("999", "Donuts")}, [7.55]),
        ("impact", "impact", Level.campaign, "USD", {("10000", "Best Shoes")}, [0.65]),
    ],
)
def test_a_report_is_known_by_its_header_and_read_exactly(
    name: str, network: str, level: Level, currency: str, campaigns: set[tuple[str, str]], costs: list[float]
) -> None:
    reading = read(name)
    (file,) = reading.files
    assert reading.bad_cells == []
    assert file.balances
    assert agrees(reconcile(reading.files, reading.facts))
    facts = reading.facts
    assert {(fact.ad_network, fact.level, fact.currency) for fact in facts} == {(network, level, currency)}
    assert {(fact.campaign_id, fact.campaign) for fact in facts} == campaigns
    assert [fact.cost for fact in facts] == [round(cost * MICROS) for cost in costs]
    assert min(fact.day for fact in facts) == FIRST


def test_totals_and_words_below_the_table_are_left_out() -> None:
    (file,) = read("display_video_360").files
    assert (file.used, file.dropped) == (3, {"total": 1, "footer": 2})


def ledger(*readings: Reading) -> dict[tuple[str, str, date], int]:
    facts: dict[str, SpendFact] = {}
    entries = []
    for reading in readings:
        facts, more = replace(facts, reading.facts)
        entries += more
    return balance(entries)


def test_a_declined_commission_costs_nothing_and_takes_its_place() -> None:
    """A later export replaces the day of a publisher, in whatever order they are imported."""
    first, later = read("awin"), read("awin_later", 9)
    place = ("awin", "GBP", FIRST)
    assert ledger(first) == {place: 23 * MICROS}
    assert ledger(first, later) == ledger(later, first) == ledger(later, later) == {place: 14 * MICROS}
    (blog,) = [fact for fact in later.facts if fact.campaign == "Blog"]
    assert (blog.cost, blog.platform_value) == (0, 0)
    assert agrees(reconcile(later.files, later.facts))


def test_a_correction_that_is_a_record_of_its_own_is_summed() -> None:
    (fact,) = read("cj").facts
    assert (fact.cost, fact.platform_value, fact.account_id) == (7_550_000, 75_470_000, "11223344")


def test_the_day_of_a_commission_is_the_one_that_its_instant_names() -> None:
    """Ten to eleven in the evening in California: UTC is a day further."""
    (fact,) = read("impact").facts
    assert (fact.day, fact.account_id) == (FIRST, "1000")


def test_an_unknown_status_and_an_instant_that_is_none_are_bad_cells() -> None:
    reading = read("awin", was="12:00:00,0", now="12:00:00,perhaps")
    assert [(cell.column, cell.value, cell.reason) for cell in reading.bad_cells] == [
        ("commission_status", "perhaps", "bad_status")
    ]
    reading = read("cj", was="2026-10-01T22:31:48Z", now="yesterday")
    assert [(cell.column, cell.reason) for cell in reading.bad_cells] == [("eventDate", "bad_day")]


def test_commissions_are_affiliates_and_displays_are_display() -> None:
    channels = {
        name: default_labels(read(name).facts[0])[0]
        for name in ("awin", "cj", "impact", "criteo", "trade_desk")
    }
    assert channels == dict.fromkeys(("awin", "cj", "impact"), "Affiliates") | dict.fromkeys(
        ("criteo", "trade_desk"), "Display"
    )


def test_in_a_plain_file_each_row_is_assumed_by_its_own_network() -> None:
    """``--currency acme=SEK`` had no effect where the file itself names no network."""
    text = "day,ad_network,cost,campaign\n2026-10-01,acme,5,A\n2026-10-01,other,7,B\n2026-10-01,cj,1,C\n"
    assumed = {"acme": Assumed("SEK", "Europe/Stockholm", "17"), "": Assumed("USD")}
    reading = read_reports([ReportFile("plain.csv", text.encode(), AS_OF)], assumed)
    told = {fact.ad_network: (fact.currency, fact.time_zone, fact.account_id) for fact in reading.facts}
    assert told == {
        "acme": ("SEK", "Europe/Stockholm", "17"),
        "other": ("USD", "", ""),
        "cj": ("USD", "", ""),
    }
    assert len(counted(newest({}, reading.facts))) == 3
