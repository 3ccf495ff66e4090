"""Conversions: which hits report one, under which id, and which report counts."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from conversion_facts import NOON, fact
from hypothesis import given
from hypothesis import strategies as st

from attribution.conversions import (
    BookedValue,
    Conversion,
    ConversionFact,
    conversion_fact,
    conversion_id_of,
)
from attribution.errors import Rejected
from attribution.hit import Hit
from attribution.policy import AttributionPolicy

POLICY = AttributionPolicy()


def hit(**fields: object) -> Hit:
    known = {
        "event_id": "e1",
        "site": "site",
        "visitor_id": "v1",
        "occurred_at": NOON,
        "received_at": NOON + 5,
        "event": "purchase",
    }
    return Hit(**(known | fields))  # type: ignore[arg-type]


def test_only_events_named_in_the_policy_are_conversions() -> None:
    """A page view is none; a renamed event is one when the policy says so."""
    assert conversion_fact(hit(event="page_view"), POLICY, "USD") is None
    rent = AttributionPolicy(conversion_lookbacks_ms={"rent": 1})
    assert conversion_fact(hit(event="purchase"), rent, "USD") is None
    found = conversion_fact(hit(event="rent"), rent, "USD")
    assert found is not None
    assert found.type == "rent"


def test_value_is_minor_units_of_its_currency() -> None:
    """Yen have none."""
    dollars = conversion_fact(hit(value="49.90", currency="USD"), POLICY, "EUR")
    yen = conversion_fact(hit(value="4990", currency="jpy"), POLICY, "EUR")
    assert dollars is not None
    assert yen is not None
    assert (dollars.value_minor, dollars.currency) == (4990, "USD")
    assert (yen.value_minor, yen.currency) == (4990, "JPY")


def test_value_without_currency_is_in_the_default_and_no_value_is_zero_of_it() -> None:
    """Whatever a hit without a value says about currency."""
    plain = conversion_fact(hit(value="1.5"), POLICY, "EUR")
    none = conversion_fact(hit(currency="nonsense"), POLICY, "EUR")
    assert plain is not None
    assert none is not None
    assert (plain.value_minor, plain.currency) == (150, "EUR")
    assert (none.value_minor, none.currency) == (None, "EUR")
    assert Conversion(none).value_minor == 0


@pytest.mark.parametrize("fields", [{"value": "NaN"}, {"value": "1e9"}, {"value": "1", "currency": "XXQ"}])
def test_money_that_is_none_is_rejected(fields: dict[str, str]) -> None:
    """A producer that is not our collector may write anything."""
    with pytest.raises(Rejected):
        conversion_fact(hit(**fields), POLICY, "USD")


def test_order_id_makes_reports_of_several_visitors_one_conversion() -> None:
    """The browser's pixel and the shop's server."""
    browser = hit(order_id="o1", visitor_id="v1", event_id="e1")
    server = hit(order_id="o1", visitor_id="v2", event_id="e2")
    assert conversion_id_of(browser) == conversion_id_of(server)


@pytest.mark.parametrize(
    "other",
    [
        {"order_id": "o2"},
        {"order_id": "o1", "site": "other"},
        {"order_id": "o1", "event": "lead"},
        {},
        {"visitor_id": "v2"},
        {"event_id": "e2"},
    ],
)
def test_ids_differ(other: dict[str, str]) -> None:
    """Another order, site, type; and without order id each event of each visitor is its own."""
    ids = {conversion_id_of(hit(order_id="o1")), conversion_id_of(hit(**other))}
    assert len(ids) == 2
    assert all(len(identity) == 32 and int(identity, 16) >= 0 for identity in ids)


def test_ids_do_not_depend_on_where_one_field_ends() -> None:
    """No separator that a sender could forge; an order id is never taken for an event."""
    assert conversion_id_of(hit(order_id='a","b')) != conversion_id_of(
        hit(event='purchase","a', order_id="b")
    )
    assert conversion_id_of(hit(event="v1", order_id="e1")) != conversion_id_of(hit(event="v1"))


def test_earliest_report_with_a_value_wins_over_an_earlier_one_without() -> None:
    """A lead form fires first, the amount comes with the server's event."""
    early, late = fact(event_id="a"), fact(event_id="b", occurred_at=NOON + 9, value_minor=100)
    assert Conversion(early).merge(late).winner == late
    assert Conversion(late).merge(early).winner == late


