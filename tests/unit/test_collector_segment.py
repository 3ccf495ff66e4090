"""Segment's JSON as contract fields."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from attribution.errors import Rejected
from attribution.hit import Hit
from collector.fields import Heard
from collector.intake import House, Taken, take_body, user_of_basic
from collector.segment import cut_depth, fields_of, parse_batch, parse_event

HEARD = Heard(1_790_000_000_000, "", "", False, False, "")
SITES = frozenset({"shop"})
EMAIL_HASH = hashlib.sha256(b"ann@example.com").hexdigest()


def take(kind: str, body: Any, site: str = "shop") -> Taken:
    return take_body(kind, msgspec.json.encode(body), site, HEARD, House(SITES, "USD"))


def hit_of(kind: str, **event: Any) -> Hit:
    (outcome,) = take(kind, event).outcomes
    assert isinstance(outcome, Hit), outcome
    return outcome


def refusal_of(kind: str, **event: Any) -> tuple[str, str]:
    (outcome,) = take(kind, event).outcomes
    assert isinstance(outcome, Rejected)
    return outcome.reason, outcome.field


def test_an_order_is_a_purchase() -> None:
    """The example of Segment's e-commerce specification: revenue, not total, is the value of an order."""
    hit = hit_of(
        "track",
        type="track",
        event="Order Completed",
        messageId="m-1",
        anonymousId="a-1",
        userId="u-1",
        timestamp="2026-09-01T12:00:00Z",
        properties={
            "order_id": "50314b8e9bcf000000000000",
            "total": 27.5,
            "revenue": 22.5,
            "currency": "USD",
            "products": [{"sku": "45790-32", "price": 19, "quantity": 1}],
        },
    )
    assert (hit.event, hit.value, hit.currency, hit.order_id) == (
        "purchase",
        "22.50",
        "USD",
        "50314b8e9bcf000000000000",
    )
    assert (hit.event_id, hit.visitor_id, hit.user_id) == ("m-1", "a-1", "u-1")
    assert msgspec.json.decode(hit.props)["products"][0]["sku"] == "45790-32"


def test_a_refund_has_a_positive_value_from_its_total() -> None:
    hit = hit_of(
        "track",
        event="Order Refunded",
        userId="u",
        properties={"order_id": "o", "total": 30, "currency": "EUR"},
    )
    assert (hit.event, hit.value, hit.order_id) == ("refund", "30.00", "o")


def test_a_cancelled_order_is_paid_back_whole() -> None:
    """What Segment's specification sends with it are the order's amounts; parts may be paid back by then."""
    properties = {"order_id": "o", "total": 30, "revenue": 25.0, "currency": "EUR", "products": []}
    hit = hit_of("track", event="Order Cancelled", userId="u", properties=properties)
    assert (hit.event, hit.value, hit.order_id) == ("refund", None, "o")
    assert msgspec.json.decode(hit.props)["total"] == 30


@pytest.mark.parametrize("event", ["purchase", "refund"])
def test_an_order_may_be_named_as_ga4_names_it(event: str) -> None:
    named = {"transaction_id": "T_12345", "value": 12.21, "currency": "USD"}
    hit = hit_of("track", event=event, userId="u", properties=named)
    assert (hit.event, hit.value, hit.order_id) == (event, "12.21", "T_12345")
    both = hit_of("track", event=event, userId="u", properties=named | {"order_id": "o"})
    assert both.order_id == "o"
    assert hit_of("track", event="lead", userId="u", properties=named).order_id == ""


def test_a_custom_total_of_another_event_is_a_property_only() -> None:
    hit = hit_of("track", event="Quiz Finished", userId="u", properties={"total": "many", "score": 1.5})
    assert (hit.value, bytes(hit.props)) == (None, b'{"total":"many","score":1.5}')


def test_the_exact_decimal_text_of_a_number_survives() -> None:
    body = b'{"event":"lead","userId":"u","value":0.10,"properties":{"ratio":0.30000000000000004,"big":1e2}}'
    (hit,) = take_body("track", body, "shop", HEARD, House(SITES, "USD")).hits
    assert hit.value == "0.10"
    assert b"0.30000000000000004" in bytes(hit.props)


