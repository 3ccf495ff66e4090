"""Bad input: a clear 4xx or the pixel's GIF, a counted reason, the process unharmed."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from collector_kit import SITE, Client, config_of, eventually, running, spooled

from collector.app import CollectorApp
from collector.fields import MAX_LENGTH
from collector.metrics import Counted
from collector.responses import GIF

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
async def collector(tmp_path: Path) -> AsyncIterator[tuple[CollectorApp, Client]]:
    """A collector that must still answer after the test."""
    async with running(config_of(tmp_path)) as (app, client):
        yield app, client
        await client.close()  # a body that was refused unread costs its connection
        before = len(spooled(tmp_path))
        assert (await client.get(f"/p.gif?site={SITE}")).status == 200
        assert (await client.get("/healthz")).status == 200
        assert len(spooled(tmp_path)) == before + 1
        assert not [key for key in app.metrics._counts if "internal" in key[1]]


def refused(app: CollectorApp) -> dict[tuple[str, ...], float]:
    return {key[1]: count for key, count in app.metrics._counts.items() if key[0] is Counted.rejected}


def deep(depth: int) -> bytes:
    return b'{"site":"shop","properties":{"a":' + b"[" * depth + b"]" * depth + b"}}"


def track(**fields: Any) -> bytes:
    return json.dumps({"site": SITE, "event": "x", "userId": "u", **fields}).encode()


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        pytest.param(b'{"site":', {}, 400, "malformed", id="malformed JSON"),
        pytest.param(b"[1]", {}, 400, "malformed", id="no object"),
        pytest.param(track(event=7.5), {}, 400, "wrong_type", id="number as event"),
        pytest.param(track(properties="p"), {}, 400, "wrong_type", id="text as properties"),
        pytest.param(track(userId={"a": 1}), {}, 400, "wrong_type", id="object as user"),
        pytest.param(track(site="nobody"), {}, 401, "unknown_site", id="unknown site"),
        pytest.param(b'{"event":"x"}', {}, 401, "unknown_site", id="no site"),
        pytest.param(
            gzip.compress(b'{"site":"' + bytes(50_000_000)),
            {"content_encoding": "gzip"},
            413,
            "gzip_bomb",
            id="gzip bomb",
        ),
        pytest.param(b"{}", {"content_encoding": "gzip"}, 400, "bad_encoding", id="no gzip"),
        pytest.param(b"{}", {"content_encoding": "br"}, 415, "unsupported_media_type", id="brotli"),
        pytest.param(b"{}", {"content_type": "text/html"}, 415, "unsupported_media_type", id="html"),
        pytest.param(track(url="https://a/" + "a" * 990_000), {}, 413, "event_too_large", id="1 MB URL"),
        pytest.param(track(url="https://a/" + "a" * 1_100_000), {}, 413, "body_too_large", id="1.1 MB body"),
        pytest.param(track(url="https://a/" + "a" * 9_000), {}, 422, "too_long", id="9 KB URL"),
        pytest.param(
            track(properties={f"p{n}": 1 for n in range(5_000)}),
            {},
            400,
            "too_many_keys",
            id="5,000 properties",
        ),
        pytest.param(
            track(properties={f"p{n}": 1 for n in range(10_000)}),
            {},
            413,
            "event_too_large",
            id="10,000 properties",
        ),
        pytest.param(deep(20), {}, 400, "too_deep", id="nested 20"),
        pytest.param(deep(30_000), {}, 400, "too_deep", id="nested 30,000"),
        pytest.param(b'{"site":"shop","event":"\xff\xfe"}', {}, 400, "not_utf8", id="invalid UTF-8"),
        pytest.param(track(timestamp="1066-10-14"), {}, 422, "bad_time", id="year 1066"),
        pytest.param(track(timestamp="99999-01-01"), {}, 422, "bad_time", id="year 99999"),
        pytest.param(track(timestamp=1e30), {}, 400, "wrong_type", id="time as float"),
        pytest.param(track(timestamp=10**30), {}, 422, "bad_time", id="huge time"),
        pytest.param(track(sentAt="soon"), {}, 422, "bad_time", id="bad sentAt"),
        pytest.param(track(value="-1"), {}, 422, "negative_money", id="negative money"),
        pytest.param(track(value=-0.5), {}, 422, "negative_money", id="negative number"),
        pytest.param(track(value="NaN"), {}, 422, "bad_money", id="NaN money"),
        pytest.param(track(value=float("nan")), {}, 400, "malformed", id="NaN in JSON"),
        pytest.param(track(value="١٢"), {}, 422, "bad_money", id="Arabic digits"),
        pytest.param(track(value="1", currency="ZZZ"), {}, 422, "unknown_currency", id="unknown currency"),
        pytest.param(track(email_sha256="x@y.z"), {}, 422, "bad_email_hash", id="plain e-mail"),
        pytest.param(b"", {}, 400, "malformed", id="empty"),
    ],
)
async def test_a_bad_body_is_refused_with_its_reason(
    collector: tuple[CollectorApp, Client],
    tmp_path: Path,
    body: bytes,
    headers: dict[str, str],
    status: int,
    reason: str,
) -> None:
    app, client = collector
    answer = await client.post("/v1/track", body, **headers)
    assert (answer.status, answer.json["code"]) == (status, reason)
    assert set(answer.json) == {"code", "message", "field"}
    assert answer.json["message"]
    assert answer.header("content-type") == "application/json"
    assert answer.header("x-content-type-options") == "nosniff"
    assert app.metrics.value(Counted.rejected, "track", reason) == 1
    assert spooled(tmp_path) == []


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "unknown_site"),
        ("site=nobody", "unknown_site"),
        ("site=shop&url=https://a/" + "a" * 9_000, "too_long"),
        ("site=shop&url=https://a/" + "a" * 62_000, "too_long"),
        ("site=shop&" + "&".join(f"props.p{n}=1" for n in range(3_000)), "too_many_keys"),
        ("site=shop&occurred_at=0000-00-00", "bad_time"),
        ("site=shop&occurred_at=9999999999999999999999", "bad_time"),
        ("site=shop&value=-1&currency=EUR", "negative_money"),
        ("site=shop&value=nan", "bad_money"),
        ("site=shop&value=1&currency=DOGE", "unknown_currency"),
        ("site=shop&url=javascript:alert(1)", "bad_url"),
    ],
)
async def test_a_bad_pixel_is_still_a_gif_and_counted(
    collector: tuple[CollectorApp, Client], tmp_path: Path, query: str, reason: str
) -> None:
    app, client = collector
    answer = await client.get(f"/p.gif?{query}")
    assert (answer.status, answer.body) == (200, GIF)
    assert answer.header("x-headwater-dropped") == reason
    assert app.metrics.value(Counted.rejected, "p.gif", reason) == 1
    assert spooled(tmp_path) == []


async def test_invalid_utf8_in_a_query_is_replaced(
    collector: tuple[CollectorApp, Client], tmp_path: Path
) -> None:
    _, client = collector
    await client.get("/p.gif?site=shop&title=%C3%28%FF&props.x=%80")
    (hit,) = spooled(tmp_path)
    assert hit.title == "\ufffd(\ufffd"


@pytest.mark.parametrize("field", sorted(set(MAX_LENGTH) - {"ip", "user_agent"}))
async def test_a_script_in_any_pixel_field_is_refused_or_kept_as_text(
    collector: tuple[CollectorApp, Client], tmp_path: Path, field: str
) -> None:
    app, client = collector
    answer = await client.get(f"/p.gif?site=shop&{field}={quote(SCRIPT)}")
    assert answer.body == GIF
    hits = spooled(tmp_path)
    assert len(hits) + sum(refused(app).values()) == 1
    if hits:
        assert getattr(hits[0], field) == ("" if field == "referrer" else SCRIPT)  # no address: left out


@pytest.mark.parametrize(
    "field", [*sorted(set(MAX_LENGTH) - {"ip", "user_agent"}), "properties", "traits", "context"]
)
async def test_a_script_in_any_json_field_is_refused_or_kept_as_text(
    collector: tuple[CollectorApp, Client], tmp_path: Path, field: str
) -> None:
    _, client = collector
    answer = await client.post("/v1/track", track(**{field: SCRIPT}))
    hits = spooled(tmp_path)
    assert answer.status in (200, 400, 401, 422)
    assert len(hits) == (answer.status == 200)
    assert SCRIPT.encode() not in answer.body
    if hits:
        assert getattr(hits[0], field) == ("" if field == "referrer" else SCRIPT)  # no address: left out


@pytest.mark.parametrize(
    ("request_bytes", "status", "endpoint", "reason"),
    [
        pytest.param(
            b"GET /p.gif?url=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
            200,
            "p.gif",
            "url_too_long",
            id="1 MB URL",
        ),
        pytest.param(
            b"POST /v1/track?" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
            414,
            "track",
            "url_too_long",
            id="1 MB URL of a POST",
        ),
        pytest.param(
            b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
            414,
            "other",
            "url_too_long",
            id="1 MB path",
        ),
        pytest.param(
            b"GET /p.gif HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 300_000 + b"\r\n\r\n",
            200,
            "p.gif",
            "headers_too_large",
            id="300 KB header",
        ),
        pytest.param(
            b"POST /v1/batch HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n",
            431,
            "batch",
            "headers_too_large",
            id="1 MB header of a POST",
        ),
        pytest.param(
            b"GET /p.gif HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 101 + b"\r\n",
            200,
            "p.gif",
            "headers_too_large",
            id="101 headers",
        ),
        pytest.param(
            b"POST /v1/page HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
            431,
            "page",
            "headers_too_large",
            id="10,000 headers of a POST",
        ),
        pytest.param(b"\x16\x03\x01 nonsense\r\n\r\n", 400, "other", "bad_http", id="TLS to a plain port"),
        pytest.param(bytes(range(256)) * 40, 400, "other", "bad_http", id="garbage"),
        pytest.param(
            b"GET /p.gif?a=\x00 HTTP/1.1\r\n\r\n",
            400,
            "other",
            "bad_http",
            id="control byte in the request line",
        ),
        pytest.param(
            b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}",
            400,
            "other",
            "bad_http",
            id="two lengths",
        ),
        pytest.param(
            b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2000000\r\n\r\n",
            413,
            "track",
            "body_too_large",
            id="declared 2 MB",
        ),
    ],
)
async def test_what_is_no_sane_http_is_refused_and_counted(
    collector: tuple[CollectorApp, Client], request_bytes: bytes, status: int, endpoint: str, reason: str
) -> None:
    app, _ = collector
    other = Client(app.config.port)
    answer = await other.send(request_bytes)
    assert answer.status == status
    assert answer.header("connection") == "close"
    if endpoint == "p.gif":
        assert (answer.body, answer.header("x-headwater-dropped")) == (GIF, reason)
    else:
        assert answer.json["code"] == reason
    assert refused(app) == {(endpoint, reason): 1}
    await other.close()


@pytest.mark.parametrize("name", ["user-agent", "cookie", "referer", "x-forwarded-for", "authorization"])
async def test_headers_that_are_not_utf8_harm_nobody(
    collector: tuple[CollectorApp, Client], tmp_path: Path, name: str
) -> None:
    _, client = collector
    raw = f"GET /p.gif?site={SITE} HTTP/1.1\r\nhost: x\r\n{name}: ".encode() + b"caf\xe9\xff\xc3(\r\n\r\n"
    assert (await client.send(raw)).body == GIF
    assert len(spooled(tmp_path)) == 1


async def test_a_client_that_goes_away_in_the_middle_of_its_body_harms_nobody(
    collector: tuple[CollectorApp, Client], tmp_path: Path
) -> None:
    import asyncio

    app, _ = collector
    _, writer = await asyncio.open_connection("127.0.0.1", app.config.port)
    writer.write(
        b"POST /v1/track HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    )
    await writer.drain()
    writer.close()
    await eventually(lambda: refused(app) == {("track", "incomplete"): 1})
    assert spooled(tmp_path) == []


async def test_bad_events_leave_the_rest_of_their_batch(
    collector: tuple[CollectorApp, Client], tmp_path: Path
) -> None:
    app, client = collector
    events = [
        track(event="first"),
        b'{"event":"\xff"}',
        deep(20),
        deep(5_000),
        track(value="NaN"),
        track(event="last"),
    ]
    body = b'{"site":"shop","batch":[' + b",".join(events) + b"]}"
    answer = await client.post("/v1/batch", body)
    assert answer.status == 200
    codes = [result.get("code", "") for result in answer.json["results"]]
    assert codes == ["", "not_utf8", "too_deep", "too_deep", "bad_money", ""]
    assert {hit.event for hit in spooled(tmp_path)} == {"first", "last"}
    assert app.metrics.value(Counted.rejected, "batch", "too_deep") == 2