def test_earliest_wins_among_equals_and_event_id_breaks_the_tie() -> None:
    """Both with a value, or both without."""
    for value in (None, 7):
        low, high = fact(event_id="a", value_minor=value), fact(event_id="b", value_minor=value)
        assert Conversion(high).merge(low).winner == low
        assert Conversion(low).merge(high).winner == low


def test_zero_is_a_value() -> None:
    """A free order is known to be worth nothing."""
    free = fact(event_id="b", occurred_at=NOON + 1, value_minor=0)
    assert Conversion(fact()).merge(free).winner == free


def test_report_of_another_conversion_is_refused() -> None:
    """A mistake of the caller."""
    with pytest.raises(ValueError, match="merged into"):
        Conversion(fact()).merge(fact(conversion_id="cd" * 16))


def test_fact_survives_json() -> None:
    """Facts travel on a Kafka topic."""
    one = fact(value_minor=-5)
    assert msgspec.json.decode(msgspec.json.encode(one), type=ConversionFact) == one


facts = st.builds(
    fact,
    event_id=st.sampled_from("abc"),
    visitor_id=st.sampled_from("vw"),
    occurred_at=st.integers(NOON, NOON + 2),
    received_at=st.integers(NOON, NOON + 1),
    value_minor=st.none() | st.integers(0, 2),
    currency=st.sampled_from(["USD", "EUR"]),
)


