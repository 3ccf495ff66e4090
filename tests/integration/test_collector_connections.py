"""The collector on the open internet: raw bytes in, answers in order, what may be read in two ways is refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import uvloop
from collector_kit import config_of, eventually, running, spooled
from collector_wire import HOST, PIXEL, chunked, collecting, event, post, refused, wired

from collector.responses import GIF


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """uvloop is what runs; asyncio's own loop is stricter about what may be done to a transport, and when."""
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"content-length: 5\r\ntransfer-encoding: chunked\r\n", id="length and chunked"),
        pytest.param(b"transfer-encoding: chunked\r\ncontent-length: 5\r\n", id="chunked and length"),
        pytest.param(b"content-length: 5\r\ncontent-length: 5\r\n", id="two lengths"),
        pytest.param(b"content-length: 5, 5\r\n", id="list of lengths"),
        pytest.param(b"content-length: +5\r\n", id="length with a sign"),
        pytest.param(b"content-length: 0x5\r\n", id="length in hex"),
        pytest.param(b"content-length: 99999999999999999999\r\n", id="length beyond 64 bits"),
        pytest.param(b"content-length:\r\n", id="empty length"),
        pytest.param(b"transfer-encoding: gzip, chunked\r\n", id="another coding below"),
        pytest.param(b"transfer-encoding: identity\r\n", id="identity"),
        pytest.param(b"transfer-encoding: chunked, identity\r\n", id="chunked not last"),
        pytest.param(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", id="chunked twice"),
        pytest.param(b"transfer-encoding: \x0bchunked\r\n", id="chunked after a control byte"),
        pytest.param(b"content-length : 5\r\n", id="blank before the colon"),
        pytest.param(b"x: a\r\n content-length: 5\r\n", id="folded line"),
        pytest.param(b"x: a\ncontent-length: 5\r\n", id="bare line feed"),
        pytest.param(b"x: a\x00b\r\n", id="zero byte"),
        pytest.param(b"no colon\r\n", id="no colon"),
        pytest.param(b"host: other\r\n", id="two hosts"),
    ],
)
async def test_what_two_servers_could_read_differently_is_refused_and_nothing_after_it_is_read(
    tmp_path: Path, head: bytes
) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        smuggled = b"0\r\n\r\n" + PIXEL % 1
        answer = await wire.ask(b"POST /v1/track HTTP/1.1\r\n" + HOST + head + b"\r\n" + smuggled)
        assert (answer.status, answer.json["code"]) == (400, "bad_http")
        assert answer.header("connection") == "close"
        assert await wire.rest() == b""
        assert sum(refused(app).values()) == 1
        assert spooled(tmp_path) == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /p.gif?site=shop HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET /p.gif?site=shop\r\n\r\n", id="HTTP/0.9"),
        pytest.param(b"GET /p.gif?site=shop HTTP/3.0\r\n" + HOST + b"\r\n", id="HTTP/3.0"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 with prior knowledge"),
        pytest.param(
            b"POST /v1/track HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", id="HTTP/1.0 chunked"
        ),
        pytest.param(b"CONNECT a.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", id="CONNECT"),
        pytest.param(b"get /p.gif?site=shop HTTP/1.1\r\n" + HOST + b"\r\n", id="method in lower case"),
        pytest.param(b"GET p.gif?site=shop HTTP/1.1\r\n" + HOST + b"\r\n", id="no slash"),
        pytest.param(b"GET /p.gif?a b HTTP/1.1\r\n" + HOST + b"\r\n", id="blank in the URL"),
    ],
)
async def test_other_protocols_and_broken_request_lines_are_refused(
    tmp_path: Path, request_bytes: bytes
) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        answer = await wire.ask(request_bytes)
        assert (answer.status, answer.json["code"]) == (400, "bad_http")
        assert refused(app) == {("other", "bad_http"): 1}
        assert spooled(tmp_path) == []


async def test_a_broken_chunk_is_refused_by_its_route(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        answer = await wire.ask(post(b"5 \r\nhello\r\n0\r\n\r\n", b"transfer-encoding: chunked\r\n"))
        assert (answer.status, answer.json["code"]) == (400, "bad_http")
        assert refused(app) == {("track", "bad_http"): 1}


async def test_chunked_bodies_are_taken_and_their_trailers_say_nothing(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path, trusted_proxies=("127.0.0.0/8",))) as (_, wire):
        body = event("e1")
        data = chunked(body[:7], body[7:], trailers=b"x-forwarded-for: 203.0.113.9\r\nhost: other\r\n")
        coding = b"transfer-encoding: Chunked\r\n"
        answer = await wire.ask(post(data, coding, b"user-agent: Mozilla/5.0\r\n"))
        assert answer.status == 200
        assert (await wire.ask(PIXEL % 2)).status == 200
        assert [(hit.event_id, hit.ip) for hit in spooled(tmp_path)] == [
            ("e1", "127.0.0.0"),
            ("2", "127.0.0.0"),
        ]


