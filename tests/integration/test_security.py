"""Rules of docs/security.md that no other test shows: scopes of keys, addresses, foreign origins, faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from collector_kit import SITE, config_of, running, spooled
from fastapi.testclient import TestClient
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from api.app import create_app
from api.config import ApiConfig
from attribution.errors import Transient
from collector.spool import Spool

READ_KEY = "read_0123456789abcdef"


async def test_a_write_key_cannot_read_and_a_read_key_cannot_write(tmp_path: Path) -> None:
    def nobody() -> None:
        raise Transient("no ClickHouse is asked")

    config = ApiConfig(clickhouse="http://127.0.0.1:1", database="x", read_keys=(READ_KEY,))
    with TestClient(create_app(config, nobody)) as api:  # type: ignore[arg-type]
        for key, status in ((SITE, 401), (READ_KEY, 503)):
            headers = {"Authorization": f"Bearer {key}"}
            assert api.post("/v1/query", json={"metrics": ["hits"]}, headers=headers).status_code == status
        # A key in the address would stand in logs and histories.
        assert api.get("/v1/conversions/c", params={"key": READ_KEY, "token": READ_KEY}).status_code == 401
    async with running(config_of(tmp_path)) as (_, collector):
        bearer = await collector.post("/v1/track", {"event": "x"}, authorization=f"Bearer {READ_KEY}")
        assert (bearer.status, bearer.json["code"]) == (401, "unknown_site")
        assert (await collector.post("/v1/track", {"site": READ_KEY})).status == 401
        pixel = await collector.get(f"/p.gif?site={READ_KEY}")
        assert pixel.header("x-headwater-dropped") == "unknown_site"
        assert spooled(tmp_path) == []


async def test_no_whole_address_reaches_the_disk(tmp_path: Path) -> None:
    async with running(config_of(tmp_path, trusted_proxies=("127.0.0.0/8",))) as (_, client):
        by = {"x_forwarded_for": "198.51.100.77", "user_agent": "Mozilla/5.0"}
        await client.get(f"/p.gif?site={SITE}&ip=198.51.100.77", **by)
        await client.post("/v1/track", {"site": SITE, "context": {"ip": "198.51.100.77"}}, **by)
        await client.post("/v1/track", {"site": SITE, "context": {"ip": "2001:db8:1:2:3:4:5:6"}}, **by)
        assert [hit.ip for hit in spooled(tmp_path)] == ["198.51.100.0", "198.51.100.0", "2001:db8:1::"]
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        assert b"198.51.100.0" in kept
        assert b"198.51.100.77" not in kept
        assert b"2001:db8:1:2" not in kept


async def test_of_where_a_visitor_is_only_the_country_reaches_the_disk(tmp_path: Path) -> None:
    """By the proxy's header, which nobody else is believed, or the operator's file, whatever it knows besides."""
    networks = MMDBWriter(6, ipv4_compatible=True)
    record = {"country": {"iso_code": "DE"}, "city": {"names": {"en": "Bielefeld"}}}
    networks.insert_network(IPSet(["198.51.100.0/24"]), record)
    networks.to_db_file(str(tmp_path / "networks.mmdb"))
    (tmp_path / "collector").mkdir()
    trusted = {"trusted_proxies": ("127.0.0.0/8",), "country_header": "CF-IPCountry"}
    for number, changes in enumerate((trusted, {"trusted_proxies": trusted["trusted_proxies"]})):
        folder = tmp_path / "collector" / str(number)
        folder.mkdir()
        config = config_of(folder, geoip_file=tmp_path / "networks.mmdb", **changes)
        async with running(config) as (_, client):
            by = {"x_forwarded_for": "198.51.100.77", "user_agent": "Mozilla/5.0", "cf_ipcountry": "FR"}
            await client.get(f"/p.gif?site={SITE}&country=IT", **by)
            await client.get(f"/p.gif?site={SITE}", **by | {"cf_ipcountry": "XX"})
            place = {"location": {"country": "Austria", "city": "Wien", "latitude": 48.20849}}
            await client.post("/v1/track", {"site": SITE, "context": place}, **by)
            await client.post("/v1/track", {"site": SITE}, **by | {"user_agent": "python-requests/2.32"})
            said = "FR" if changes is trusted else "DE"
            assert [hit.country for hit in spooled(folder)] == [said, "DE", "AT", ""]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "collector").rglob("*") if path.is_file())
    assert b"198.51.100.0" in kept
    assert not any(word in kept for word in (b"198.51.100.77", b"Bielefeld", b"Wien", b"48.20849"))


@pytest.mark.parametrize("path", ["/p.gif?site=shop", "/v1/track", "/healthz", "/openapi.json", "/nothing"])
async def test_no_answer_repeats_an_origin_or_allows_credentials(tmp_path: Path, path: str) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        for method in ("GET", "POST", "OPTIONS"):
            headers = {"origin": "https://evil.example", "content-type": "application/json"}
            answer = await client.request(method, path, b"{}", headers)
            assert answer.header("access-control-allow-origin") == "*"
            assert not answer.header("access-control-allow-credentials")
            assert "evil" not in str(answer)


async def test_a_fault_of_ours_tells_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(f"secret detail of {tmp_path}")

    async with running(config_of(tmp_path)) as (_, client):
        monkeypatch.setattr(Spool, "append", broken)
        monkeypatch.setattr(Spool, "append_all", broken)
        answer = await client.post("/v1/track", {"site": SITE})
        pixel = await client.get(f"/p.gif?site={SITE}")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert pixel.header("x-headwater-dropped") == "internal"
    assert "secret" not in str(answer) + str(pixel)
