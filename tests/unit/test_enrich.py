"""What a hit says beyond its own words."""

import pytest

from attribution.acquisition import acquire
from attribution.agents import UNKNOWN
from attribution.enrich import Enriched, enrich
from attribution.hit import Hit


def _hit(event: str = "page_view", url: str = "", referrer: str = "", user_agent: str = "") -> Hit:
    return Hit(
        event_id="e", site="s", visitor_id="v", occurred_at=0, received_at=0,
        event=event, url=url, referrer=referrer, user_agent=user_agent,
    )  # fmt: skip


def test_a_page_view_from_a_search_engine() -> None:
    enriched = enrich(_hit(url="https://Shop.example/p/1?color=red#top", referrer="https://www.google.com/"))
    assert (enriched.host, enriched.path, enriched.referrer_host) == (
        "shop.example",
        "/p/1",
        "www.google.com",
    )
    assert enriched.acquisition is not None
    assert (enriched.acquisition.channel, enriched.acquisition.source) == ("Organic Search", "google")
    assert enriched.is_page_view
    assert enriched.in_session


def test_a_bare_page_view_is_direct_and_in_session() -> None:
    assert enrich(_hit()) == Enriched("", "", None, UNKNOWN, True, "", True)


def test_a_step_within_the_site_is_no_arrival() -> None:
    assert enrich(_hit(url="https://a.example/2", referrer="https://a.example/1")).acquisition is None
    assert enrich(_hit(url="https://www.a.example/2", referrer="https://a.example/1")).acquisition is None


def test_tags_on_a_step_within_the_site_are_an_arrival() -> None:
    hit = _hit(url="https://a.example/2?utm_source=x&utm_medium=cpc", referrer="https://a.example/1")
    assert enrich(hit).acquisition is not None


@pytest.mark.parametrize("event", ["impression", "email_open", "identify", "alias", "group"])
def test_what_happens_off_the_site_is_in_no_session(event: str) -> None:
    assert not enrich(_hit(event, url="https://a.example/")).in_session


@pytest.mark.parametrize(
    ("event", "url", "referrer", "in_session"),
    [
        ("purchase", "", "", False),
        ("purchase", "https://a.example/thanks", "", True),
        ("purchase", "", "https://a.example/", True),
        ("page_view", "", "", True),
        ("click", "https://a.example/", "", True),
    ],
)
def test_a_purchase_sent_by_a_server_is_no_visit(
    event: str, url: str, referrer: str, in_session: bool
) -> None:
    enriched = enrich(_hit(event, url, referrer))
    assert enriched.in_session is in_session
    assert enriched.is_page_view is (event == "page_view")


def test_an_impression_knows_its_channel() -> None:
    enriched = enrich(_hit("impression", url="https://a.example/?utm_source=dv360&utm_medium=cpm"))
    assert enriched.acquisition is not None
    assert enriched.acquisition.channel == "Display"


def test_a_huge_address_is_cut_and_not_cached() -> None:
    enriched = enrich(_hit(url="https://a.example/?utm_source=" + "x" * 1_000_000))
    assert enriched.acquisition is not None
    assert len(enriched.acquisition.source) == 256


@pytest.mark.parametrize(
    "query",
    [
        "gclid=Abc-1_2",
        "gclid=Abc-1_2&utm_source=google&utm_medium=cpc",
        "utm_source=google&utm_medium=cpc&gclid=Abc-1_2",
        "utm_source=google&gclid=Abc-1_2&utm_campaign=spring",
        "utm_content=gclid=no&gclid=Abc-1_2",
        "xgclid=no&color=red",
        "fbclid=F1&gclid=Abc-1_2",
        "gclid=a%20b&utm_source=x",
        "gclid=a-click-id&utm_source=x",
        "&gclid=Abc-1_2",
    ],
)
def test_a_click_id_is_read_as_if_nothing_were_cached(query: str) -> None:
    for _ in range(2):
        for number in ("", "7"):
            url = f"https://a.example/?{query}{number}"
            assert enrich(_hit(url=url, referrer="https://b.example/")).acquisition == acquire(
                url, "https://b.example/"
            )