def test_a_page_takes_url_referrer_and_title_from_properties_or_context() -> None:
    page = {"url": "https://s.example/c", "referrer": "https://r.example/", "title": "C"}
    hit = hit_of(
        "page",
        anonymousId="a",
        name="Home",
        properties={"url": "https://s.example/p"},
        context={"page": page},
    )
    assert (hit.event, hit.url, hit.referrer, hit.title) == (
        "page_view",
        "https://s.example/c",
        "https://r.example/",
        "C",
    )
    hit = hit_of("page", anonymousId="a", name="Home", properties={"url": "https://s.example/p"})
    assert (hit.url, hit.title) == ("https://s.example/p", "Home")
    assert hit_of("screen", anonymousId="a", name="Cart").title == "Cart"


def test_without_an_anonymous_id_the_user_is_the_visitor() -> None:
    assert hit_of("track", event="lead", userId=42).visitor_id == "user:42"


def test_a_server_that_knows_only_an_address_or_a_contact_speaks_as_it() -> None:
    hit = hit_of("track", event="lead", properties={"email": "ann@example.com"})
    assert hit.visitor_id == f"email:{EMAIL_HASH}"
    assert hit_of("track", event="lead", properties={"crm_contact_id": "0031"}).visitor_id == "crm:0031"
    assert hit_of("identify", traits={"crm_contact_id": 7}).visitor_id == "crm:7"


def test_alias_and_group_name_who_they_are_about() -> None:
    hit = hit_of("alias", previousId="anon", userId="u")
    assert (hit.event, hit.visitor_id, hit.user_id) == ("alias", "anon", "u")
    hit = hit_of("alias", previousId="anon", anonymousId="browser", userId="u")
    assert (hit.visitor_id, hit.user_id) == ("anon", "u")
    hit = hit_of("group", userId="u", groupId="g", traits={"plan": "pro"})
    assert (hit.event, bytes(hit.props)) == ("group", b'{"plan":"pro","group_id":"g"}')


def test_an_email_address_is_hashed_and_not_kept() -> None:
    hit = hit_of("identify", userId="u", traits={"email": " Ann@Example.com ", "plan": "pro"})
    assert (hit.email_sha256, bytes(hit.props)) == (EMAIL_HASH, b'{"plan":"pro"}')
    assert hit_of(
        "track", event="x", userId="u", context={"traits": {"email": "ann@example.com"}}
    ).email_sha256


def test_a_campaign_in_the_context_becomes_utm_parameters() -> None:
    campaign = {"name": "spring & co", "source": "news", "medium": "email"}
    context = {"campaign": campaign, "page": {"url": "https://s.example/p?a=1#top"}}
    hit = hit_of("page", anonymousId="a", context=context)
    assert (
        hit.url == "https://s.example/p?a=1&utm_source=news&utm_medium=email&utm_campaign=spring+%26+co#top"
    )
    context["page"] = {"url": "https://s.example/p?UTM_source=own"}
    assert hit_of("page", anonymousId="a", context=context).url == "https://s.example/p?UTM_source=own"
    assert msgspec.json.decode(
        hit_of("track", event="install", userId="u", context={"campaign": campaign}).props
    ) == {"campaign": campaign}


def test_consent_preferences_are_the_granted_purposes() -> None:
    preferences = {"analytics": True, "ads": False, "other": "true"}
    hit = hit_of("track", event="x", userId="u", context={"consent": {"categoryPreferences": preferences}})
    assert hit.consent == "analytics"
    assert hit_of("track", event="x", userId="u", consent=["analytics", "ads"]).consent == "analytics,ads"
    assert hit_of("track", event="x", userId="u", consent="ads , analytics").consent == "ads,analytics"


def test_agent_and_address_come_from_the_context_and_the_address_is_truncated() -> None:
    hit = hit_of(
        "track", event="x", userId="u", context={"ip": "198.51.100.77", "userAgent": "Mozilla/5.0 X"}
    )
    assert (hit.ip, hit.user_agent) == ("198.51.100.0", "Mozilla/5.0 X")
    assert hit_of("track", event="x", userId="u", context={"ip": "2001:db8:1:2::3"}).ip == "2001:db8:1::"
    assert hit_of("track", event="x", userId="u", context={"ip": "nonsense"}).ip == ""


