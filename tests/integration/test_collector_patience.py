"""Slow and hostile clients of the collector, more of them than there is room for, and stopping."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from collector_kit import config_of, eventually, is_open, running, spooled
from collector_wire import PIXEL, collecting, event, post, refused, wired

from collector.app import create_app
from collector.responses import GIF
from collector.server import serve


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """uvloop is what runs; asyncio's own loop is stricter about what may be done to a transport, and when."""
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of time that a test can wait for."""
    monkeypatch.setattr("collector.server._TICK_SECONDS", 0.05)
    monkeypatch.setattr("collector.bodies.BODY_SECONDS", 0.3)
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(f"collector.connection.{name}", 0.3)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("part", "drip", "endpoint", "reason"),
    [
        (b"GET /p.gif?site=shop HTTP/1.1\r\nhost: x\r\nx: ", b"y", "p.gif", "slow_request"),
        (b"POST /v1/track HTTP/1.1\r\nhost: x\r\nx: ", b"y", "track", "slow_request"),
        (b"GET /", b"y", "other", "slow_request"),
        (post(event("1"))[:-20], b" ", "track", "slow_body"),
        (
            b"GET /p.gif?site=shop HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n",
            b" ",
            "p.gif",
            "slow_body",
        ),
    ],
)
async def test_who_sends_drop_by_drop_is_let_go(
    tmp_path: Path, part: bytes, drip: bytes, endpoint: str, reason: str
) -> None:
    async with collecting(config_of(tmp_path)) as (app, wire):
        await wire.send(part)
        answering = asyncio.create_task(wire.answer())
        while not answering.done():
            with suppress(OSError):
                await wire.send(drip)
            await asyncio.sleep(0.05)
        answer = await answering
        if endpoint == "p.gif":
            assert (answer.body, answer.header("x-headwater-dropped")) == (GIF, reason)
        else:
            assert (answer.status, answer.json["code"]) == (408, reason)
        await wire.rest()
        assert refused(app) == {(endpoint, reason): 1}
        assert spooled(tmp_path) == []


@pytest.mark.usefixtures("impatient")
async def test_idle_connections_are_closed_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.connection.IDLE_SECONDS", 0.3)
    config = config_of(tmp_path)
    async with collecting(config) as (app, used), wired(config.port) as unused:
        assert (await used.ask(PIXEL % 1)).body == GIF
        assert [await used.rest(), await unused.rest()] == [b"", b""]
        assert refused(app) == {}


@pytest.mark.usefixtures("impatient")
async def test_a_refused_client_that_goes_on_sending_is_cut(tmp_path: Path) -> None:
    async with collecting(config_of(tmp_path)) as (_, wire):
        assert (await wire.ask(b"GET /" + b"a" * 100_000)).status == 414

        async def pour() -> None:
            while True:
                await wire.send(bytes(1000))
                await asyncio.sleep(0.02)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(pour(), 20)


async def test_more_connections_than_there_is_room_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.server.MAX_CONNECTIONS", 2)
    config = config_of(tmp_path)
    async with running(config) as (app, _):
        await eventually(lambda: refused(app) == {})
        async with wired(config.port) as first, wired(config.port) as second:
            assert (await first.ask(PIXEL % 1)).status == (await second.ask(PIXEL % 2)).status == 200
            async with wired(config.port) as third:
                answer = await third.answer()
                assert (answer.status, answer.json["code"]) == (503, "too_many_connections")
                assert answer.header("retry-after") == "5"
                assert await third.rest() == b""
            assert (await first.ask(PIXEL % 3)).status == 200
        assert refused(app) == {("other", "too_many_connections"): 1}

        async def has_room() -> bool:
            async with wired(config.port) as another:
                return (await another.ask(PIXEL % 4)).status == 200

        assert await eventually(has_room)


async def test_a_stopping_server_answers_what_has_begun_and_closes_what_is_idle(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    app, stopped = create_app(config), asyncio.Event()
    serving = asyncio.create_task(serve(app, stopped))
    await eventually(lambda: is_open(config.port))
    async with wired(config.port) as idle, wired(config.port) as busy, wired(config.port) as fresh:
        assert (await idle.ask(PIXEL % 1)).header("connection") == "keep-alive"
        request = post(event("2"))
        await busy.send(request[:-5])
        assert (await fresh.ask(PIXEL % 3)).status == 200
        stopped.set()
        assert await idle.rest() == b""
        await eventually(lambda: not is_open(config.port))
        answer = await busy.ask(request[-5:])
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await busy.rest() == b""
    await serving
    assert sorted(hit.event_id for hit in spooled(tmp_path)) == ["1", "2", "3"]


async def test_a_client_that_never_ends_its_request_does_not_hold_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.server._STOP_SECONDS", 0.2)
    config = config_of(tmp_path)
    async with collecting(config) as (app, wire):
        await wire.send(b"GET /p.gif?site=shop HTTP/1.1\r\n")
        assert (await asyncio.to_thread(_ask_once, config.port)) == GIF
    assert refused(app) == {("other", "incomplete"): 1}


def _ask_once(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(b"GET /p.gif?site=shop HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: client.recv(4096), b""))[-43:]


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine speaks no IPv6")
@pytest.mark.parametrize(
    ("listens", "asks", "kept"), [("::1", "::1", "::"), ("::", "127.0.0.1", "127.0.0.0"), ("::", "::1", "::")]
)
async def test_ipv6_and_both_at_once(tmp_path: Path, listens: str, asks: str, kept: str) -> None:
    config = config_of(tmp_path, host=listens)
    app, stopped = create_app(config), asyncio.Event()
    serving = asyncio.create_task(serve(app, stopped))
    answers: list[Any] = []

    async def ask() -> bool:
        with suppress(ConnectionRefusedError):
            async with wired(config.port, asks) as wire:
                answers.append(await wire.ask(PIXEL % 1))
        return bool(answers) or serving.done()

    await eventually(ask)
    stopped.set()
    await serving
    assert [(hit.event_id, hit.ip) for hit in spooled(tmp_path)] == [("1", kept)]
