"""Bad networks: a TCP forwarder between two parts that resets, swallows answers, dawdles, or goes silent.

Each ``Link`` listens on a port of its own and forwards to one server. Its weather can change at any moment, for all
connections or for those of one kind of client.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

_CHUNK_BYTES = 1 << 16
_LOOPBACK = "127.0.0.1"


class Weather(StrEnum):
    """What a link does to the bytes that it is given."""

    fair = "fair"
    deaf = "answers swallowed"
    """Requests arrive and are acted on, their answers do not come back; then the connection is reset."""
    slow = "slow"
    """Each portion is late by a fraction of a second."""
    hole = "silent"
    """Half open: nothing gets through in either direction, no connection ends, new ones are accepted."""


SLOW_S = 0.3
DEAF_FOR_S = 0.2
"""From the first swallowed answer to the reset of its connection."""

Kind = Callable[[bytes], str]
"""What kind of client says these first bytes."""


def kafka_client(first: bytes) -> str:
    """The client id of a Kafka request: size, api key, api version, correlation id, then a string."""
    if len(first) < 14:
        return ""
    length = int.from_bytes(first[12:14], "big", signed=True)
    return first[14 : 14 + max(0, length)].decode(errors="replace")


@dataclass(eq=False)
class _Pair:
    """One connection through the link."""

    client: asyncio.StreamWriter
    kind: str = ""
    server: asyncio.StreamWriter | None = None
    is_torn: bool = False
    """Bytes of it were lost: it cannot go on."""

    def reset(self) -> None:
        """End both sides with RST, as a crashed host or a firewall would."""
        for writer in (self.client, self.server):
            if writer is None:
                continue
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Link:
    """One way to one server. ``async with link:`` listens while it lasts."""

    def __init__(self, name: str, port: int, target: int, kind_of: Kind | None = None) -> None:
        """``port`` listens on loopback and leads to ``target``; ``kind_of`` tells clients apart."""
        self.name = name
        self.port = port
        self._target = target
        self._kind_of = kind_of
        self._weather = Weather.fair
        self._only = ""
        self._one_weather = asyncio.Lock()
        self._cleared = asyncio.Event()
        self._cleared.set()
        self._pairs: set[_Pair] = set()
        self._watchers: list[asyncio.Future[None]] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.resets = 0
        """Connections reset on purpose."""
        self.swallowed = 0
        """Portions of answers that never arrived."""

    async def __aenter__(self) -> Link:
        self._server = await asyncio.start_server(self._accept, _LOOPBACK, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for pair in list(self._pairs):
            pair.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pairs)

    @asynccontextmanager
    async def weather(self, weather: Weather, only: str = "") -> AsyncIterator[None]:
        """Inside, connections whose kind begins with ``only`` have this weather; then those that lost bytes end.

        A second weather waits for the end of the first.
        """
        async with self._one_weather:
            self._weather, self._only = weather, only
            self._cleared.clear()
            try:
                yield
            finally:
                self._weather, self._only = Weather.fair, ""
                self._cleared.set()
                for pair in [pair for pair in self._pairs if pair.is_torn]:
                    self._reset(pair)

    def reset(self, only: str = "") -> int:
        """Reset every connection whose kind begins with ``only``; how many there were."""
        hit = [pair for pair in self._pairs if pair.kind.startswith(only)]
        for pair in hit:
            self._reset(pair)
        return len(hit)

    async def request(self) -> None:
        """Wait until the next portion of a request has passed: the server is about to act on it."""
        watcher = asyncio.get_running_loop().create_future()
        self._watchers.append(watcher)
        await watcher

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await self._carry(pair, reader)
        except (OSError, EOFError, RuntimeError):
            pass  # cut off; uvloop says so by RuntimeError to whoever writes to a transport that was just closed
        finally:
            self._pairs.discard(pair)
            self._tasks.discard(task)
            pair.client.close()
            if pair.server is not None:
                pair.server.close()

    async def _carry(self, pair: _Pair, reader: asyncio.StreamReader) -> None:
        first = await reader.read(_CHUNK_BYTES)
        if self._kind_of is not None:
            pair.kind = self._kind_of(first)
        await self._gate(pair)
        back, pair.server = await asyncio.open_connection(_LOOPBACK, self._target)
        pair.server.write(first)
        self._tell()
        forth = asyncio.create_task(self._requests(pair, reader, pair.server))
        try:
            await self._answers(pair, back)
        finally:
            forth.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await forth

    async def _requests(
        self, pair: _Pair, reader: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._gate(pair)
            server.write(data)
            await server.drain()
            self._tell()
        with suppress(OSError, RuntimeError):  # uvloop: the transport has been closed
            server.write_eof()

    async def _answers(self, pair: _Pair, back: asyncio.StreamReader) -> None:
        while data := await back.read(_CHUNK_BYTES):
            await self._gate(pair)
            if self._applies(Weather.deaf, pair) or pair.is_torn:
                self.swallowed += 1
                if not pair.is_torn:
                    pair.is_torn = True
                    asyncio.get_running_loop().call_later(DEAF_FOR_S, self._reset, pair)
                continue
            pair.client.write(data)
            await pair.client.drain()

    async def _gate(self, pair: _Pair) -> None:
        """Hold what comes while the weather says so."""
        if self._applies(Weather.slow, pair):
            await asyncio.sleep(SLOW_S)
        while self._applies(Weather.hole, pair):
            await self._cleared.wait()

    def _applies(self, weather: Weather, pair: _Pair) -> bool:
        return self._weather is weather and pair.kind.startswith(self._only)

    def _tell(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _reset(self, pair: _Pair) -> None:
        if pair in self._pairs:
            self.resets += 1
            self._pairs.discard(pair)
            pair.reset()
