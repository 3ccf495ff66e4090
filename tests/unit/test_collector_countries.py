"""Where a hit is from: by a trusted proxy, the sender, a file of networks; and nothing finer than a country."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from attribution.errors import Misconfigured
from collector.addresses import Proxies
from collector.countries import Countries
from collector.fields import Heard
from collector.intake import House, take_body
from collector.pixel import hit_of_query
from collector.requests import KNOWN_HEADERS, names_with

SITES = frozenset({"shop"})
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148"
NETWORKS: dict[str, Any] = {
    "192.0.2.0/24": {"country": {"iso_code": "DE"}, "city": {"names": {"en": "Berlin"}}},
    "198.51.100.0/24": {"country": "FR", "country_name": "France"},
    "203.0.113.0/25": {"country": "Spain", "country_code": "ES"},
    "203.0.113.128/25": {"country": {"iso_code": "PT"}},
    "2001:db8:1::/48": {"country": {"iso_code": "us"}},
    "10.0.0.0/8": {"registered_country": {"iso_code": "US"}},
    "10.1.0.0/16": {"country": {"iso_code": "A1"}},
}


def write(path: Path, networks: dict[str, Any], version: int = 6) -> Path:
    """A file of ``networks`` in the format of MaxMind."""
    writer = MMDBWriter(version, ipv4_compatible=version == 6, database_type="Test-Country")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mmdb") / "countries.mmdb", NETWORKS)


@pytest.mark.parametrize(
    ("network", "country"),
    [
        ("192.0.2.0", "DE"),
        ("198.51.100.0", "FR"),
        # What is kept is a /24, so its first address says where all of it is.
        ("203.0.113.0", "ES"),
        ("2001:db8:1::", "US"),
        ("2001:db8:2::", ""),
        ("192.0.3.0", ""),
        # Where a network is registered says nothing of who uses it; A1 is "anonymous proxy".
        ("10.0.0.0", ""),
        ("10.1.0.0", ""),
        ("", ""),
    ],
)
def test_a_file_says_where_networks_are(file: Path, network: str, country: str) -> None:
    countries = Countries("", file, Proxies(()))
    assert countries.of_network(network) == countries.of({}, "192.0.2.7", network) == country


def test_a_file_of_ipv4_says_nothing_of_ipv6(tmp_path: Path) -> None:
    only_4 = write(tmp_path / "4.mmdb", {"192.0.2.0/24": NETWORKS["192.0.2.0/24"]}, version=4)
    countries = Countries("", only_4, Proxies(()))
    assert [countries.of_network(one) for one in ("192.0.2.0", "2001:db8:1::")] == ["DE", ""]


def _no_file(path: Path) -> None:
    pass


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database" * 1000)


def _cut_off(path: Path) -> None:
    write(path, {f"{first}.0.0.0/8": {"country": f"{first}" * 40} for first in range(1, 99)})
    path.write_bytes(path.read_bytes()[:1500])


def _folder(path: Path) -> None:
    path.mkdir()


def _no_countries(path: Path) -> None:
    write(path, {"192.0.2.0/24": {"autonomous_system_number": 64496}})


@pytest.mark.parametrize("spoil", [_no_file, _garbage, _cut_off, _folder, _no_countries])
def test_a_file_that_cannot_be_used_is_named_at_the_start(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "given.mmdb"
    spoil(path)
    with pytest.raises(Misconfigured, match=r"given\.mmdb") as raised:
        Countries("", path, Proxies(()))
    assert "HEADWATER_GEOIP_FILE" in raised.value.hint


def test_a_header_is_believed_from_trusted_proxies_only(file: Path) -> None:
    """From anybody else the file answers; so it does where the proxy does not know."""
    proxies = Proxies(("10.0.0.0/8",))
    countries = Countries("CF-IPCountry", file, proxies)
    assert countries.of({"cf-ipcountry": "FR"}, "10.0.0.1", "192.0.2.0") == "FR"
    assert countries.of({"cf-ipcountry": "fr"}, "10.0.0.1", "") == "FR"
    assert countries.of({"cf-ipcountry": "FR"}, "192.0.2.9", "192.0.2.0") == "DE"
    for unknown in ("XX", "T1", "", "<script>"):
        assert countries.of({"cf-ipcountry": unknown}, "10.0.0.1", "192.0.2.0") == "DE"
    assert Countries("", file, proxies).of({"cf-ipcountry": "FR"}, "10.0.0.1", "192.0.2.0") == "DE"


def test_nothing_configured_asks_nothing() -> None:
    assert (
        Countries("", None, Proxies(("10.0.0.0/8",))).of({"cf-ipcountry": "FR"}, "10.0.0.1", "192.0.2.0")
        == ""
    )


def test_a_header_needs_trusted_proxies_and_a_name() -> None:
    """Else any page could say where its visitors are."""
    with pytest.raises(Misconfigured) as raised:
        Countries("CF-IPCountry", None, Proxies(()))
    assert "HEADWATER_TRUSTED_PROXIES" in raised.value.hint
    with pytest.raises(Misconfigured, match="HEADWATER_COUNTRY_HEADER"):
        Countries("CF IPCountry:", None, Proxies(("10.0.0.0/8",)))


def test_only_the_header_that_is_named_is_read() -> None:
    assert names_with("") is KNOWN_HEADERS
    assert names_with("x-country") == KNOWN_HEADERS | {b"x-country": "x-country"}
    assert names_with("x-real-ip")[b"x-real-ip"] == "x-real-ip"


def heard(**given: Any) -> Heard:
    said = {"user_agent": PHONE, "ip": "192.0.2.0", "country": "DE"} | given
    return Heard(received_at=1_760_000_000_000, gpc=False, dnt=False, visitor_id="v", **said)


def country_of_event(file: Path, context: Any, heard: Heard) -> str:
    """What is kept of an event with ``context``."""
    house = House(SITES, "USD", Countries("", file, Proxies(())).of_network)
    body = msgspec.json.encode({"event": "purchase", "context": context})
    (hit,) = take_body("track", body, "shop", heard, house).hits
    return hit.country


@pytest.mark.parametrize(
    ("context", "country"),
    [
        ({}, "DE"),
        ({"userAgent": PHONE}, "DE"),
        # Somebody passes on what another browser did: his own country says nothing.
        ({"userAgent": "Mozilla/5.0 (Windows NT 10.0)"}, ""),
        ({"ip": "198.51.100.77"}, "FR"),
        ({"ip": "8.8.8.8"}, ""),
        ({"location": {"country": "Austria"}, "ip": "198.51.100.77"}, "AT"),
        ({"location": {"country": "at", "city": "Wien", "latitude": 48.2}}, "AT"),
        ({"location": {"country": "Wonderland"}, "ip": "198.51.100.77"}, "FR"),
        # What cannot be read must not cost the hit.
        ({"location": "Wien"}, "DE"),
        ({"location": {"country": {"code": "AT"}}}, "DE"),
        ({"location": None}, "DE"),
    ],
    ids=str,
)
def test_the_sender_knows_best_where_a_visitor_is(file: Path, context: Any, country: str) -> None:
    assert country_of_event(file, context, heard()) == country


def test_a_server_is_nowhere(file: Path) -> None:
    """Address and country of a server are taken off its hits; the visitor's may stand in the event."""
    server = heard(user_agent="", ip="", country="")
    assert country_of_event(file, {}, server) == ""
    assert country_of_event(file, {"ip": "198.51.100.7"}, server) == "FR"


def test_a_pixel_has_the_country_of_its_request_and_names_none() -> None:
    """Like agent and address; no visitor may say where he is."""
    hit = hit_of_query("site=shop&country=FR&props.country=IT", {}, heard(), SITES, "USD")
    assert (hit.country, bytes(hit.props)) == ("DE", b'{"country":"IT"}')
    assert hit_of_query("site=shop&country=FR", {}, heard(country=""), SITES, "USD").country == ""
    assert b"country" not in msgspec.json.encode(
        hit_of_query("site=shop", {}, heard(country=""), SITES, "USD")
    )
