"""Joining spend to touches: by id, by name, else by what clicks of the network are; never by the order of anything."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import Rejected
from attribution.spend.checking import check_report
from attribution.spend.fact import MAX_COST_MICROS, Level, SpendFact
from attribution.spend.labels import Touches, TouchLabel, by_network, default_labels, labelled, network_of
from attribution.spend.matching import CampaignSpend, SharedName, match
from attribution.spend.report import SpendReport, encode_report
from attribution.tables import read_rows
from streams.records import Batch, Record
from streams.spend_batch import read_batch
from streams.topics import SPEND, partition_of

AT = datetime(2026, 10, 2, tzinfo=UTC)


def fact(**given: Any) -> SpendFact:
    told = {
        "ad_network": "google_ads",
        "level": Level.campaign,
        "campaign_id": "7",
        "campaign": "Autumn Sale",
    }
    return SpendFact(
        **{"day": date(2026, 10, 1), "currency": "EUR", "cost": 1, "as_of": AT, "imported_at": AT}
        | told
        | given
    )


def touch(campaign: str, touches: int = 1, **given: Any) -> TouchLabel:
    told = {
        "site": "s",
        "ad_network": "google_ads",
        "channel": "Paid Search",
        "source": "google",
        "medium": "cpc",
    }
    return TouchLabel(**told | given, campaign=campaign, touches=touches)


def label(fact: SpendFact, *touches: TouchLabel, beside: SpendFact | None = None) -> tuple[str, ...]:
    facts = {one.key: one for one in (fact, beside) if one is not None}
    found = by_network(touches).get(("s", fact.ad_network), Touches())
    return labelled(facts, found)[fact.key]


def test_a_campaign_is_found_by_its_id_before_its_name() -> None:
    by_name = touch("autumn  SALE", 9, medium="ppc")
    assert label(fact(), by_name) == ("Paid Search", "google", "ppc", "autumn  SALE")
    assert label(fact(), by_name, touch("7")) == ("Paid Search", "google", "cpc", "7")


def test_a_name_of_two_campaigns_finds_none() -> None:
    other = fact(campaign_id="8", campaign="autumn sale")
    assert label(fact(), touch("Autumn Sale", medium="ppc"), beside=other)[2] == "cpc"
    assert (
        label(fact(), touch("Autumn Sale", medium="ppc"), beside=fact(level=Level.ad, ad_id="1"))[2] == "ppc"
    )


def test_most_touches_decide_and_paid_ones_before_all_others() -> None:
    many, few = touch("7", 5, medium="ppc"), touch("7", 4)
    assert label(fact(), few, many)[2] == "ppc"
    assert label(fact(), few, touch("7", 1), many)[2] == "cpc"
    assert label(fact(), few, touch("7", 50, channel="Email", medium="email"))[0] == "Paid Search"
    assert label(fact(), touch("7", 0, medium="ppc"))[2] == "cpc"


@pytest.mark.parametrize(
    ("network", "given_", "expected"),
    [
        ("google_ads", {}, ("Paid Search", "google", "cpc", "Autumn Sale")),
        ("google_ads", {"campaign": ""}, ("Paid Search", "google", "cpc", "7")),
        ("google_ads", {"campaign": "Shopping DE"}, ("Paid Shopping", "google", "cpc", "Shopping DE")),
        ("google_ads", {"campaign": "", "level": Level.account}, ("Paid Search", "google", "cpc", "")),
        ("microsoft_ads", {}, ("Paid Search", "bing", "cpc", "Autumn Sale")),
        ("meta_ads", {}, ("Paid Social", "facebook", "cpc", "Autumn Sale")),
        ("linkedin_ads", {}, ("Paid Social", "linkedin", "cpc", "Autumn Sale")),
        ("tiktok_ads", {}, ("Paid Social", "tiktok", "cpc", "Autumn Sale")),
        ("x_ads", {}, ("Paid Social", "x", "cpc", "Autumn Sale")),
        ("acme", {}, ("Paid Other", "acme", "cpc", "Autumn Sale")),
    ],
)  # fmt: skip
def test_without_touches_spend_stands_under_what_clicks_of_its_network_are(
    network: str, given_: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert default_labels(fact(ad_network=network, **given_)) == expected


def test_a_touch_belongs_to_the_network_of_its_click_id_or_of_its_paid_source() -> None:
    assert network_of(touch("x", ad_network="meta_ads")) == "meta_ads"
    assert network_of(touch("x", ad_network="", source="Instagram", channel="Paid Social")) == "meta_ads"
    assert network_of(touch("x", ad_network="", source="instagram", channel="Organic Social")) == ""
    assert (
        network_of(touch("x", ad_network="", source="acme-affiliates", channel="Affiliates"))
        == "acme_affiliates"
    )


def test_every_network_of_a_click_id_has_defaults_and_no_source_names_two() -> None:
    rows = read_rows("spend_networks.tsv")
    assert {row[2] for row in read_rows("click_ids.tsv")} - {""} <= {row[0] for row in rows}
    sources = [
        source for row in rows for source in (row[1], *(row[3].split(",") if len(row) > 3 and row[3] else ()))
    ]
    assert {source for source in sources if sources.count(source) > 1} <= {"google"}
    assert network_of(touch("x", ad_network="")) == "google_ads"


@given(
    st.lists(
        st.builds(
            touch,
            st.sampled_from(["7", "8", "autumn sale", "Autumn Sale", "winter"]),
            st.integers(0, 3),
            ad_network=st.sampled_from(["google_ads", ""]),
            channel=st.sampled_from(["Paid Search", "Email"]),
            medium=st.sampled_from(["cpc", "ppc"]),
        )
    ),
    st.lists(st.builds(fact, campaign_id=st.sampled_from("789"), campaign=st.sampled_from(["", "autumn sale"]))),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_order_of_touches_and_facts_does_not_matter(
    touches: list[TouchLabel], facts: list[SpendFact], random: Random
) -> None:
    by_key = {one.key: one for one in facts}
    expected = labelled(by_key, by_network(touches).get(("s", "google_ads"), Touches()))
    random.shuffle(touches)
    keys = list(by_key)
    random.shuffle(keys)
    again = labelled(
        {key: by_key[key] for key in keys}, by_network(touches).get(("s", "google_ads"), Touches())
    )
    assert again == expected


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"ad_network": "Google Ads"}, "bad_network"),
        ({"day": date(1999, 12, 31)}, "bad_day"),
        ({"day": date(2100, 1, 1)}, "bad_day"),
        ({"as_of": datetime(2026, 10, 1)}, "bad_instant"),
        ({"imported_at": datetime(2300, 1, 1, tzinfo=UTC)}, "bad_instant"),
        ({"clicks": -1}, "bad_count"),
        ({"reach": 2**63}, "bad_count"),
        ({"cost": MAX_COST_MICROS + 1}, "out_of_range"),
        ({"bid": -MAX_COST_MICROS - 1}, "out_of_range"),
        ({"campaign": "x" * 5_000}, "out_of_range"),
        ({"campaign": "", "campaign_id": ""}, "campaign_unknown"),
        ({"currency": "eur"}, "unknown_currency"),
        ({"currency": "XXQ"}, "unknown_currency"),
    ],
)
def test_what_can_stand_in_no_ledger_is_refused_by_name(given_: dict[str, Any], reason: str) -> None:
    check_report(SpendReport(site="s", fact=fact(), received_at=1))
    with pytest.raises(Rejected) as refused:
        check_report(SpendReport(site="s", fact=fact(**given_), received_at=1))
    assert (refused.value.reason, refused.value.field) == (reason, next(reversed(given_)))


def test_one_bad_report_of_an_envelope_is_a_dead_letter_and_the_others_count() -> None:
    good = SpendReport(site="s", fact=fact(), received_at=1)
    partition = partition_of(good.partition_key, 4)
    elsewhere = next(
        report
        for report in (msgspec.structs.replace(good, site=str(number)) for number in range(99))
        if partition_of(report.partition_key, 4) != partition
    )
    values = [
        b"[%s,{},%s]" % (encode_report(good), encode_report(elsewhere)),
        b"\xff",
        b"[" + encode_report(good),
        encode_report(msgspec.structs.replace(good, site="")),
        encode_report(good),
    ]
    batch = Batch(SPEND, partition, "b", [Record(at, 5, b"k", value) for at, value in enumerate(values)])
    by_place, letters = read_batch(batch, 4)
    assert [len(reports) for reports in by_place.values()] == [2]
    assert [(one.offset, one.index, one.reason) for one in letters] == [
        (0, 1, "malformed"),
        (0, 2, "wrong_partition"),
        (1, 0, "malformed"),
        (2, 0, "malformed"),
        (3, 0, "no_site"),
    ]
    assert letters[0].payload == b"{}"


def test_what_did_not_meet_is_listed_the_greatest_first() -> None:
    def cost(
        campaign_id: str, campaign: str, spend: int, label: str = "", network: str = "google_ads"
    ) -> CampaignSpend:
        labels = ("Paid Search", "google", "cpc", label or campaign)
        return CampaignSpend("s", network, campaign_id, campaign, *labels, "EUR", Decimal(spend), 0)

    met = cost("1", "Brand", 9, "brand")
    lone, greater, free = cost("2", "Autumn", 3), cost("3", "autumn ", 4), cost("4", "Old", 0)
    touches = [
        touch("brand", 5),
        touch("old", 1),
        touch("Brand", 1, medium="ppc"),
        touch("", 2),
        touch("unknown", 7),
        touch("unknown", 7, ad_network="", channel="Email"),
        touch("unknown", 6, ad_network="x_ads", channel="Referral"),
    ]
    found = match([lone, met, greater, free], touches, touches)
    assert found.spend_without_touch == [greater, lone]
    assert [(one.campaign, one.touches) for one in found.touches_without_spend] == [("unknown", 7), ("", 2)]
    assert found.shared_names == [SharedName("s", "google_ads", "autumn", ["2", "3"])]
    assert match([met], [], touches).touches_without_spend == []
    assert match([met], touches, []).spend_without_touch == [met]
