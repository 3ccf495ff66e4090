"""Addresses from the wild: browsers' reading of them, whole labels, one site or two."""

import pytest

from attribution.urls import (
    ParsedUrl,
    host_labels_match,
    is_same_site,
    parse_url,
    registrable_domain,
)


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        (
            "https://Shop.Example.COM:8443/a/b?x=1#f",
            ParsedUrl("https", "shop.example.com", "/a/b", {"x": "1"}),
        ),
        ("https://example.com", ParsedUrl("https", "example.com", "/")),
        ("https://example.com?utm_source=a", ParsedUrl("https", "example.com", "/", {"utm_source": "a"})),
        ("https://example.com./", ParsedUrl("https", "example.com", "/")),
        ("//example.com/x", ParsedUrl("", "example.com", "/x")),
        ("/only/path?a=b", ParsedUrl("", "", "/only/path", {"a": "b"})),
        ("page.html", ParsedUrl("", "", "/page.html")),
        ("https://example.com/#/spa?utm_source=no", ParsedUrl("https", "example.com", "/")),
        ("https://example.com/?a=1#x?b=2", ParsedUrl("https", "example.com", "/", {"a": "1"})),
        ("javascript:alert(1)", ParsedUrl("javascript")),
        ("about:blank", ParsedUrl("about")),
        ("android-app://com.google.android.gm/", ParsedUrl("android-app", "com.google.android.gm", "/")),
        ("http://user:pw@example.com@evil.example/", ParsedUrl("http", "evil.example", "/")),
        (r"https://evil.example\@shop.example/", ParsedUrl("https", "evil.example", "/@shop.example/")),
        ("http://[2001:db8::1]:80/x", ParsedUrl("http", "[2001:db8::1]", "/x")),
        ("http://192.0.2.7:8080/x", ParsedUrl("http", "192.0.2.7", "/x")),
        ("https://münchen.example/", ParsedUrl("https", "xn--mnchen-3ya.example", "/")),
        ("https://<script>alert(1)</script>/", ParsedUrl("https", "", "/script>/")),
        ("https://a..b/", ParsedUrl("https", "", "/")),
        ("  https://exa\x00mple.com/a\nb  ", ParsedUrl("https", "example.com", "/ab")),
        ("", ParsedUrl()),
        ("?a=b", ParsedUrl("", "", "", {"a": "b"})),
    ],
)
def test_an_address_is_read_as_browsers_read_it(url: str, parsed: ParsedUrl) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("utm_source=a&utm_source=b", {"utm_source": "a"}),
        ("UTM_Source=A", {"utm_source": "A"}),
        ("a=x+y%20z", {"a": "x y z"}),
        ("a=%E4%BD%A0", {"a": "你"}),
        ("a=%ff%fe", {"a": "��"}),
        ("a=%zz%4", {"a": "%zz%4"}),
        ("a=1%00%0a2", {"a": "12"}),
        ("a=1&amp;b=2", {"a": "1", "b": "2"}),
        ("a&=x&&b=", {"a": "", "b": ""}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_parameters_are_decoded_and_the_first_one_counts(query: str, found: dict[str, str]) -> None:
    assert parse_url("https://example.com/?" + query).query == found


def test_only_the_first_characters_of_a_huge_address_are_read() -> None:
    parsed = parse_url("https://example.com/" + "a" * 1_000_000 + "?utm_source=late")
    assert (parsed.host, len(parsed.path), parsed.query) == ("example.com", 1024, {})


@pytest.mark.parametrize(
    ("host", "domain", "matches"),
    [
        ("t.co", "t.co", True),
        ("walmart.com", "t.co", False),
        ("target.com", "t.co", False),
        ("reddit.com", "t.co", False),
        ("netflix.com", "x.com", False),
        ("dropbox.com", "x.com", False),
        ("mobile.x.com", "x.com", True),
        ("l.facebook.com", "facebook.com", True),
        ("notfacebook.com", "facebook.com", False),
        ("facebook.com.evil.example", "facebook.com", False),
        ("example.com", "", False),
    ],
)
def test_domains_match_by_whole_labels(host: str, domain: str, matches: bool) -> None:
    assert host_labels_match(host, domain) is matches


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("shop.example.com", "example.com"),
        ("www.example.co.uk", "example.co.uk"),
        ("a.b.example.com.au", "example.com.au"),
        ("example.com", "example.com"),
        ("co.uk", "co.uk"),
        ("t.co", "t.co"),
        ("www.t.co", "t.co"),
        ("www.id.me", "id.me"),
        ("alice.github.io", "alice.github.io"),
        ("www.alice.github.io", "alice.github.io"),
        ("one.myshopify.com", "one.myshopify.com"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("[::1]", "[::1]"),
        ("", ""),
    ],
)
def test_the_registrable_domain_is_what_one_owner_registers(host: str, domain: str) -> None:
    assert registrable_domain(host) == domain


@pytest.mark.parametrize(
    ("host", "other", "same"),
    [
        ("shop.example.com", "www.example.com", True),
        ("shop.example.co.uk", "other.co.uk", False),
        ("one.myshopify.com", "two.myshopify.com", False),
        ("192.0.2.7", "198.51.100.7", False),
        ("10.0.0.1", "9.0.0.1", False),
        ("", "", False),
        ("example.com", "", False),
    ],
)
def test_two_hosts_are_one_site_if_one_owner_registered_both(host: str, other: str, same: bool) -> None:
    assert is_same_site(host, other) is same
