"""What a landing page's address says that its click cost, or why that does not count; and what a report makes of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from attribution.enrich import enrich
from attribution.hit import Hit, Restated, encode_envelope
from attribution.policy import AttributionPolicy
from attribution.spend.click_costs import ClickCost, ClickCostRules, LiveFigure, click_cost, live_fact
from attribution.spend.fact import MICROS, Level, SpendFact
from attribution.spend.labels import Touches, TouchLabel, default_labels, labelled
from attribution.spend.merging import counted
from attribution.timeline import Timeline
from sinks.tables import CLICK_COSTS_COLUMNS
from streams.dead_letters import TRANSFORM_VERSION
from streams.fence import FenceStore
from streams.records import Batch, Record
from streams.rules import RuleBook, StitchRules
from streams.stitch_batch import stitch
from streams.stitch_read import read_batch
from streams.topics import HITS

DAY = date(2026, 10, 1)
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
NOON_MS = round(NOON.timestamp() * 1000)
RULES = ClickCostRules()
POLICY = AttributionPolicy()
TAGS = "utm_source=taboola&utm_medium=cpc&utm_campaign=Autumn"


def hit(query: str, **given: Any) -> Hit:
    told: dict[str, Any] = {
        "event_id": "e1",
        "site": "s",
        "visitor_id": "v1",
        "occurred_at": NOON_MS,
        "received_at": NOON_MS + 5,
        "url": f"https://shop.example/landing?{query}",
    }
    return Hit(**(told | given))


def cost_of(query: str, rules: ClickCostRules = RULES, **given: Any) -> ClickCost | None:
    one = hit(query, **given)
    return click_cost(one, enrich(one), rules, "USD")


def told(query: str, **given: Any) -> ClickCost:
    cost = cost_of(query, **given)
    assert cost is not None
    return cost


def test_a_tagged_visit_tells_its_cost() -> None:
    cost = told(f"{TAGS}&utm_id=17&hw_cost=0.3512&hw_currency=eur")
    assert (cost.ad_network, cost.day, cost.campaign_id, cost.campaign) == ("taboola", DAY, "17", "Autumn")
    assert (cost.micros, cost.currency, cost.reason) == (351_200, "EUR", "")


@pytest.mark.parametrize(
    ("query", "network"),
    [
        ("gclid=abc&hw_cost=1", "google_ads"),
        ("utm_source=bing-ads&utm_medium=cpc&hw_cost=1", "microsoft_ads"),
        ("utm_source=PropellerAds&utm_medium=push&hw_cost=1", "propellerads"),
        ("utm_source=some%20shop&utm_medium=x&hw_cost=1", ""),
        ("hw_cost=1", ""),
    ],
)
def test_the_network_is_that_of_the_click_id_or_of_the_source(query: str, network: str) -> None:
    cost = told(query)
    assert (cost.ad_network, cost.reason) == (network, "" if network else "no_network")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "no_amount"),
        ("-", "no_amount"),
        ("{cost}", "unfilled_macro"),
        ("%7Bcost%7D", "unfilled_macro"),
        ("[BID]", "unfilled_macro"),
        ("__PRICE__", "unfilled_macro"),
        ("%25COST%25", "unfilled_macro"),
        ("abc", "bad_amount"),
        ("0,35", "bad_amount"),
        ("1e3", "bad_amount"),
        ("-0.5", "out_of_range"),
        ("1000000.01", "out_of_range"),
        ("9" * 30, "out_of_range"),
        ("1&hw_currency=XXL", "unknown_currency"),
        ("1&hw_currency=%7Bcur%7D", "unknown_currency"),
        ("0", ""),
        ("1000000", ""),
    ],
)
def test_what_is_no_amount_has_a_reason(said: str, reason: str) -> None:
    cost = told(f"{TAGS}&hw_cost={said}")
    assert cost.reason == reason
    assert reason == "" or cost.micros == 0 or reason == "unknown_currency"


def test_parameter_and_currency_are_settings() -> None:
    rules = ClickCostRules("cost", "GBP")
    one, other = cost_of(f"{TAGS}&cost=2", rules), cost_of(f"{TAGS}&hw_cost=2", rules)
    assert one is not None
    assert (one.micros, one.currency, other) == (2 * MICROS, "GBP", None)
    assert cost_of(f"{TAGS}&hw_cost=2", ClickCostRules("")) is None


def test_only_a_visit_is_a_click() -> None:
    """What happens off the site, or on its next page, cost nothing of its own."""
    assert cost_of(f"{TAGS}&hw_cost=2", event="impression") is None
    assert cost_of(TAGS) is None
    assert cost_of(f"{TAGS}&my_hw_cost=2") is None


def test_a_click_is_named_by_its_click_id_else_by_visitor_page_and_day() -> None:
    def name(query: str, **given: Any) -> str:
        return told(f"{TAGS}&hw_cost=1{query}", **given).click

    later = NOON_MS + 86_400_000
    assert name("&tblci=A") == name("&tblci=A&x=1", visitor_id="v2", occurred_at=later, event_id="e2")
    assert name("&tblci=A") != name("&tblci=B")
    assert name("&hw_click_id=A") == name("&hw_click_id=A", visitor_id="v2")
    assert name("&hw_click_id=A") != name("&tblci=A")
    assert name("") == name("", event_id="e2", occurred_at=NOON_MS + 1)
    assert len({name(""), name("", visitor_id="v2"), name("&x=1"), name("", occurred_at=later)}) == 4


def fact(level: Level, hour: int = 0, **given: Any) -> SpendFact:
    read_at = NOON + timedelta(hours=hour)
    told: dict[str, Any] = {"currency": "USD", "cost": 5 * MICROS}
    return SpendFact(
        day=DAY, ad_network="taboola", level=level, as_of=read_at, imported_at=read_at, **(told | given)
    )


def live(campaign: str, campaign_id: str = "") -> SpendFact:
    return live_fact("taboola", DAY, LiveFigure(campaign_id, campaign, "USD", 700_000, 2, NOON_MS))


def costs(*facts: SpendFact) -> int:
    return sum(one.cost for one in counted({one.key: one for one in facts}).values())


@pytest.mark.parametrize(
    "report",
    [
        fact(Level.campaign, campaign="autumn "),
        fact(Level.campaign, -48, campaign_id="17"),
        fact(Level.campaign, campaign_id="17", campaign="Autumn", cost=0),
        fact(Level.ad, campaign_id="17", ad_id="9"),
        fact(Level.account, account_id="1"),
    ],
    ids=["name", "id, read before the clicks", "nothing", "ad", "account"],
)
def test_a_report_of_any_level_replaces_what_clicks_told(report: SpendFact) -> None:
    """The network's word goes first, whenever it was read; it is never added."""
    clicks = live("Autumn", "17")
    assert costs(clicks) == 700_000
    assert costs(clicks, report) == costs(report) == report.cost
    assert costs(live("17"), report) == (
        report.cost + 700_000 if not report.campaign_id and report.campaign else report.cost
    )