def test_a_time_that_a_pipeline_corrected_is_not_corrected_again() -> None:
    hit = hit_of(
        "track",
        event="x",
        userId="u",
        timestamp="2026-09-01T12:00:00Z",
        originalTimestamp="2026-09-01T09:00:00Z",
        sentAt="2026-09-01T09:00:01Z",
        receivedAt="2026-09-01T12:00:01Z",
    )
    assert (hit.occurred_at, hit.clock_skew_ms) == (1_788_264_000_000, 0)


def test_the_contracts_own_names_are_taken_as_they_are() -> None:
    fields, props = fields_of(
        "track", {"site": "shop", "visitor_id": "v", "url": "https://a/", "props.x": 1, "props": {"y": 2}}
    )
    assert fields == {"event": "", "site": "shop", "visitor_id": "v", "url": "https://a/"}
    assert msgspec.json.decode(props) == {"x": 1, "y": 2}


def test_a_batch_gives_its_events_what_they_share() -> None:
    body = {
        "writeKey": "shop",
        "sentAt": "2026-09-21T13:13:20Z",
        "context": {"userAgent": "UA"},
        "batch": [
            {"type": "track", "event": "lead", "userId": "u", "timestamp": "2026-09-21T13:13:10Z"},
            {"type": "page", "anonymousId": "a", "context": {"userAgent": "other"}},
        ],
    }
    first, second = take("batch", body, site="").hits
    assert (first.user_agent, first.clock_skew_ms) == ("UA", 3_600_000)
    assert (second.user_agent, second.event) == ("other", "page_view")


def test_one_bad_event_leaves_the_rest_of_its_batch() -> None:
    deep: Any = []
    for _ in range(20):
        deep = [deep]
    wide = {f"k{i}": i for i in range(10_000)}
    batch = [
        {"event": "lead", "userId": "u"},
        {"event": {"no": "text"}, "userId": "u"},
        {"event": "lead", "userId": "u", "value": "-1"},
        {"event": "lead", "userId": "u", "properties": {"deep": deep}},
        {"event": "lead", "userId": "u", "properties": wide},
        {"event": "lead", "userId": "u", "properties": {"text": "x" * 70_000}},
        ["no object"],
        {"type": "dance", "userId": "u"},
        {"event": "lead", "userId": "u", "site": "other"},
        {"event": "lead", "userId": "u"},
    ]
    reasons = [getattr(outcome, "reason", "kept") for outcome in take("batch", {"batch": batch}).outcomes]
    assert reasons == [
        "kept",
        "wrong_type",
        "negative_money",
        "too_deep",
        "event_too_large",
        "event_too_large",
        "malformed",
        "malformed",
        "unknown_site",
        "kept",
    ]


@pytest.mark.parametrize("depth", [17, 900, 100_000])
def test_however_deep_one_event_is_nested_the_others_are_kept(depth: int) -> None:
    good = b'{"event":"lead","userId":"u","properties":{"a":"]}\\"["}}'
    body = b'{"batch":[%s,{"event":"x","properties":{"d":%s%s}},%s]}' % (
        good,
        b"[" * depth,
        b"]" * depth,
        good,
    )
    outcomes = take_body("batch", body, "shop", HEARD, House(SITES, "USD")).outcomes
    assert [getattr(outcome, "reason", "kept") for outcome in outcomes][::2] == ["kept", "kept"]
    assert getattr(outcomes[1], "reason", "") in ("too_deep", "event_too_large")


def test_cutting_depth_leaves_shallow_json_alone() -> None:
    body = b'{"a":["\\"[[[",{"b":[1,2]}],"c":"}}"}'
    assert cut_depth(body) == body
    assert cut_depth(b"[[[1],2],3]", depth=2) == b"[[0,2],3]"


def test_invalid_utf8_spoils_only_its_event() -> None:
    body = b'{"batch":[{"event":"a","userId":"u"},{"event":"\xff","userId":"u"}]}'
    kept, refused = take_body("batch", body, "shop", HEARD, House(SITES, "USD")).outcomes
    assert isinstance(kept, Hit)
    assert getattr(refused, "reason", "") == "not_utf8"