async def test_a_chunked_body_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        sent = 0

        async def pour() -> None:
            nonlocal sent
            await wire.send(post(b"", b"transfer-encoding: chunked\r\n"))
            with suppress(OSError):
                while True:
                    await wire.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                    sent += 0x10000

        pouring = asyncio.create_task(pour())
        answer = await wire.answer()
        assert (answer.status, answer.json["code"]) == (413, "body_too_large")
        assert refused(app) == {("track", "body_too_large"): 1}
        await wire.rest()
        pouring.cancel()


@pytest.mark.parametrize("path", [b"/p.gif?site=shop", b"/healthz"])
async def test_a_get_may_have_a_body_that_nobody_reads(tmp_path: Path, path: bytes) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        head = b"GET " + path + b" HTTP/1.1\r\n" + HOST
        assert (await wire.ask(head + b"content-length: 5\r\n\r\nhello")).status == 200
        assert (await wire.ask(head + b"content-length: 5000000\r\n\r\n" + bytes(2_500_000))).status in (
            200,
            413,
        )
        assert sum(refused(app).values()) == 1
        assert len(spooled(tmp_path)) == path.startswith(b"/p.gif")


async def test_a_client_that_asks_first_is_told_to_send_its_body(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (_, wire):
        body = event("e1")
        head, _ = post(body, b"expect: 100-Continue\r\n").split(b"\r\n\r\n")
        await wire.send(PIXEL % 0 + head + b"\r\n\r\n")
        assert (await wire.answer()).body == GIF
        assert (await wire.answer()).status == 100
        assert (await wire.ask(body)).status == 200
        assert (await wire.ask(post(body, b"expect: 100-continue\r\n"))).status == 200  # it did not wait


@pytest.mark.parametrize(
    ("head", "status"),
    [(b"content-length: 2000000\r\n", 413), (b"content-type: text/html\r\ncontent-length: 5\r\n", 415)],
)
async def test_a_client_that_asks_first_is_told_not_to_send_its_body(
    tmp_path: Path, head: bytes, status: int
) -> None:
    async with collecting(config_of(tmp_path)) as (_, wire):
        head += b"" if b"type" in head else b"content-type: application/json\r\n"
        answer = await wire.ask(
            b"POST /v1/track HTTP/1.1\r\n" + HOST + head + b"expect: 100-continue\r\n\r\n"
        )
        assert (answer.status, answer.header("connection")) == (status, "close")
        assert await wire.rest() == b""


async def test_pipelined_requests_are_answered_in_their_order(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        bad = b"GET /p.gif?site=nobody HTTP/1.1\r\n" + HOST + b"\r\n"
        health = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
        kinds = [PIXEL % 1, health, bad, post(event("p")), PIXEL % 2, bad, health, post(b"{")] * 60
        await wire.send(b"".join(kinds))
        answers = [await wire.answer() for _ in kinds]
        said = [(a.status, a.body[:10], a.header("x-headwater-dropped")) for a in answers]
        gif, healthy, dropped = (200, GIF[:10], ""), (200, b'{"healthy"', ""), (200, GIF[:10], "unknown_site")
        expected = [gif, healthy, dropped, (200, b'{"success"', ""), gif, dropped, healthy]
        assert said == [*expected, (400, b'{"code":"m', "")] * 60
        assert len(spooled(tmp_path)) == 180
        assert refused(app) == {("p.gif", "unknown_site"): 120, ("track", "malformed"): 60}


async def test_a_refusal_waits_for_the_answers_before_it(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (_, wire):
        await wire.send(PIXEL % 1 + post(event("2")) + b"nonsense\r\n\r\n")
        assert [(await wire.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await wire.rest() == b""
        assert [hit.event_id for hit in spooled(tmp_path)] == ["1", "2"]


async def test_http_1_0_closes_unless_asked_to_stay(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)) as (app, _):
        async with wired(app.config.port) as wire:
            stays = await wire.ask(b"GET /p.gif?site=shop HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
            assert (stays.body, stays.header("connection")) == (GIF, "keep-alive")
            closes = await wire.ask(b"GET /p.gif?site=shop HTTP/1.0\r\n\r\n")
            assert (closes.body, closes.header("connection")) == (GIF, "close")
            assert await wire.rest() == b""
        async with wired(app.config.port) as wire:
            request = b"GET /healthz HTTP/1.1\r\nconnection: close\r\n" + HOST + b"\r\n"
            closes = await wire.ask(request + PIXEL % 1)
            assert (closes.status, closes.header("connection")) == (200, "close")
            assert await wire.rest() == b""
        assert len(spooled(tmp_path)) == 2


@pytest.mark.parametrize(
    ("target", "title"),
    [
        (b"http://shop.example/p.gif?site=shop&title=a", "a"),
        (b"http://shop.example:80/p.gif?site=shop&title=a%2Fb#part", "a/b"),
        (b"/p.gif?site=shop&title=a#part", "a"),
        (b"/%70.gif?site=shop&title=a", "a"),
        (b"/p.gif?site=shop&title=" + "Café".encode(), "Café"),
        (b"/p.gif?site=shop&title=caf\xe9", "caf\ufffd"),
    ],
)
async def test_targets_in_every_form_are_understood(tmp_path: Path, target: bytes, title: str) -> None:
    async with collecting(config_of(tmp_path)) as (_, wire):
        assert (await wire.ask(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")).body == GIF
        assert [hit.title for hit in spooled(tmp_path)] == [title]


async def test_an_upgrade_is_ignored_and_the_body_is_read(tmp_path: Path) -> None:
    """Java's client asks for HTTP/2 with its first request, whatever that is."""
    async with collecting(config_of(tmp_path)) as (_, wire):
        wish = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
        await wire.send(
            post(event("1"), wish)
            + PIXEL % 2
            + post(chunked(event("3")), wish, b"transfer-encoding: chunked\r\n")
        )
        assert [(await wire.answer()).status for _ in range(3)] == [200, 200, 200]
        socket_wish = b"connection: Upgrade\r\nupgrade: websocket\r\n"
        assert (await wire.ask(b"GET /ws HTTP/1.1\r\n" + HOST + socket_wish + b"\r\n")).status == 404
        assert (await wire.ask(PIXEL % 4)).status == 200
        last = await wire.ask(post(event("5"), wish, b"connection: close\r\n"))
        assert (last.status, last.header("connection")) == (200, "close")
        assert sorted(hit.event_id for hit in spooled(tmp_path)) == ["1", "2", "3", "4", "5"]


async def test_head_is_answered_without_a_body(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        await wire.send(b"HEAD /p.gif HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = await wire.answer(is_head=True)
        assert (answer.status, answer.header("allow")) == (405, "GET, OPTIONS")
        assert int(answer.header("content-length")) > 0
        assert (await wire.ask(PIXEL % 1)).body == GIF
        assert refused(app) == {("p.gif", "method_not_allowed"): 1}


async def test_answers_are_dated_and_do_not_name_the_server(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (_, wire):
        for request in (PIXEL % 1, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"):
            answer = await wire.ask(request)
            assert parsedate_to_datetime(answer.header("date")).tzinfo is not None
            assert not answer.header("server")


async def test_who_sends_no_more_may_still_read(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (_, wire):
        await wire.send(PIXEL % 1 + post(event("2")))
        wire.writer.write_eof()
        assert [(await wire.answer()).status for _ in range(2)] == [200, 200]
        assert await wire.rest() == b""
        assert len(spooled(tmp_path)) == 2


@pytest.mark.parametrize(
    ("part", "endpoint"),
    [
        (b"GE", "other"),
        (b"GET /p.gif?site=shop", "other"),
        (b"GET /p.gif?site=shop HTTP/1.1\r\nhost: x\r\nuser-agent: y\r\n", "p.gif"),
        (b"GET /p.gif?site=shop HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabc", "p.gif"),
        (post(event("1"))[:-1], "track"),
        (post(chunked(event("1")), b"transfer-encoding: chunked\r\n")[:-9], "track"),
    ],
)
@pytest.mark.parametrize("abruptly", [False, True])
async def test_half_a_request_is_counted(tmp_path: Path, part: bytes, endpoint: str, abruptly: bool) -> None:
    config = config_of(tmp_path)
    async with running(config) as (app, _):
        async with wired(config.port) as wire:
            await wire.send(part)
            if not abruptly:
                wire.writer.write_eof()
                await wire.rest()
        await eventually(lambda: refused(app) == {(endpoint, "incomplete"): 1})
        assert spooled(tmp_path) == []
