"""The collector over HTTP: answers, cookies, limits, operations."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from collector_kit import SITE, Client, config_of, eventually, free_port, running, spooled

from attribution.errors import Misconfigured
from collector.app import create_app
from collector.metrics import Counted
from collector.responses import GIF
from collector.server import serve


async def test_the_pixel_answers_a_gif_after_the_hit_is_on_disk(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (app, client):
        query = urlencode({"site": SITE, "event_id": "e1", "url": "https://a.example/?utm_source=x"})
        answer = await client.get(f"/p.gif?{query}", user_agent="Mozilla/5.0 X")
        (hit,) = spooled(tmp_path)
        assert (answer.status, answer.body, len(GIF)) == (200, GIF, 43)
        assert answer.header("cache-control") == "no-store"
        assert answer.header("access-control-allow-origin") == "*"
        assert (hit.event_id, hit.user_agent, hit.ip) == ("e1", "Mozilla/5.0 X", "127.0.0.0")
        assert app.metrics.accepted["p.gif"] == 1


async def test_a_visitor_gets_a_cookie_once_and_is_known_by_it(tmp_path: Path) -> None:
    async with running(config_of(tmp_path, cookie_secure=False)) as (_, client):
        first = (await client.get(f"/p.gif?site={SITE}")).header("set-cookie")
        assert "HttpOnly" in first
        assert "SameSite=Lax" in first
        assert "Max-Age=34560000" in first
        cookie = first.partition(";")[0]
        assert not (await client.get(f"/p.gif?site={SITE}", cookie=cookie)).header("set-cookie")
        assert not (await client.get(f"/p.gif?site={SITE}&visitor_id=own")).header("set-cookie")
        visitors = [hit.visitor_id for hit in spooled(tmp_path)]
        known = cookie.partition("=")[2]
        assert visitors == [known, known, "own"]


@pytest.mark.parametrize("signal", [{"sec_gpc": "1"}, {"dnt": "1"}])
async def test_with_gpc_or_dnt_the_hit_is_kept_and_no_cookie_is_set(
    tmp_path: Path, signal: dict[str, str]
) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        answers = [
            await client.get(f"/p.gif?site={SITE}", **signal),
            await client.post("/v1/track", {"site": SITE, "event": "x"}, **signal),
        ]
        assert [answer.header("set-cookie") for answer in answers] == ["", ""]
        assert [(hit.gpc, hit.dnt) for hit in spooled(tmp_path)] == [
            ("sec_gpc" in signal, "dnt" in signal)
        ] * 2


async def test_without_analytics_consent_no_cookie_is_set(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        assert not (await client.get(f"/p.gif?site={SITE}&consent=ads")).header("set-cookie")
        assert (await client.get(f"/p.gif?site={SITE}&consent=ads,analytics")).header("set-cookie")
        for blank in ("%20", "+"):
            answer = await client.get(f"/p.gif?site={SITE}&consent=ads,{blank}analytics")
            assert answer.header("set-cookie")
        assert {hit.consent for hit in spooled(tmp_path)} == {"ads", "ads,analytics"}


@pytest.mark.parametrize("kind", ["track", "page", "screen", "identify", "alias", "group"])
async def test_every_segment_endpoint_takes_basic_write_keys(tmp_path: Path, kind: str) -> None:
    async with running(config_of(tmp_path)) as (app, client):
        body = {"userId": "u", "event": "Signed Up", "previousId": "p", "groupId": "g"}
        answer = await client.post(f"/v1/{kind}", body, authorization="Basic c2hvcDo=")
        assert (answer.status, answer.json) == (200, {"success": True})
        assert app.metrics.accepted[kind] == 1
        expected = {"track": "sign_up", "page": "page_view", "screen": "screen_view"}.get(kind, kind)
        assert [hit.event for hit in spooled(tmp_path)] == [expected]


async def test_a_servers_agent_and_address_are_not_the_visitors(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        await client.post("/v1/track", {"site": SITE, "userId": "u"}, user_agent="python-requests/2")
        await client.post("/v1/track", {"site": SITE, "userId": "u"}, user_agent="Mozilla/5.0")
        assert [(hit.user_agent, hit.ip) for hit in spooled(tmp_path)] == [
            ("", ""),
            ("Mozilla/5.0", "127.0.0.0"),
        ]


async def test_a_batch_answers_for_every_index_and_keeps_what_is_good(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (app, client):
        batch = [{"event": "a", "userId": "u"}, {"event": "b", "userId": "u", "value": "-1"}, {"event": "c"}]
        answer = await client.post("/v1/batch", {"writeKey": SITE, "batch": batch})
        assert answer.status == 200
        results = answer.json["results"]
        assert [result["status"] for result in results] == [200, 422, 200]
        assert (results[1]["code"], results[1]["field"]) == ("negative_money", "value")
        assert results[1]["message"]
        assert [hit.event for hit in sorted(spooled(tmp_path), key=lambda hit: hit.event)] == ["a", "c"]
        assert app.metrics.accepted["batch"] == 2
        assert app.metrics.value(Counted.rejected, "batch", "negative_money") == 1


@pytest.mark.parametrize(
    ("batch", "status"),
    [
        ([{"value": "-1"}], 422),
        ([{"value": "-1"}, {"event": 1.5}], 400),
        ([{"site": "other"}], 401),
    ],
)
async def test_a_batch_of_which_nothing_is_kept_is_an_error(
    tmp_path: Path, batch: list[dict[str, object]], status: int
) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        answer = await client.post("/v1/batch", {"site": SITE, "batch": batch})
        assert answer.status == status
        assert len(answer.json["results"]) == len(batch)
        assert answer.json["code"]
        assert spooled(tmp_path) == []


async def test_beacons_and_gzip_bodies_are_taken(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        beacon = await client.post("/v1/track", {"site": SITE}, content_type="text/plain;charset=UTF-8")
        body = gzip.compress(b'{"site":"shop","event":"zipped"}')
        zipped = await client.post("/v1/track", body, content_encoding="gzip")
        assert (beacon.status, zipped.status) == (200, 200)
        assert [hit.event for hit in spooled(tmp_path)] == ["page_view", "zipped"]


async def test_a_preflight_is_answered_for_every_origin_without_credentials(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        answer = await client.request("OPTIONS", "/v1/track", b"", {"origin": "https://evil.example"})
        assert answer.status == 204
        assert answer.header("access-control-allow-origin") == "*"
        assert not answer.header("access-control-allow-credentials")


async def test_too_many_requests_from_one_network_wait(tmp_path: Path) -> None:
    config = config_of(tmp_path, rate_per_second=3, trusted_proxies=("127.0.0.0/8",))
    async with running(config) as (app, client):
        for host in range(3):
            assert (
                await client.get(f"/p.gif?site={SITE}", x_forwarded_for=f"203.0.113.{host}")
            ).status == 200
        pixel = await client.get(f"/p.gif?site={SITE}", x_forwarded_for="203.0.113.200")
        post = await client.post("/v1/track", {"site": SITE}, x_forwarded_for="203.0.113.201")
        other = await client.post("/v1/track", {"site": SITE}, x_forwarded_for="198.51.100.1")
        assert (pixel.status, pixel.body) == (200, GIF)
        assert (post.status, post.json["code"], post.header("retry-after")) == (429, "rate_limited", "1")
        assert other.status == 200
        spoofed = f"GET /p.gif?site={SITE} HTTP/1.1\r\nhost: x\r\n"
        spoofed += "x-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 203.0.113.5\r\n\r\n"
        assert (await client.send(spoofed.encode())).header("x-headwater-dropped") == "rate_limited"
        assert len(spooled(tmp_path)) == 4
        assert app.metrics.value(Counted.rejected, "p.gif", "rate_limited") == 2
        assert app.metrics.value(Counted.rejected, "track", "rate_limited") == 1


async def test_a_site_that_sends_too_much_waits_and_others_do_not(tmp_path: Path) -> None:
    config = config_of(tmp_path, sites=frozenset({SITE, "blog"}), rate_per_site=3)
    async with running(config) as (app, client):
        batch = {"site": SITE, "batch": [{"userId": str(n)} for n in range(30)]}
        assert (await client.post("/v1/batch", batch)).status == 200  # the bucket was full, the rest is lent
        pixel = await client.get(f"/p.gif?site={SITE}")
        post = await client.post("/v1/track", {"site": SITE})
        assert (pixel.body, pixel.header("x-headwater-dropped")) == (GIF, "rate_limited")
        assert (post.status, post.json["code"], post.json["field"]) == (429, "rate_limited", "site")
        assert (await client.post("/v1/track", {"site": "blog"})).status == 200
        assert not (await client.get("/p.gif?site=blog")).header("x-headwater-dropped")
        assert len(spooled(tmp_path)) == 32
        assert app.metrics.value(Counted.rejected, "p.gif", "rate_limited") == 1


async def test_a_full_spool_answers_503_and_the_pixel_counts_what_it_cannot_keep(tmp_path: Path) -> None:
    async with running(config_of(tmp_path, spool_max_bytes=1000)) as (app, client):
        answers = [await client.post("/v1/track", {"site": SITE, "event_id": str(n)}) for n in range(20)]
        statuses = [answer.status for answer in answers]
        kept = statuses.index(503)
        assert statuses == [200] * kept + [503] * (20 - kept)
        assert (answers[-1].json["code"], answers[-1].header("retry-after")) == ("not_durable", "5")
        pixel = await client.get(f"/p.gif?site={SITE}")
        assert (pixel.status, pixel.body) == (200, GIF)
        assert pixel.header("x-headwater-dropped") == "not_durable"
        assert app.metrics.value(Counted.rejected, "p.gif", "not_durable") == 1
        batch = await client.post("/v1/batch", {"site": SITE, "batch": [{}] * 100})
        assert batch.status == 503
        assert [hit.event_id for hit in spooled(tmp_path)] == [str(n) for n in range(kept)]
        assert (await client.get("/healthz")).status == 200


async def test_ready_means_that_hits_can_be_stored_and_not_that_the_broker_is_there(tmp_path: Path) -> None:
    async with running(config_of(tmp_path / "spool")) as (_, client):
        assert (await client.get("/readyz")).json == {"ready": True, "reason": ""}
        (tmp_path / "spool" / "lock").unlink()
        (tmp_path / "spool").rmdir()
        pixel = await client.get(f"/p.gif?site={SITE}")
        assert (pixel.body, pixel.header("x-headwater-dropped")) == (GIF, "not_durable")
        assert (await client.post("/v1/track", {"site": SITE})).status == 503
        assert (await client.get("/readyz")).status == 503
        (tmp_path / "spool").mkdir()

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status == 200

        await eventually(is_ready)
        assert (await client.post("/v1/track", {"site": SITE})).status == 200


async def test_metrics_name_their_meaning_and_are_private(tmp_path: Path) -> None:
    async with running(config_of(tmp_path, trusted_proxies=("127.0.0.0/8",))) as (_, client):
        await client.get(f"/p.gif?site={SITE}")
        await client.get("/p.gif?site=other")
        text = (await client.get("/metrics")).body.decode()
        assert 'headwater_collector_accepted_total{endpoint="p.gif"} 1.0' in text
        assert 'headwater_collector_rejected_total{endpoint="p.gif",reason="unknown_site"} 1.0' in text
        assert "# HELP headwater_spool_bytes " in text
        assert "headwater_spool_oldest_seconds" in text
        assert (await client.get("/metrics", x_forwarded_for="8.8.8.8")).status == 404


async def test_a_proxy_that_nobody_named_does_not_open_the_metrics_to_the_world(tmp_path: Path) -> None:
    """All its clients would look like its own, private, address."""
    async with running(config_of(tmp_path)) as (_, client):
        assert (await client.get("/metrics")).status == 200
        assert (await client.get("/metrics", x_forwarded_for="8.8.8.8")).status == 404
        assert (await client.get("/metrics", x_forwarded_for="10.0.0.1")).status == 404


async def test_the_interface_tells_itself_to_anybody(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (_, client):
        answer = await client.get("/openapi.json")
        assert (answer.status, answer.json["openapi"][:4]) == (200, "3.1.")
        assert answer.header("content-type") == "application/json"
        assert answer.header("x-content-type-options") == "nosniff"


async def test_the_paths_of_segments_library_for_browsers_are_taken(tmp_path: Path) -> None:
    """As it posts them: text/plain, the key in the body, one event at its type's first letter, or a batch."""
    async with running(config_of(tmp_path)) as (app, client):
        event = {
            "type": "track",
            "event": "Signed Up",
            "anonymousId": "a",
            "writeKey": SITE,
            "messageId": "m1",
        }
        one = await client.post("/v1/t", event, content_type="text/plain")
        batch = {"writeKey": SITE, "batch": [{"type": "page", "anonymousId": "a", "writeKey": SITE}]}
        many = await client.post("/v1/b", batch, content_type="text/plain")
        assert (one.status, many.status) == (200, 200)
        assert sorted(hit.event for hit in spooled(tmp_path)) == ["page_view", "sign_up"]
        assert (app.metrics.accepted["track"], app.metrics.accepted["batch"]) == (1, 1)
        assert (await client.post("/v1/i", {"site": "other"})).status == 401
        assert app.metrics.value(Counted.rejected, "identify", "unknown_site") == 1


