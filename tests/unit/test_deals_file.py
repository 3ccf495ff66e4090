"""The settings of deals as a file: what it says, and how it is told what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from attribution.deals.facts import ObjectType
from attribution.deals.settings import DealSettings
from attribution.deals.settings_file import default_settings, parse_deals
from attribution.deals.stages import Stage
from attribution.errors import Misconfigured
from runtime.settings import Settings
from runtime.wiring import deals_of

WHOLE = """
currency = "eur"
purchase_type = "order"
sources = ["hubspot", "stripe"]
time_zone = "Europe/Berlin"
accepts_test_data = true
shopify_order_id = "name"
shopify_money = "customer"

[types]
lead = ""
won = "sale"

[stages."hubspot/deal"]
"Presentation Done" = "sql"

[own_fields."hubspot/deal"]
hw_visitor = "visitor_id"

[own_objects.salesforce]
Design_Registration__c = "deal"
"""


def test_a_file_says_everything() -> None:
    said = parse_deals(WHOLE, "USD")
    rules, senders = said.rules, said.senders
    assert (rules.default_currency, rules.purchase_type, rules.renewal_type) == ("EUR", "order", "renewal")
    assert rules.sources == ("hubspot", "stripe")
    assert (rules.types[Stage.won], rules.types[Stage.mql]) == ("sale", "mql")
    assert Stage.lead not in rules.types
    assert rules.stages.stage_of("hubspot", ObjectType.deal, None, "presentation done") == (Stage.sql, True)
    assert senders.own_fields == {"hubspot/deal": {"hw_visitor": "visitor_id"}}
    assert senders.own_objects == {"salesforce": {"Design_Registration__c": ObjectType.deal}}
    assert (senders.time_zone, senders.shopify_order_id) == ("Europe/Berlin", "name")
    assert (senders.is_shop_money, senders.accepts_test_data) == (False, True)


def test_an_empty_file_says_what_no_file_says() -> None:
    assert parse_deals("", "USD") == default_settings("USD") == DealSettings()
    assert default_settings("EUR").rules.default_currency == "EUR"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("curency = 'EUR'", "'curency' is no key here; use currency"),
        ("currency = 'XXY'", "currency: "),
        ("[types]\nwun = 'x'", "types.wun"),
        ("[types]\nwon = 'Deal Won'", "'Deal Won' is no name of a conversion type"),
        (
            "[stages.'hubspot/deals']\na = 'won'",
            "'hubspot/deals' is no sender and object such as hubspot/deal",
        ),
        ("[stages.'hubspot/deal']\na = 'closed'", "stages.hubspot/deal.a: 'closed' is no stage"),
        ("time_zone = 'Berlin'", "'Berlin' is no time zone such as Europe/Berlin"),
        ("sources = ['sap']", "'sap' is no sender; those are hubspot"),
        ("[own_fields.'stripe/payment']\na = 'visitor'", "'visitor' is no field of ours"),
        ("shopify_money = 'both'", "shopify_money: "),
        ("purchase_type = ''", "purchase_type and renewal_type must have a name"),
        ("[types", "is no TOML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_deals(text, "USD", file="d.toml")
    assert str(caught.value).startswith("d.toml: ")
    assert words in str(caught.value)


def test_the_version_follows_what_changes_conversions() -> None:
    plain, types = DealSettings(), ("purchase", "lead")
    assert plain.version_for(types) == plain.version_for(types[::-1])
    assert plain.version_for(types) != plain.version_for(("purchase",))
    assert plain.version_for(types) != parse_deals(WHOLE, "USD").version_for(types)
    # How payloads are read changes no object that was read.
    assert plain.version_for(types) == parse_deals("accepts_test_data = true", "USD").version_for(types)


def test_the_file_is_found_in_the_data_folder_or_by_its_name(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, currency="EUR")
    assert deals_of(settings).rules.default_currency == "EUR"
    (tmp_path / "deals.toml").write_text("purchase_type = 'order'")
    assert deals_of(settings).rules.purchase_type == "order"
    other = tmp_path / "other.toml"
    with pytest.raises(Misconfigured, match="HEADWATER_DEALS_FILE"):
        deals_of(settings.model_copy(update={"deals_file": other}))
    other.write_text("purchase_type = 'sale'")
    assert deals_of(settings.model_copy(update={"deals_file": other})).rules.purchase_type == "sale"