@pytest.mark.parametrize(
    ("event", "refusal"),
    [
        ({"event": 1.5, "userId": "u"}, ("wrong_type", "event")),
        ({"event": True, "userId": "u"}, ("wrong_type", "event")),
        ({"event": "x", "userId": ["u"]}, ("wrong_type", "userId")),
        ({"event": "x", "userId": "u", "properties": []}, ("wrong_type", "properties")),
        ({"event": "x", "userId": "u", "context": "c"}, ("wrong_type", "context")),
        ({"event": "x", "userId": "u", "context": {"page": "p"}}, ("wrong_type", "context.page")),
        ({"event": "x", "userId": "u", "consent": [1]}, ("wrong_type", "consent")),
        ({"event": "x", "userId": "u", "value": {"a": 1}}, ("wrong_type", "value")),
        ({"event": "x", "userId": "u", "value": 1e300}, ("wrong_type", "value")),
        ({"event": "x", "userId": "u", "value": "NaN"}, ("bad_money", "value")),
        ({"event": "x", "userId": "u", "value": -0.01}, ("negative_money", "value")),
        ({"event": "x", "userId": "u", "value": 1, "currency": "BTC"}, ("unknown_currency", "currency")),
        ({"event": "x", "userId": "u", "timestamp": "noon"}, ("bad_time", "occurred_at")),
        ({"event": "x", "userId": "u", "url": "javascript:alert(1)"}, ("bad_url", "url")),
        ({"event": "x" * 129, "userId": "u"}, ("too_long", "event")),
        ({"event": "x", "userId": "u", "writeKey": "nobody"}, ("unknown_site", "site")),
    ],
)
def test_wrong_types_and_values_are_refused_by_name(event: dict[str, Any], refusal: tuple[str, str]) -> None:
    assert refusal_of("track", **event) == refusal


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\ude00 cut", "\ufffd cut"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\\ud83d \ud800", "\\ud83d \ufffd"),
    ],
)
def test_half_an_emoji_costs_neither_the_event_nor_the_batch(sent: bytes, kept: str) -> None:
    """JavaScript writes half a surrogate pair when a text is cut in the middle of an emoji."""
    event = b'{"type":"track","event":"e","properties":{"title":"' + sent + b'"}}'
    assert parse_event(event)["properties"] == {"title": kept}
    batch = parse_batch(b'{"batch":[{"type":"track","event":"whole"},' + event + b"]}").batch
    assert parse_event(batch[0])["event"] == "whole"
    assert parse_event(batch[1])["properties"] == {"title": kept}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"null", "malformed"),
        (b"[]", "malformed"),
        (b'{"event":NaN}', "malformed"),
        (b'{"event":"\\ud800', "malformed"),
        (b'{"value":1e99999999999999999999}', "malformed"),
        (b'{"event":"\xff"}', "not_utf8"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "event_too_large"),
        (b"[" * 60_000, "too_deep"),
        (b'{"a":"' + b"x" * 70_000 + b'"}', "event_too_large"),
    ],
)
def test_unusable_bodies_are_refused(body: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        take_body("track", body, "shop", HEARD, House(SITES, "USD"))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        (b"{}", "missing_field", "batch"),
        (b"[]", "wrong_type", ""),
        (b'{"batch":{}}', "wrong_type", "batch"),
        (b'{"batch":[],"context":1}', "wrong_type", "context"),
        (b'{"batch":[]}', "missing_field", "batch"),
        (b'{"batch":[' + b",".join([b"{}"] * 501) + b"]}", "batch_too_large", "batch"),
        (b'{"batch":[{},]}', "malformed", ""),
    ],
)
def test_unusable_batches_are_refused(body: bytes, reason: str, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        take_body("batch", body, "shop", HEARD, House(SITES, "USD"))
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_the_write_key_may_be_the_basic_user_name() -> None:
    assert user_of_basic("Basic c2hvcDo=") == "shop"
    assert user_of_basic("Bearer c2hvcDo=") == ""
    assert user_of_basic("Basic %%%") == ""
    assert user_of_basic("Basic /w==") == ""
    assert user_of_basic("") == ""