async def test_bodies_of_all_connections_together_have_a_limit(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    async with running(config) as (app, client):
        app.body_room.size = 2_000
        body = json.dumps({"site": SITE, "title": "x" * 1_500}).encode()
        head = b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", config.port)
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body[:1_200])
        await eventually(lambda: app.body_room.taken == 1_200)
        refused = await client.post("/v1/track", body)
        assert (refused.status, refused.json["code"], refused.header("retry-after")) == (503, "too_busy", "1")
        assert (await client.get(f"/p.gif?site={SITE}")).body == GIF
        assert (await client.post("/v1/track", {"site": SITE})).status == 200
        writer.write(body[1_200:])
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        assert app.body_room.taken == 0
        writer.write(head + b"content-length: 5000\r\n\r\n" + body[:1_200])
        await eventually(lambda: app.body_room.taken == 1_200)
        writer.close()  # in the middle of its body
        await eventually(lambda: app.body_room.taken == 0)
        assert (await client.post("/v1/track", body)).status == 200


async def test_there_are_exactly_the_routes_of_the_contract(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (app, client):
        senders = ["hubspot", "salesforce", "pipedrive", "stripe", "shopify", "standard"]
        kinds = ["track", "page", "screen", "identify", "alias", "group", "batch"]
        assert sorted(app.routes) == sorted(
            ["/p.gif", "/v1/spend", "/postback", "/healthz", "/readyz", "/metrics", "/openapi.json"]
            + [f"/v1/{kind}" for kind in kinds]
            + [f"/v1/{kind[0]}" for kind in kinds]
            + [f"/webhooks/{sender}" for sender in senders]
        )
        for method, path, status in [
            ("GET", "/", 404),
            ("GET", "/v1/track", 405),
            ("POST", "/p.gif", 405),
            ("DELETE", "/v1/batch", 405),
            ("GET", "/p.gif/", 404),
        ]:
            answer = await client.request(method, path, b"", {})
            assert (answer.status, bool(answer.json["code"])) == (status, True)
        assert (await client.request("PUT", "/v1/page", b"", {})).header("allow") == "POST, OPTIONS"


async def test_requests_under_way_are_answered_when_the_server_stops(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    clients = [Client(config.port) for _ in range(20)]
    async with running(config):
        answers = asyncio.gather(*(client.get(f"/p.gif?site={SITE}") for client in clients))
        await eventually(lambda: spooled(tmp_path))
    assert [answer.status for answer in await answers] == [200] * 20
    assert len(spooled(tmp_path)) == 20
    for client in clients:
        await client.close()


async def test_a_port_in_use_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    port = free_port()
    async with running(config_of(tmp_path / "a", port=port)):
        with pytest.raises(Misconfigured, match="HEADWATER_COLLECTOR_PORT"):
            await serve(create_app(config_of(tmp_path / "b", port=port)), asyncio.Event())
