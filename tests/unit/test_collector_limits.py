"""Rate limits, shapes, addresses and cookies."""

from __future__ import annotations

from typing import Any

import pytest

from attribution.errors import Misconfigured, Rejected
from collector.addresses import NOBODY, Proxies, client_of
from collector.identifiers import VisitorCookie, new_event_id
from collector.limits import MAX_DEPTH, MAX_KEYS, RateLimit, check_shape


def test_a_network_gets_one_second_of_requests_at_once_and_then_its_rate() -> None:
    limit = RateLimit(10)
    assert [limit.admits("a", 100.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert limit.admits("b", 100.0)
    assert [limit.admits("a", 100.11) for _ in range(2)] == [True, False]
    assert [limit.admits("a", 200.0) for _ in range(11)] == [True] * 10 + [False]


def test_what_is_too_much_at_once_is_lent_and_paid_back() -> None:
    limit = RateLimit(10)
    assert limit.admits_many("a", 100.0, 30)
    assert not limit.admits("a", 101.9)
    assert limit.admits("a", 102.11)
    assert not limit.admits("a", 102.11)


def test_no_rate_is_no_limit() -> None:
    assert all(RateLimit(0).admits("a", 1.0) for _ in range(1000))


def test_the_limit_forgets_quiet_networks() -> None:
    limit = RateLimit(1000)
    for number in range(250_000):
        limit.admits(str(number), number / 1000)
    assert len(limit._full_at) <= 100_000


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_depth_and_keys_are_allowed_up_to_their_limits() -> None:
    check_shape(nested(MAX_DEPTH))
    check_shape({str(n): n for n in range(MAX_KEYS)})
    check_shape(3)
    for value, reason in (
        (nested(MAX_DEPTH + 1), "too_deep"),
        ({"a": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}, "too_deep"),
        ({"x": [{str(n): n for n in range(MAX_KEYS)}]}, "too_many_keys"),
    ):
        with pytest.raises(Rejected) as refused:
            check_shape(value)
        assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("ip", "network", "kept"),
    [
        ("203.0.113.77", "203.0.113.0", "203.0.113.0"),
        ("::ffff:203.0.113.77", "203.0.113.0", "203.0.113.0"),
        ("2001:db8:1:2:3::9", "2001:db8:1:2::", "2001:db8:1::"),
        ("fe80::1%eth0", "fe80::", "fe80::"),
    ],
)
def test_an_address_is_counted_by_its_network_and_kept_truncated(ip: str, network: str, kept: str) -> None:
    assert client_of(ip)[:2] == (network, kept)


def test_what_is_no_address_is_nobody() -> None:
    for text in ("", "unknown", "1.2.3", "<script>", "1.2.3.4, 5.6.7.8"):
        assert client_of(text) == NOBODY
    assert client_of("[2001:db8::1]").network == "2001:db8::"
    assert client_of("127.0.0.1").is_private


def test_forwarded_addresses_are_believed_only_from_trusted_proxies() -> None:
    proxies = Proxies(("10.0.0.0/8", "::1/128"))
    assert proxies.resolve("203.0.113.9", "1.1.1.1") == "203.0.113.9"
    assert proxies.resolve("10.0.0.1", "") == "10.0.0.1"
    assert proxies.resolve("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2") == "203.0.113.9"
    assert proxies.resolve("10.0.0.1", "<script>, 10.0.0.2") == "10.0.0.2"
    assert not Proxies(())
    with pytest.raises(Misconfigured):
        Proxies(("everywhere",))


def test_the_cookie_is_read_only_if_we_could_have_written_it() -> None:
    cookie = VisitorCookie(secure=True)
    assert cookie.read("a=1; __Host-hw_vid=0123456789abcdef; b=2") == "0123456789abcdef"
    for header in (None, "", "hw_vid=0123456789abcdef", "__Host-hw_vid=<script>", "__Host-hw_vid=short"):
        assert cookie.read(header) == ""
    name, value = cookie.write("0123456789abcdef")
    assert name == "set-cookie"
    assert value == (
        "__Host-hw_vid=0123456789abcdef; Max-Age=34560000; Path=/; HttpOnly; SameSite=Lax; Secure"
    )
    assert VisitorCookie(secure=False).write("x")[1].endswith("SameSite=Lax")


def test_event_ids_are_distinct_uuids_of_version_seven_in_order_of_time() -> None:
    ids = [new_event_id(1_790_000_000_000 + n) for n in range(1000)]
    assert ids == sorted(ids)
    assert {(text[14], text[19] in "89ab", len(text)) for text in ids} == {("7", True, 36)}
