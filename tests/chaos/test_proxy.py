"""The bad network of the storm does what it says, and a fair one does nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.chaos.proxy import DEAF_FOR_S, Link, Weather, kafka_client
from runtime.embedded.probes import free_port

SOON_S = 5.0


class Server:
    """Says each line again, in capitals; remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.heard.append(line)
            writer.write(line.upper())
        writer.close()


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Link, Server]]:
    server = Server()
    port = free_port(set())
    listening = await asyncio.start_server(server, "127.0.0.1", port)
    link = Link("a>b", free_port({port}), port, kind_of=lambda first: first[:1].decode())
    try:
        async with link:
            yield link, server
    finally:
        listening.close()


class Client:
    """One connection through the link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, link: Link) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", link.port))

    def say(self, line: bytes) -> None:
        self._writer.write(line + b"\n")

    async def hear(self, within: float = SOON_S) -> bytes:
        return (await asyncio.wait_for(self._reader.readline(), within)).strip()


async def test_in_fair_weather_everything_passes() -> None:
    async with linked() as (link, server):
        client = await Client.of(link)
        for line in (b"one", b"two", b"x" * 30_000):
            client.say(line)
            assert await client.hear() == line.upper()
        assert len(server.heard) == 3
        assert link.connections == 1


async def test_a_reset_ends_the_connections_of_one_kind() -> None:
    async with linked() as (link, _):
        spared, hit = await Client.of(link), await Client.of(link)
        for client, line in ((spared, b"spared"), (hit, b"hit")):
            client.say(line)
            await client.hear()
        assert link.reset("h") == 1
        with pytest.raises(ConnectionResetError):
            await hit.hear()
        spared.say(b"spared again")
        assert await spared.hear() == b"SPARED AGAIN"


async def test_a_lost_answer_is_a_request_that_was_acted_on() -> None:
    """And its connection is reset a moment later, so that nobody takes a later answer for it."""
    async with linked() as (link, server):
        client = await Client.of(link)
        client.say(b"before")
        await client.hear()
        async with link.weather(Weather.deaf):
            client.say(b"acted on")
            with pytest.raises(ConnectionResetError):
                await client.hear(DEAF_FOR_S + SOON_S)
        assert server.heard[-1] == b"acted on\n"
        assert link.swallowed == 1
        again = await Client.of(link)
        again.say(b"again")
        assert await again.hear() == b"AGAIN"


async def test_a_half_open_connection_says_nothing_and_does_not_end() -> None:
    async with linked() as (link, server):
        client = await Client.of(link)
        client.say(b"before")
        await client.hear()
        async with link.weather(Weather.hole):
            client.say(b"held")
            late = await Client.of(link)
            late.say(b"late")
            with pytest.raises(TimeoutError):
                await client.hear(0.3)
            assert server.heard == [b"before\n"]
        assert await client.hear() == b"HELD"
        assert await late.hear() == b"LATE"


async def test_weather_may_hit_one_kind_of_client_only() -> None:
    async with linked() as (link, _):
        spared, hit = await Client.of(link), await Client.of(link)
        async with link.weather(Weather.hole, only="h"):
            hit.say(b"hit")
            spared.say(b"spared")
            assert await spared.hear() == b"SPARED"
            with pytest.raises(TimeoutError):
                await hit.hear(0.2)
        assert await hit.hear() == b"HIT"


async def test_whoever_waits_for_a_request_is_told_when_it_passes() -> None:
    async with linked() as (link, _):
        client = await Client.of(link)
        waiting = asyncio.create_task(link.request())
        await asyncio.sleep(0)
        assert not waiting.done()
        client.say(b"now")
        await asyncio.wait_for(waiting, SOON_S)


def test_a_client_of_kafka_is_known_by_its_first_request() -> None:
    request = b"\0\0\0\x20" + b"\0\x12\0\3" + b"\0\0\0\1" + b"\0\x05hello" + b"rest"
    assert kafka_client(request) == "hello"
    assert kafka_client(b"short") == ""
