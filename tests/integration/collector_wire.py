"""A connection to the collector, byte by byte, and the requests that tests write on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from collector_kit import SITE, Answer, running

from collector.app import CollectorApp
from collector.config import CollectorConfig
from collector.metrics import Counted

HOST = b"host: localhost\r\n"
PIXEL = b"GET /p.gif?site=shop&visitor_id=v&event_id=%d HTTP/1.1\r\n" + HOST + b"\r\n"


class Wire:
    """One connection, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, is_head: bool = False) -> Answer:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode()
        lines = head.split("\r\n")
        headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:] if line)]
        length = 0 if is_head else int(dict(headers).get("content-length", 0))
        return Answer(int(lines[0].split()[1]), headers, await self.reader.readexactly(length))

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """What still comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 20)


@asynccontextmanager
async def wired(port: int, host: str = "127.0.0.1") -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def collecting(config: CollectorConfig) -> AsyncIterator[tuple[CollectorApp, Wire]]:
    """A collector, and a connection to it."""
    async with running(config) as (app, _), wired(config.port) as wire:
        yield app, wire


def refused(app: CollectorApp) -> dict[tuple[str, ...], float]:
    return {key[1]: count for key, count in app.metrics._counts.items() if key[0] is Counted.rejected}


def post(body: bytes, *more: bytes, path: bytes = b"/v1/track") -> bytes:
    length = b"content-length: %d\r\n" % len(body)
    return (
        b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\n" + b"".join(more)
        + (b"" if any(b"transfer-encoding" in line for line in more) else length) + b"\r\n" + body
    )  # fmt: skip


def event(event_id: str) -> bytes:
    return json.dumps({"site": SITE, "userId": "u", "event_id": event_id}).encode()


def chunked(*chunks: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailers + b"\r\n"