def test_a_report_of_another_campaign_leaves_it() -> None:
    other = fact(Level.campaign, campaign_id="18", campaign="Winter")
    assert costs(live("Autumn"), other) == other.cost + 700_000
    assert costs(live(""), other) == other.cost  # clicks that name no campaign may be its own
    assert costs(live("Autumn"), live("Winter"), other) == other.cost + 700_000


def test_an_account_whose_total_does_not_count_tells_nothing() -> None:
    """Something finer of it is known: the clicks of its other campaigns would be in no figure at all."""
    account = fact(Level.account, account_id="1")
    other = fact(Level.campaign, account_id="1", campaign_id="18", campaign="Winter", cost=9)
    assert costs(account, other) == 9
    assert costs(account, other, live("Autumn")) == 700_009


def test_what_clicks_told_has_no_say_in_what_reports_count() -> None:
    """Neither in which level counts, nor in the name by which a campaign finds its touches."""
    account = fact(Level.account, account_id="", cost=9)
    assert costs(live("Autumn"), account) == 9
    named = fact(Level.campaign, campaign_id="17", campaign="Autumn")
    touches = Touches.of([TouchLabel("s", "taboola", "Display", "taboola", "native", "autumn", 1)])
    facts = {one.key: one for one in (named, live("autumn", "99"), live("AUTUMN"))}
    labels = ("Display", "taboola", "native", "autumn")
    assert labelled(facts, touches) == dict.fromkeys(facts, labels)
    assert labelled({named.key: live("x")}, touches) == {named.key: default_labels(live("x"))}


PAID = f"https://shop.example/?{TAGS}&hw_cost=1.5"


def costs_written(*hits: Hit, policy: AttributionPolicy = POLICY) -> list[tuple[str, str, str]]:
    """(event, amount, reason) of the rows that stitch writes."""
    rules = StitchRules(policy, "USD", 1)
    batch = Batch(HITS, 0, "b", [Record(0, 0, b"v1", encode_envelope(list(hits)))])
    timelines: dict[tuple[str, str], Timeline] = {}
    output = stitch(
        read_batch(batch, rules), lambda who: timelines.setdefault(who, Timeline.empty(*who)), batch, rules
    )
    rows = [dict(zip(CLICK_COSTS_COLUMNS, row, strict=True)) for row in output.rows["click_costs"]]
    return [(row["event_id"], row["amount"], row["reason"]) for row in rows]


def test_every_cost_that_was_heard_is_one_row() -> None:
    """Robots' and those beyond the limit of hits with their reason; a copy, and a hit judged once more, are none."""
    heard = [
        hit("", event_id="a", url=PAID),
        hit("", event_id="a", url=PAID),
        hit("", event_id="b", url=PAID, user_agent="Googlebot/2.1"),
        hit("", event_id="c", url=PAID.replace("1.5", "{cost}")),
        hit("", event_id="d", url=PAID),
        hit("", event_id="a", url=PAID, restated=Restated("new", NOON_MS)),
    ]
    assert costs_written(*heard, policy=AttributionPolicy(max_hits_per_visitor=2)) == [
        ("b", "1.500000", "bot"),
        ("d", "1.500000", "visitor_over_limit"),
        ("a", "1.500000", ""),
        ("c", "0.000000", "unfilled_macro"),
    ]


async def test_rules_kept_by_a_version_that_read_no_costs_are_still_read() -> None:
    """A range is finished under the rules that it was begun with."""
    kept = msgspec.json.decode(StitchRules(AttributionPolicy(), "EUR", 2).to_bytes())
    del kept["click_costs"]
    version = f"{TRANSFORM_VERSION}.before"
    own = StitchRules(AttributionPolicy(), "USD", 2)
    book = RuleBook(own, cast("FenceStore", None), {version: msgspec.json.encode(kept)})
    assert await book.find(version) == StitchRules(AttributionPolicy(), "EUR", 2)
