"""What one client sends, as requests. llhttp (Node.js's, through ``httptools``) parses, as strictly as it can.

Decided here is what it leaves open: the limits of the request line and the headers, requests that a proxy before us
could read differently, URLs in raw UTF-8, and upgrades, which nobody gets. A client's pixels mostly differ in nothing
but the query: what has been parsed once on a connection is recognised there, byte for byte, and not parsed again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import structlog
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from attribution.errors import Rejected
from collector.limits import MAX_BODY, MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET
from collector.reasons import Refusal
from collector.requests import JOINED_HEADERS, KNOWN_HEADERS, Body, Request, escape_line, split_target

_MAX_MESSAGE = MAX_HEADER_BYTES + 2 * MAX_BODY
"""Bytes of one request with all that chunked coding adds, whether anybody reads its body or not."""
_PIXEL = b"/p.gif?"
_PIXEL_LINE = b"GET " + _PIXEL
_BLANK_LINE = b"\r\n\r\n"
_SIGNED = b"/webhooks/"
"""Requests whose header lines are kept as they come: a check wants all of them, unjoined."""
_MAX_KNOWN = 2048
"""Bytes of a head that are kept to recognise it: memory for every connection."""
_TRIES = 8
"""Heads in a row that may be kept for nothing: behind a proxy a connection carries the requests of many clients."""
_QUERY_BYTES = bytes(byte if 0x21 <= byte <= 0x7E and byte != ord("#") else ord("x") for byte in range(256))
"""A table for ``translate`` that leaves the bytes which the parser takes for a query as they are, and no others."""

BAD_HTTP = Rejected(Refusal.bad_http, "Send HTTP/1.1 as RFC 9112 has it.")
_URL_TOO_LONG = Rejected(Refusal.url_too_long, f"Send at most {MAX_TARGET} bytes of URL.")
_HEADERS_TOO_LARGE = Rejected(
    Refusal.headers_too_large, f"Send at most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them."
)
_BODY_TOO_LARGE = Rejected(Refusal.body_too_large, f"Send at most {MAX_BODY} bytes.")
_INTERNAL = Rejected(Refusal.internal, "This is our fault; send it again later.")

log = structlog.get_logger("collector.http")


class _Refused(Exception):
    """Ends the parser from within one of its callbacks."""

    def __init__(self, refusal: Rejected = BAD_HTTP) -> None:
        self.refusal = refusal


class Incoming(ABC):
    """One direction of a connection. ``parse`` calls ``take_*`` and ``refuse``, which the connection provides."""

    ip = ""
    """Address of the other end."""

    def __init__(self, header_names: Mapping[bytes, str] = KNOWN_HEADERS) -> None:
        """``header_names``: the headers that are kept, as ``KNOWN_HEADERS``."""
        self._parser: Any = HttpRequestParser(self)
        self._header_names = header_names
        self._is_deaf = False
        """What comes now is not a request any more."""
        self._is_arriving = False
        """Some of a request is here, and not all of it. The following belongs to that request."""
        self._in_head = True
        self._target = b""
        self._headers: dict[str, str] = {}
        self._keeps_lines = False
        self._lines: list[tuple[bytes, bytes]] = []
        """Header lines of a request whose lines are kept."""
        self._header_count = 0
        self._size = 0
        """Bytes parsed since the last request was whole, a slice more or less."""
        self._body: Body | None = None
        self._wants_upgrade = False
        self._known = b""
        """What followed the query of a pixel here, which was a whole request with no body, after which others come."""
        self._known_headers: dict[str, str] = {}
        self._tries = _TRIES

    @abstractmethod
    def take_begin(self) -> None:
        """A request begins to arrive."""

    @abstractmethod
    def take_pixel(self, query: str, headers: dict[str, str], is_last: bool) -> None:
        """A pixel is here. ``is_last``: the client wants the connection closed after the answer.

        ``headers`` are not changed any more, and the same object again if they are those of the pixel before.
        """

    @abstractmethod
    def take_request(self, request: Request, is_last: bool) -> None:
        """Any other request is here; if it has a body, that is still arriving and ``take_end`` follows."""

    @abstractmethod
    def take_end(self) -> None:
        """The body of the last request is whole."""

    @abstractmethod
    def take_body_read(self) -> None:
        """Somebody wants a body, or has taken a part of it."""

    @abstractmethod
    def refuse(self, refusal: Rejected) -> None:
        """What is arriving is refused, and nothing after it is read."""

    def parse(self, data: bytes) -> bytes:
        """Parse one slice; returns what must be parsed instead of its last part, usually nothing."""
        is_pixel = self._tries > 0 and not self._is_arriving and data.startswith(_PIXEL_LINE)
        if is_pixel:
            # How a head is read depends on nothing but its bytes, and the query's bytes are looked at one by one.
            end = data.find(b" ", len(_PIXEL_LINE))
            query = data[len(_PIXEL_LINE) : end]
            if data[end:] == self._known and query.translate(_QUERY_BYTES) == query:
                self._size = 0
                self._tries = _TRIES
                self.take_begin()
                self.take_pixel(query.decode("ascii"), self._known_headers, is_last=False)
                return b""
        if self._in_head and self._header_count == 0 and not data.isascii():
            data = escape_line(data)
        self._size += len(data)
        try:
            self._parser.feed_data(data)
            if self._size > MAX_HEADER_BYTES or self._header_count > MAX_HEADERS:
                self._check_size()
            if is_pixel:
                self._learn(data)
        except HttpParserUpgrade as upgrade:
            return self._without_upgrade() + data[upgrade.args[0] :]
        except (HttpParserError, _Refused) as error:
            if not self._is_deaf:  # else these are bytes after the last request
                self.refuse(_refusal_of(error))
        return b""

    def _learn(self, data: bytes) -> None:
        """Keep how ``data`` ends, if it was one request and nothing else, so that the next is recognised by it."""
        end = data.find(b" ", len(_PIXEL_LINE))
        if (
            len(data) - end <= _MAX_KNOWN
            and data.startswith(b" HTTP/1.1\r\n", end)
            and data.find(_BLANK_LINE) == len(data) - len(_BLANK_LINE)
            and not self._is_arriving
        ):
            self._known, self._known_headers = data[end:], self._headers
            self._tries -= 1

    def release(self) -> None:
        """Nothing more will be parsed."""
        self._parser = None  # it holds methods of this object: without the cycle both are freed at once

    @property
    def _method(self) -> str:
        return str(self._parser.get_method().decode())

    def _check_size(self) -> None:
        if self._in_head or self._header_count > MAX_HEADERS:
            raise _Refused(_HEADERS_TOO_LARGE)
        if self._size > _MAX_MESSAGE:
            raise _Refused(_BODY_TOO_LARGE)

    def _without_upgrade(self) -> bytes:
        """The head of the request, without the wish to speak anything else: we do not (RFC 9110, 7.8).

        The parser cannot be told, and has left out the body: a new one reads the request again.
        """
        headers = self._headers
        headers["connection"] = "close" if "close" in headers["connection"].lower() else "keep-alive"
        lines = [(name.encode(), text.encode()) for name, text in headers.items()]
        if self._keeps_lines:
            is_ours = {b"upgrade", b"connection"}
            lines = [line for line in self._lines if line[0].lower() not in is_ours]
            lines.append((b"connection", headers["connection"].encode()))
        text = b"".join(b"%s: %s\r\n" % line for line in lines if line[0] != b"upgrade")
        head = b"%s %s HTTP/1.1\r\n%s\r\n" % (self._method.encode(), self._target, text)
        self._wants_upgrade = False
        self._in_head = True
        self._header_count = self._size = 0
        self._parser = HttpRequestParser(self)
        return head

    # The parser's calls

    def on_message_begin(self) -> None:
        if self._is_deaf:
            raise _Refused
        self._is_arriving = True
        self._target = b""
        self._headers = {}
        self.take_begin()

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > MAX_TARGET:
            raise _Refused(_URL_TOO_LONG)
        self._keeps_lines = self._target.startswith(_SIGNED)
        if self._keeps_lines:
            self._lines = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        if self._keeps_lines:
            self._lines.append((name, value))
        known = self._header_names.get(name)
        if known is None:
            known = self._header_names.get(name.lower())
        if not known or not self._in_head:
            return
        text = value.decode("utf-8", "replace")
        headers = self._headers
        if known not in headers:
            headers[known] = text
        elif known in JOINED_HEADERS:
            headers[known] += JOINED_HEADERS[known] + text
        elif known == "host":
            raise _Refused

    def on_headers_complete(self) -> None:
        if self._header_count > MAX_HEADERS:
            raise _Refused(_HEADERS_TOO_LARGE)
        self._in_head = False
        headers, parser = self._headers, self._parser
        if "host" not in headers or "transfer-encoding" in headers:
            self._check_framing()
        if "upgrade" in headers and parser.should_upgrade():
            self._wants_upgrade = True
            return
        method = parser.get_method()
        if method == b"GET":
            return  # whatever a body may say: it is taken when it is whole
        if method == b"CONNECT":
            raise _Refused
        path, query = split_target(self._target)
        self._body = Body(self.take_body_read)
        lines = tuple(self._lines) if self._keeps_lines else ()
        request = Request(method.decode(), path, query, headers, self.ip, self._body, self._target, lines)
        self.take_request(request, not parser.should_keep_alive())

    def _check_framing(self) -> None:
        """Refuse what another server could read differently, beyond what the parser refuses."""
        version = self._parser.get_http_version()
        coding = self._headers.get("transfer-encoding")
        if version not in ("1.0", "1.1") or (version == "1.1" and "host" not in self._headers):
            raise _Refused
        if coding is not None and (version == "1.0" or coding.strip().lower() != "chunked"):
            raise _Refused

    def on_body(self, chunk: bytes) -> None:
        if self._body is not None:
            self._body.feed(chunk)

    def on_message_complete(self) -> None:
        if self._wants_upgrade:
            return
        self._is_arriving = False
        self._in_head = True
        self._header_count = self._size = 0
        if self._body is not None:
            self._body.end()
            self._body = None
            self.take_end()
            return
        target = self._target
        is_last = not self._parser.should_keep_alive()
        if target.startswith(_PIXEL) and b"#" not in target:
            self.take_pixel(target[len(_PIXEL) :].decode("ascii"), self._headers, is_last)
        else:
            path, query = split_target(target)
            self.take_request(Request("GET", path, query, self._headers, self.ip), is_last)


def _refusal_of(error: Exception) -> Rejected:
    """Why parsing ended; an error of our own is logged."""
    cause = error if isinstance(error, _Refused) else error.__context__
    if cause is None:
        return BAD_HTTP
    if isinstance(cause, _Refused):
        return cause.refusal
    log.error("request_failed", endpoint="connection", exc_info=cause)
    return _INTERNAL
