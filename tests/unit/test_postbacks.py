"""Postbacks as facts and conversions: what a network's call says of a transaction."""

from __future__ import annotations

import json

import pytest

from attribution.deals.adapters import AdapterRules, Envelope
from attribution.deals.adapters.postback import adapt
from attribution.deals.facts import ObjectFact, states_of
from attribution.deals.rules import DealRules
from attribution.deals.told import Told, told_of

T0 = 1_760_000_000_000


def facts(at: int, rules: AdapterRules | None = None, **said: str) -> list[ObjectFact]:
    mapped = adapt(json.dumps(said).encode(), Envelope(T0 + at), rules or AdapterRules(site="s"))
    assert not mapped.problems
    return list(mapped.facts)


def told(*told_facts: list[ObjectFact]) -> list[Told]:
    everything = [fact for some in told_facts for fact in some]
    found, _ = told_of(states_of(everything), {}, DealRules())
    return sorted(found.values(), key=lambda one: one.fact.type)


def test_the_transaction_is_the_order_and_the_payout_its_value() -> None:
    (one,) = told(facts(0, click_id="c1", transaction_id="t1", payout="12.5", currency="eur"))
    assert (one.fact.type, one.fact.order_id, one.fact.currency) == ("purchase", "t1", "EUR")
    assert [(b.booked_at, b.cause, b.value_minor) for b in one.fact.bookings] == [(T0, "conversion", 1250)]
    assert one.clicks == (("", "c1"),)


MACROS = ("{transaction_id}", "${TXID}", "#{tid}", "[tid]", "<tid>", "%tid%", "#tid#", "__TID__")


@pytest.mark.parametrize("macro", MACROS)
def test_a_macro_that_nobody_filled_is_no_id(macro: str) -> None:
    """Else all conversions of a network with a typing error would be one, and each take the other's place."""
    clicks = []
    for click in ("c1", "c2"):
        body = {"click_id": click, "transaction_id": macro, "payout": "5", "currency": "EUR"}
        mapped = adapt(json.dumps(body).encode(), Envelope(T0), AdapterRules(site="s"))
        assert [(one.reason, one.field) for one in mapped.problems] == [("unfilled_macro", "transaction_id")]
        clicks.append(list(mapped.facts))
    assert [one.fact.value_minor for one in told(*clicks)] == [500, 500]
    nothing = adapt(json.dumps({"click_id": macro}).encode(), Envelope(T0), AdapterRules(site="s"))
    assert not nothing.facts
    assert {one.reason for one in nothing.problems} == {"unfilled_macro", "missing_field"}


@pytest.mark.parametrize("id_", ["__a", "a_b#1", "{a", "A-1%", "Cj0KCQ_-"])
def test_an_id_may_hold_what_macros_are_written_with(id_: str) -> None:
    (one,) = told(facts(0, transaction_id=id_))
    assert one.fact.order_id == id_


def test_steps_of_one_transaction_are_conversions_of_their_own_and_a_refusal_takes_all_back() -> None:
    lead = facts(0, click_id="c1", transaction_id="t1", event="Lead")
    sale = facts(5, click_id="c1", transaction_id="t1", event="sale", payout="10", currency="USD")
    refused = facts(9, click_id="c1", transaction_id="t1", event="rejected")
    assert [one.fact.type for one in told(lead, sale)] == ["lead", "purchase"]
    for one in told(refused, sale, lead):
        assert [b.number for b in one.fact.bookings] == [1, 0]
        assert one.fact.bookings[-1].cause == "cancellation"
    assert told(refused) == []


@pytest.mark.parametrize(("mode", "value"), [("replace", 1100), ("ignore", 1000), ("add", 2100)])
def test_another_payout_of_the_same_transaction_replaces_the_first_or_is_ignored(
    mode: str, value: int
) -> None:
    rules = AdapterRules(site="s", postback_duplicates=mode)
    first = facts(0, rules, transaction_id="t1", payout="10", currency="USD")
    second = facts(5, rules, transaction_id="t1", payout="11", currency="USD")
    for order in ((first, second), (second, first)):
        (one,) = told(*order)
        assert one.fact.bookings[-1].value_minor == value


def test_payouts_that_add_up_are_booked_one_by_one_and_a_refusal_takes_all_back() -> None:
    """Upsells of one transaction; the same call again is the network's retry."""
    rules = AdapterRules(site="s", postback_duplicates="add")
    said = {"transaction_id": "t1", "currency": "USD"}
    calls = [
        facts(0, rules, payout="10", **said),
        facts(3, rules, payout="5", step="upsell", **said),
        facts(4, rules, payout="5", step="upsell", **said),
        facts(7, rules, payout="5", step="second upsell", **said),
    ]
    refused = facts(9, rules, event="rejected", **said)
    for order in (calls, calls[::-1]):
        (one,) = told(*order)
        assert [b.value_minor for b in one.fact.bookings] == [1000, 1500, 2000]
        (one,) = told(refused, *order)
        assert one.fact.bookings[-1].value_minor == 0


def test_without_a_transaction_the_click_names_it() -> None:
    one, other = told(facts(0, click_id="c1"), facts(1, click_id="c1"), facts(2, click_id="c2"))
    assert one.fact.conversion_id != other.fact.conversion_id


@pytest.mark.parametrize(
    ("said", "reason"),
    [({"click_id": "c", "event": "quiz"}, "unmapped_event"), ({"payout": "1"}, "missing_field")],
)
def test_what_nobody_can_place_is_said(said: dict[str, str], reason: str) -> None:
    mapped = adapt(json.dumps(said).encode(), Envelope(T0), AdapterRules(site="s"))
    assert not mapped.facts
    assert [problem.reason for problem in mapped.problems] == [reason]
