"""The pixel's query string as a hit."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, quote_plus, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.errors import Rejected
from attribution.hit import Hit, decode_envelope, encode_hit
from collector.fields import MAX_LENGTH, Heard, clean
from collector.pixel import decode_value, hit_of_query, parse_query

HEARD = Heard(1_790_000_000_000, "Mozilla/5.0", "203.0.113.0", True, False, "from-cookie")
SITES = frozenset({"shop"})


def hit_of(query: str, headers: dict[str, str] | None = None) -> Hit:
    return hit_of_query(query, headers or {}, HEARD, SITES, "USD")


def test_every_field_of_the_contract_arrives() -> None:
    sent = {
        "site": "shop",
        "event": "purchase",
        "event_id": "e-1",
        "visitor_id": "v-1",
        "user_id": "u-1",
        "email_sha256": "A" * 64,
        "url": "https://shop.example/thanks?utm_source=news&x=%2F1",
        "referrer": "https://www.google.com/",
        "title": "Danke schön & auf Wiedersehen",
        "occurred_at": "2026-09-01T12:00:00Z",
        "value": "1234.5",
        "currency": "eur",
        "order_id": "o-1",
        "consent": "analytics,ads",
        "props.plan": "gold+1",
        "props.a.b": "ü",
    }
    hit = hit_of(urlencode(sent))
    assert msgspec.json.decode(hit.props) == {"plan": "gold+1", "a.b": "ü"}
    hit.props = msgspec.Raw(b"{}")
    assert hit == Hit(
        event_id="e-1",
        site="shop",
        visitor_id="v-1",
        occurred_at=1_788_264_000_000,
        received_at=HEARD.received_at,
        event="purchase",
        url="https://shop.example/thanks?utm_source=news&x=%2F1",
        referrer="https://www.google.com/",
        title="Danke schön & auf Wiedersehen",
        user_id="u-1",
        email_sha256="a" * 64,
        value="1234.50",
        currency="EUR",
        order_id="o-1",
        consent="analytics,ads",
        gpc=True,
        user_agent="Mozilla/5.0",
        ip="203.0.113.0",
        props=msgspec.Raw(b"{}"),
    )


def test_a_bare_site_is_a_page_view_of_the_referring_page_by_the_cookie_visitor() -> None:
    hit = hit_of("site=shop", {"referer": "https://shop.example/a"})
    assert (hit.event, hit.url, hit.visitor_id, hit.time_flag) == (
        "page_view",
        "https://shop.example/a",
        "from-cookie",
        "received",
    )
    assert hit.event_id[14] == "7"
    assert hit_of("site=shop").event_id != hit_of("site=shop").event_id


def test_an_own_url_beats_the_referer_header() -> None:
    hit = hit_of("site=shop&url=https%3A%2F%2Fshop.example%2Fb", {"referer": "https://shop.example/a"})
    assert hit.url == "https://shop.example/b"


def test_a_value_without_currency_is_in_the_default_currency() -> None:
    hit = hit_of("site=shop&value=10")
    assert (hit.value, hit.currency) == ("10.00", "USD")


@given(st.text(max_size=600))
def test_decoding_equals_the_standard_library(text: str) -> None:
    for encoded in (quote(text, safe=""), quote_plus(text), quote(text)):
        assert decode_value(encoded.replace("+", "%20") if "+" in text else encoded) == clean(text)


@given(st.text(alphabet="%2Ff5a3A+&=", max_size=40))
def test_broken_escapes_decode_as_the_standard_library_does(text: str) -> None:
    value = text.replace("&", "").replace("=", "")
    expected = dict(parse_qsl(f"title={value}", keep_blank_values=True))["title"]
    assert decode_value(value) == clean(expected)


@given(st.dictionaries(st.sampled_from(sorted(MAX_LENGTH)), st.text(max_size=60)), st.text(max_size=200))
def test_any_query_gives_a_storable_hit_or_a_named_refusal(fields: dict[str, str], tail: str) -> None:
    try:
        hit = hit_of(urlencode({**fields, "site": "shop"}) + "&" + tail)
    except Rejected:
        return
    assert decode_envelope(encode_hit(hit))[0].event_id == hit.event_id


def test_names_may_be_encoded_and_unknown_ones_are_not_kept() -> None:
    fields, props = parse_query("si%74e=shop&cb=123&visitor%5Fid=v&props%2Ecolour=red&&=&x")
    assert fields == {"site": "shop", "visitor_id": "v"}
    assert msgspec.json.decode(props) == {"colour": "red"}


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert hit_of("site=shop&title=%ff%fe").title == "\ufffd\ufffd"


def test_control_characters_are_taken_out() -> None:
    hit = hit_of("site=shop&title=a%00b%0d%0ac%1b[31m%7f&event=lead%E2%80%A8&props.x=%00y")
    assert (hit.title, hit.event, bytes(hit.props)) == ("abc[31m", "lead", b'{"x":"y"}')


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        ("", "unknown_site", "site"),
        ("site=other", "unknown_site", "site"),
        ("site=%3Cscript%3E", "unknown_site", "site"),
        ("site=shop&url=javascript%3Aalert(1)", "bad_url", "url"),
        ("site=shop&url=%3Cscript%3E", "bad_url", "url"),
        ("site=shop&url=https://x/" + "a" * 8200, "too_long", "url"),
        ("site=shop&title=" + "a" * 2049, "too_long", "title"),
        ("site=shop&user_id=" + "a" * 257, "too_long", "user_id"),
        ("site=shop&title=" + "a" * 61_000, "too_long", "query"),
        ("site=shop&" + "&".join(f"props.p{i}=1" for i in range(300)), "too_many_keys", "props"),
        ("site=shop&occurred_at=1999-01-01", "bad_time", "occurred_at"),
        ("site=shop&occurred_at=soon", "bad_time", "occurred_at"),
        ("site=shop&value=-5", "negative_money", "value"),
        ("site=shop&value=NaN", "bad_money", "value"),
        ("site=shop&value=Infinity", "bad_money", "value"),
        ("site=shop&value=1e3", "bad_money", "value"),
        ("site=shop&value=1.234", "bad_money", "value"),
        ("site=shop&value=" + "9" * 60, "money_out_of_range", "value"),
        ("site=shop&value=5&currency=XBT", "unknown_currency", "currency"),
        ("site=shop&currency=XBT", "unknown_currency", "currency"),
        ("site=shop&email_sha256=me@example.com", "bad_email_hash", "email_sha256"),
    ],
)
def test_impossible_fields_are_refused_by_name(query: str, reason: str, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        hit_of(query)
    assert (refused.value.reason, refused.value.field) == (reason, field)


@pytest.mark.parametrize(
    "referrer", ["null", "$direct", "<script>", "data:text/html,x", "javascript:alert(1)"]
)
def test_an_unusable_referrer_is_left_out_and_the_hit_is_kept(referrer: str) -> None:
    """It says nothing, and must not cost a purchase."""
    hit = hit_of(urlencode({"site": "shop", "event": "purchase", "value": "5.00", "referrer": referrer}))
    assert (hit.referrer, hit.value) == ("", "5.00")


def test_ids_that_point_at_a_person_are_taken_out_of_addresses() -> None:
    """Their presence decides the channel; their value would be personal data in every store."""
    address = "https://shop.example/?mc_eid=abc123&utm_source=news"
    hit = hit_of(urlencode({"site": "shop", "url": address, "referrer": address}))
    assert hit.url == hit.referrer == "https://shop.example/?mc_eid=removed&utm_source=news"
