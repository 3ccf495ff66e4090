"""A request as the routes see it: method, path, query, the headers we know, and a body that arrives meanwhile."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from attribution.errors import Rejected

BODY_BUFFER = 256 * 1024
"""Bytes of a body that wait for whoever reads it, before the connection stops listening."""

_NAMES = (
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "expect",
    "host",
    "referer",
    "sec-gpc",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-forwarded-for",
)
_IGNORED = (
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "origin",
    "pragma",
    "priority",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "x-forwarded-proto",
    "x-real-ip",
)
KNOWN_HEADERS: dict[bytes, str] = {
    spelt: "" if name in _IGNORED else name
    for name in (*_NAMES, *_IGNORED)
    for spelt in (name.encode(), name.title().encode())
} | {b"DNT": "dnt", b"Sec-GPC": "sec-gpc"}
"""Names in their usual spellings; "" and any other name says nothing to us and is not kept."""


def names_with(header: str) -> dict[bytes, str]:
    """``KNOWN_HEADERS`` and one more, in lower case; "" = none."""
    return KNOWN_HEADERS | {header.encode(): header} if header else KNOWN_HEADERS


JOINED_HEADERS = {"connection": ",", "cookie": "; ", "x-forwarded-for": ","}
"""How the lines of a header that may come several times are one; of any other header the first line counts."""

_LINE = re.compile(rb"[\r\n]*[^\r\n]*")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


class Body:
    """A request's body: fed by the connection, read once by ``async for``."""

    def __init__(self, on_read: Callable[[], None]) -> None:
        self._on_read = on_read
        """Called before each wait and after each chunk taken: the connection may listen again."""
        self._chunks: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Rejected | None = None
        self.is_complete = False
        self.is_awaited = False
        """True once somebody wants it."""
        self.waiting_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Some more of it."""
        self._chunks.append(chunk)
        self.waiting_bytes += len(chunk)
        self._wake()

    def end(self) -> None:
        """That was all."""
        self.is_complete = True
        self._wake()

    def fail(self, failure: Rejected) -> None:
        """There will be no more of it, although there should."""
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        self.is_awaited = True
        while not self._chunks:
            if self.is_complete:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            self._on_read()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        chunk = self._chunks.popleft()
        self.waiting_bytes -= len(chunk)
        self._on_read()
        return chunk


@dataclass(slots=True)
class Request:
    """One request. ``headers`` are those of ``KNOWN_HEADERS``, by lower-case name."""

    method: str
    path: str
    """Without the query, percent-decoded."""
    query: str
    headers: dict[str, str]
    ip: str
    """Address at the other end of the connection."""
    body: Body | None = None
    """None: there is none, or it was of no interest and is already gone."""
    target: bytes = b""
    """As it came, with the query; only of requests with a body."""
    lines: tuple[tuple[bytes, bytes], ...] = ()
    """Header lines as they came, in their order; only of webhooks."""


def split_target(target: bytes) -> tuple[str, str]:
    """Path and query of a request target (RFC 9112, 3.2), in origin or absolute form; ``*`` stays what it is."""
    text = target.decode("latin-1").partition("#")[0]
    if not text.startswith("/") and "://" in text:
        authority_and_path, mark, query = text.partition("://")[2].partition("?")
        text = "/" + authority_and_path.partition("/")[2] + mark + query
    path, _, query = text.partition("?")
    return (unquote(path) if "%" in path else path), query


def escape_line(data: bytes) -> bytes:
    """``data`` with its first line in ASCII: URLs written by hand come in raw UTF-8, which the parser refuses."""
    match = _LINE.match(data)
    line = match[0] if match else b""
    return _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + data[len(line) :]
