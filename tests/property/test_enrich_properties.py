"""The core takes any text, and its caches never change an answer."""

from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.acquisition import Acquisition, acquire
from attribution.agents import parse_user_agent
from attribution.channels import CHANNELS, classify_channel
from attribution.enrich import enrich
from attribution.hit import Hit, decode_envelope, encode_envelope
from attribution.urls import host_labels_match, is_same_site, parse_url, registrable_domain

_schemes = st.sampled_from(
    ["https://", "http://", "//", "", "android-app://", "javascript:", "HTTPS:\\\\", "https:/"]
)
_hosts = st.sampled_from(
    ["shop.example", "www.shop.example", "SHOP.example:80", "user@shop.example", "www.google.co.uk", "t.co", "[::1]",
     "mail.google.com", "com.google.android.gm", "paypal.com", "xn--p1ai", "192.0.2.1", "bücher.example", "", ".", ".."]
) | st.text(max_size=12)  # fmt: skip
_paths = st.sampled_from(["", "/", "/a", "/search", "/a b ", "/%00", "/#", "\\"]) | st.text(max_size=12)
_names = st.sampled_from(
    ["utm_source", "UTM_MEDIUM", "utm_campaign", "utm_id", "gclid", "GCLID", "msclkid", "fbclid", "mc_eid", "dclid",
     "amp;utm_source", "q"]
) | st.text(max_size=8)  # fmt: skip
_values = st.sampled_from(
    ["google", "cpc", "(direct)", "(none)", "", " ", "%ff", "+", "x" * 300, "Ab_-9", "a-click-id"]
) | st.text(max_size=12)
_queries = st.lists(st.tuples(_names, _values), max_size=5).map(
    lambda pairs: "?" + "&".join(f"{name}={value}" for name, value in pairs)
)
_urls = st.builds("".join, st.tuples(_schemes, _hosts, _paths, _queries | st.just(""))) | st.text()
_surrogates = st.text(st.characters(), max_size=30)


@given(_urls | _surrogates)
def test_any_address_is_parsed_into_clean_parts(url: str) -> None:
    parsed = parse_url(url)
    for part in (parsed.scheme, parsed.host, parsed.path, *parsed.query, *parsed.query.values()):
        part.encode("utf-8")
        assert not any(ord(character) < 32 or ord(character) == 127 for character in part)
    assert parsed.host == parsed.host.lower()
    assert parsed.host.isascii()
    assert not parsed.path or parsed.path.startswith("/")
    assert host_labels_match(parsed.host, registrable_domain(parsed.host))
    assert is_same_site(parsed.host, parsed.host) is bool(parsed.host)


@given(_urls | _surrogates, _urls | _surrogates)
def test_any_arrival_is_named_or_direct(url: str, referrer: str) -> None:
    acquisition = acquire(url, referrer)
    assert acquisition == acquire(parse_url(url), referrer)
    if acquisition is None:
        return
    assert acquisition.channel in CHANNELS
    assert acquisition.channel != "Direct"
    assert acquisition.source == acquisition.source.lower() != ""
    assert acquisition.medium == acquisition.medium.lower() != ""
    for field in (acquisition.source, acquisition.medium, acquisition.campaign, acquisition.click_id):
        assert len(field) <= 256
        assert field == field.strip()


@given(st.text(), st.text(), st.text(), st.text(), st.booleans())
def test_any_three_words_have_one_channel_whatever_their_case(
    source: str, medium: str, campaign: str, ad_network: str, is_paid: bool
) -> None:
    channel = classify_channel(source, medium, campaign, ad_network=ad_network, is_paid_click=is_paid)
    assert channel in CHANNELS
    lowered = classify_channel(
        source.lower(), medium.lower(), campaign.lower(), ad_network=ad_network, is_paid_click=is_paid
    )
    assert lowered == channel


@given(st.text() | _surrogates)
def test_any_user_agent_is_judged(text: str) -> None:
    agent = parse_user_agent(text)
    assert agent.device in {"desktop", "mobile", "tablet", ""}
    assert not (agent.is_bot and agent.is_library)


@settings(max_examples=300)
@given(
    st.sampled_from(["page_view", "impression", "purchase", "identify", ""]) | st.text(max_size=5),
    _urls,
    _urls,
    st.text(max_size=20),
)
def test_the_caches_change_nothing(event: str, url: str, referrer: str, user_agent: str) -> None:
    hit = Hit(
        event_id="e", site="s", visitor_id="v", occurred_at=0, received_at=0,
        event=event, url=url, referrer=referrer, user_agent=user_agent,
    )  # fmt: skip
    first = enrich(hit)
    page = parse_url(url)
    expected: Acquisition | None = acquire(url, referrer)
    assert first.acquisition == expected
    assert (first.path, first.host) == (page.path, page.host)
    assert first.referrer_host == parse_url(referrer).host
    assert first.agent == parse_user_agent(user_agent)
    assert enrich(hit) == first
    [received] = decode_envelope(encode_envelope([hit]))
    assert enrich(received) == first