@given(st.lists(facts, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_merging_is_idempotent_and_free_of_order(reports: list[ConversionFact], rng: Random) -> None:
    """Any order and any repetition gives the report that the rule names."""
    shuffled = [*reports, *reports]
    rng.shuffle(shuffled)
    conversion = Conversion(shuffled[0])
    for one in shuffled:
        conversion = conversion.merge(one)
        assert conversion.merge(one) == conversion
    in_order = Conversion(reports[0])
    for one in reports:
        in_order = in_order.merge(one)
    assert conversion == in_order
    valued = [one for one in reports if one.value_minor is not None]
    first = min((one.occurred_at, one.event_id) for one in valued or reports)
    assert (conversion.winner.occurred_at, conversion.winner.event_id) == first
    assert (conversion.winner.value_minor is None) == (not valued)


def told(revision: int, *bookings: BookedValue, **fields: object) -> ConversionFact:
    """What a sender of deals told."""
    return fact(**({"visitor_id": "", "event_id": ""} | fields), revision=revision, bookings=bookings)


WON = BookedValue(NOON, "conversion", 100, 1)
REFUND = BookedValue(NOON + 5, "refund", 60, 1)
LOST = BookedValue(NOON + 9, "lost", 0, 0)
_told = st.builds(
    lambda revision, bookings, **fields: told(revision, *bookings, **fields),
    st.integers(1, 3),
    st.sampled_from([(), (WON,), (WON, REFUND), (WON, REFUND, LOST)]),
    visitor_id=st.sampled_from(["", "v"]),
    ids=st.sampled_from([(), ("crm:1",)]),
    lead_at=st.none() | st.just(NOON),
)


def test_bookings_say_what_it_is_worth_now_and_whether_it_stands() -> None:
    """Whatever the fact's own value says; of one without bookings nothing stands."""
    cases = {(): (0, 0), (WON,): (100, 1), (WON, REFUND): (60, 1), (WON, REFUND, LOST): (0, 0)}
    for bookings, worth in cases.items():
        one = told(1, *bookings, value_minor=999)
        assert (one.net_minor, one.number) == worth
        assert Conversion(one).value_minor == worth[0]
    assert (fact(value_minor=7).net_minor, fact(value_minor=7).number, fact().net_minor) == (7, 1, 0)


def test_what_a_sender_told_counts_before_hits_and_the_greatest_revision_before_others() -> None:
    """The page's amount is a guess, the shop's is money; the page's visitor is kept."""
    page = fact(event_id="a", visitor_id="v1", value_minor=90, has_consent=False)
    conversion = Conversion(page).merge(told(2, WON)).merge(told(1, WON, REFUND))
    assert conversion.winner == told(2, WON)
    assert conversion.credited == told(2, WON, visitor_id="v1", has_consent=False)
    assert conversion.visitor_ids == ("v1",)


def test_a_senders_own_visitor_is_not_replaced_but_both_are_looked_at() -> None:
    """Two devices: the one that the shop noted, and the one that saw the page of thanks."""
    conversion = Conversion(told(1, WON, visitor_id="shop")).merge(fact(visitor_id="page"))
    assert conversion.credited == conversion.winner
    assert conversion.visitor_ids == ("shop", "page")


def test_a_sender_that_takes_back_everything_leaves_the_page_report() -> None:
    """Without bookings it says nothing of money; told again it counts again."""
    page = fact(value_minor=90)
    conversion = Conversion(page).merge(told(1, WON)).merge(told(2))
    assert (conversion.winner, conversion.other) == (page, told(2))
    assert conversion.visitor_ids == ("v1",)
    assert conversion.merge(told(3, WON)).winner == told(3, WON)
    assert Conversion(told(1, WON)).merge(told(2)).winner == told(2)


@pytest.mark.parametrize("bookings", [(REFUND, WON), (BookedValue(NOON, "conversion", 1, 2),)])
def test_bookings_out_of_order_are_refused(bookings: tuple[BookedValue, ...]) -> None:
    """Made by another program, they would date the ledger wrongly."""
    with pytest.raises(ValueError, match=r"order|once"):
        told(1, *bookings)
    packed = msgspec.json.encode([list(msgspec.structs.astuple(one)) for one in bookings])
    text = msgspec.json.encode(fact())[:-1] + b',"revision":1,"bookings":' + packed + b"}"
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=ConversionFact)


def test_conversions_of_a_version_without_bookings_are_read_and_written_as_they_were() -> None:
    """What Redis keeps of a conversion that no sender told does not change."""
    stored: dict[str, dict[str, object]] = {"winner": msgspec.to_builtins(fact(value_minor=5))}
    conversion = msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=Conversion)
    assert conversion == Conversion(fact(value_minor=5))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(conversion)) == {
        "winner": {name: value for name, value in stored["winner"].items() if name != "has_consent"}
    }
    both = Conversion(told(2, WON, REFUND, ids=("crm:1",), lead_at=NOON), fact())
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(both), type=Conversion) == both


@given(st.lists(facts | _told, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_merging_hits_and_senders_is_free_of_order(reports: list[ConversionFact], rng: Random) -> None:
    """Any order and any repetition, of both kinds."""
    shuffled = [*reports, *reports]
    rng.shuffle(shuffled)
    conversion, in_order = Conversion(shuffled[0]), Conversion(reports[0])
    for one in shuffled:
        conversion = conversion.merge(one)
        assert conversion.merge(one) == conversion
    for one in reports:
        in_order = in_order.merge(one)
    assert conversion == in_order
    latest = [one for one in reports if one.revision == max(other.revision for other in reports)]
    if latest[0].is_told and all(one.bookings for one in latest):
        assert conversion.winner in latest
    hits = [one for one in reports if not one.is_told]
    if hits and not conversion.winner.is_told:
        only = Conversion(hits[0])
        for one in hits:
            only = only.merge(one)
        assert conversion.winner == only.winner
