"""``GET /v1/spend/matching``: what did not meet, by site and day."""

from __future__ import annotations

from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from sinks_rows import row

from api.service import QueryService
from api.spend_matching import MatchingAnswer, MatchingRequest
from attribution.errors import Rejected
from attribution.policy import AttributionPolicy
from sinks.tables import WRITTEN
from sinks.writer import RowWriter

PLACE = {"channel": "Paid Search", "source": "google", "medium": "cpc"}


def spend(campaign: str, amount: str, **given: Any) -> tuple[Any, ...]:
    told = {"day": "2026-10-02", "ad_network": "google_ads", "level": "campaign", "campaign_id": campaign[:1]}
    told |= {
        "campaign": campaign,
        "campaign_label": campaign,
        "currency": "EUR",
        "cause": "report",
        "clicks": 3,
    }
    return row("spend", **PLACE | told | {"amount": amount} | given)


def touch(number: int, campaign: str, **given: Any) -> tuple[Any, ...]:
    told = {"touchpoint_id": str(number), "campaign": campaign, "ad_network": "google_ads"}
    return row("touchpoints", **PLACE | told | given)


@pytest.fixture
def service(clean: tuple[Client, str]) -> QueryService:
    client, database = clean
    writer = RowWriter(client, database)
    rows = [
        spend("Autumn", "3.005"),
        spend("Winter", "10"),
        spend("Winter", "-10", sign=-1, clicks=-3),
        spend("Winter", "12"),
        spend("Met", "50"),
        spend("Spring", "1", day="2026-10-09"),
        spend("", "7", level="account", campaign_id=""),
        spend("lonely", "6", level="live", campaign_id=""),
        spend("Autumn", "8", site="site2", currency="USD"),
    ]
    writer.insert("spend", WRITTEN["spend"], rows, "s")
    touches = [
        touch(1, "Met"),
        touch(2, "lonely"),
        touch(3, "lonely"),
        touch(4, "gone"),
        touch(4, "gone", sign=-1),
    ]
    touches.append(touch(5, "winter", channel="Email", ad_network=""))
    writer.insert("touchpoints", WRITTEN["touchpoints"], touches, "t")
    return QueryService(client, database, AttributionPolicy())


def ask(service: QueryService, **given: Any) -> MatchingAnswer:
    return service.spend_matching(MatchingRequest.model_validate(given))


def test_it_lists_what_did_not_meet(service: QueryService) -> None:
    found = ask(service)
    assert [
        (one.site, one.campaign, one.spend, one.currency, one.clicks) for one in found.spend_without_touch
    ] == [
        ("site1", "Winter", "12.00", "EUR", 3),
        ("site2", "Autumn", "8.00", "USD", 3),
        ("site1", "Autumn", "3.00", "EUR", 3),
        ("site1", "Spring", "1.00", "EUR", 3),
    ]
    assert [(one.campaign, one.touches) for one in found.touches_without_spend] == [("lonely", 2)]
    assert found.shared_names == []
    assert (found.meta.campaigns, found.meta.touch_labels) == (4, 1)


def test_days_sites_and_limit_say_what_is_listed(service: QueryService) -> None:
    assert [one.campaign for one in ask(service, **{"from": "2026-10-03"}).spend_without_touch] == ["Spring"]
    assert ask(service, **{"from": "2026-10-03"}).touches_without_spend == []
    assert [one.site for one in ask(service, site=["site2"]).spend_without_touch] == ["site2"]
    cut = ask(service, limit=1)
    assert (len(cut.spend_without_touch), cut.meta.campaigns) == (1, 4)
    with pytest.raises(Rejected):
        ask(service, **{"from": "yesterday"})
