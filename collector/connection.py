"""One HTTP/1.1 connection: answers in the order of the requests, room for what waits, time for who is slow.

Everything runs on the event loop; a pixel costs no task of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import cast

from attribution.errors import Rejected
from collector.app import Sender
from collector.incoming import BAD_HTTP, Incoming
from collector.limits import (
    BODY_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    LINGER_SECONDS,
    MAX_PIPELINED,
    WRITE_SECONDS,
)
from collector.reasons import Refusal
from collector.reception import Reception
from collector.requests import BODY_BUFFER, Request, split_target
from collector.responses import CONTINUE, Headers, pixel_response

SLICE_BYTES = 16 * 1024
"""So much is parsed at a time, so that limits are looked at often enough."""

_SLOW_REQUEST = Rejected(Refusal.slow_request, f"Send the headers within {HEAD_SECONDS:.0f} seconds.")
_SLOW_BODY = Rejected(Refusal.slow_body, f"Send the body within {BODY_SECONDS:.0f} seconds.")
_INCOMPLETE = Rejected(Refusal.incomplete, "Send the whole request.")
_TOO_MANY = Rejected(Refusal.too_many_connections, "Too many connections; come again later.")


class Exchange:
    """A request and its answer, which waits until those before it are sent."""

    __slots__ = ("answer", "connection", "is_last", "is_whole")

    def __init__(self, connection: Connection, is_last: bool, is_whole: bool = True) -> None:
        self.connection = connection
        self.answer: bytes | None = None
        self.is_last = is_last
        """The connection is closed after the answer."""
        self.is_whole = is_whole
        """False while the client has, or may have, more of the request to send."""


class Connection(Incoming, asyncio.Protocol):
    """One client. Called by the event loop, the parser, the reception, and the tasks of its own requests."""

    _transport: asyncio.Transport

    def __init__(self, reception: Reception) -> None:
        super().__init__(reception.app.header_names)
        self._reception = reception
        self._queue: deque[Exchange] = deque()
        """Requests whose answers are not sent, oldest first."""
        self._at_work = 0
        """Requests among them that a task answers."""
        self._since = reception.now
        """When the present state began: a request, idleness, lingering, closing, or a client that does not read."""
        self._is_open = False
        self._has_ended = False
        """The client sends no more."""
        self._is_lingering = False
        self._is_write_paused = False
        self._is_read_paused = False
        self._is_feeding = False
        self._held = b""
        """Bytes that arrived before the connection stopped listening."""
        self._sent_headers: dict[str, str] | None = None
        self._sender: Sender
        """Who sends ``_sent_headers``, those of the last pixel."""

    # The event loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._is_open = True
        peer = transport.get_extra_info("peername")
        self.ip = peer[0] if peer else ""
        reception = self._reception
        reception.connections.add(self)
        if len(reception.connections) > reception.max_connections:
            self._is_deaf = True
            answer = reception.answers.encode(reception.app.refuse("", "", _TOO_MANY), is_last=True)
            self._transport.write(answer)
            self._close()

    def connection_lost(self, error: Exception | None) -> None:
        self._note_end()
        self._is_open = False
        self._queue.clear()
        self._held = b""
        self.release()
        self._reception.leave(self)

    def eof_received(self) -> bool:
        """True keeps the connection: who sends no more may still read."""
        self._note_end()
        if not self._queue or self._is_lingering:
            self._is_open = False
            return False
        self._queue[-1].is_last = True
        return True

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._since = self._reception.now
        self._balance()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._since = self._reception.now
        self._balance()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if len(data) > SLICE_BYTES or self._held or self._is_read_paused:
            self._held += data
            self._feed_held()
        elif rest := self.parse(data):
            self._held = rest
            self._feed_held()
        if self._held or self._body is not None or len(self._queue) >= MAX_PIPELINED or self._at_work:
            self._balance()

    # Listening

    def _feed_held(self) -> None:
        """Parse what was held back, as far as there is room for its answers and its body."""
        if self._is_feeding:
            return
        self._is_feeding = True
        try:
            while self._held and not self._is_deaf and not self._is_full():
                data, self._held = self._held[:SLICE_BYTES], self._held[SLICE_BYTES:]
                if rest := self.parse(data):
                    self._held = rest + self._held
        finally:
            self._is_feeding = False

    def _is_full(self) -> bool:
        if self._body is not None:
            return self._is_write_paused or self._body.waiting_bytes > BODY_BUFFER
        # One body at a time: what comes after a request with a task of its own waits until that is answered.
        return self._is_write_paused or self._at_work > 0 or len(self._queue) >= MAX_PIPELINED

    def _balance(self) -> None:
        """Listen if there is room for what is heard, else let the client wait."""
        if self._held:
            self._feed_held()
        if not self._is_open or self._has_ended:
            return
        must_wait = not self._is_deaf and (bool(self._held) or self._is_full())
        if must_wait and not self._is_read_paused:
            self._is_read_paused = True
            self._transport.pause_reading()
        elif self._is_read_paused and not must_wait:
            self._is_read_paused = False
            self._transport.resume_reading()

    def _note_end(self) -> None:
        """The client sends no more: a request that it has not finished is counted."""
        self._has_ended = True
        is_cut = self._is_arriving and not self._is_deaf
        self._is_deaf = True
        if not is_cut:
            return
        if self._body is not None:  # its route is at work, and will say it
            self._body.fail(_INCOMPLETE)
            self._body = None
            return
        has_line = self._header_count > 0 or not self._in_head
        path = split_target(self._target)[0] if has_line else ""
        self._reception.app.refuse(self._method, path, _INCOMPLETE)

    # What is heard

    def take_begin(self) -> None:
        self._since = self._reception.now

    def take_pixel(self, query: str, headers: dict[str, str], is_last: bool) -> None:
        exchange = Exchange(self, is_last)
        self._is_deaf = is_last
        self._queue.append(exchange)
        if headers is not self._sent_headers:
            self._sender = self._reception.app.sender_of(headers, self.ip)
            self._sent_headers = headers
        self._reception.pixel(exchange, query, headers, self._sender)

    def take_request(self, request: Request, is_last: bool) -> None:
        exchange = Exchange(self, is_last, is_whole=request.body is None)
        if exchange.is_whole:
            self._is_deaf = is_last
        self._queue.append(exchange)
        self._at_work += 1
        self._reception.start(self._answer(request, exchange))

    def take_end(self) -> None:
        exchange = self._queue[-1]
        exchange.is_whole = True
        self._is_deaf = exchange.is_last

    def take_body_read(self) -> None:
        self._invite_body()
        if self._is_read_paused:
            self._balance()

    def refuse(self, refusal: Rejected) -> None:
        self._is_deaf = True
        if self._body is not None:  # its route is at work, and will say it
            self._body.fail(refusal)
            self._body = None
            return
        method, path = "", ""
        if self._target and refusal is not BAD_HTTP:
            method, path = self._method, split_target(self._target)[0]
        reception = self._reception
        exchange = Exchange(self, is_last=True, is_whole=False)
        self._queue.append(exchange)
        response = reception.app.refuse(method, path, refusal)
        self._finish(
            exchange, reception.answers.encode(response, is_last=True, without_body=method == "HEAD")
        )

    # Answering

    async def _answer(self, request: Request, exchange: Exchange) -> None:
        response = await self._reception.app.answer(request)
        self._at_work -= 1
        if not exchange.is_whole:
            # The rest of the body would have to be read for nothing before the next request.
            self._is_deaf = exchange.is_last = True
            self._body = None
        answer = self._reception.answers.encode(
            response, is_last=self._is_last(exchange), without_body=request.method == "HEAD"
        )
        self._finish(exchange, answer)

    def finish_pixel(self, exchange: Exchange, more: Headers | None) -> None:
        """Send the GIF, with ``more`` headers, when its turn has come."""
        answers = self._reception.answers
        is_last = self._is_last(exchange)
        if more or is_last:
            self._finish(exchange, answers.encode(pixel_response(more), is_last=is_last))
        else:
            self._finish(exchange, answers.gif)

    def _is_last(self, exchange: Exchange) -> bool:
        if (
            self._reception.is_stopping
            and not self._is_arriving
            and self._queue
            and self._queue[-1] is exchange
        ):
            self._is_deaf = exchange.is_last = True
        return exchange.is_last

    def _finish(self, exchange: Exchange, answer: bytes) -> None:
        """Send ``answer`` and those that waited for it, if its turn has come."""
        exchange.answer = answer
        queue = self._queue
        while self._is_open and queue and (waiting := queue[0].answer) is not None:
            self._transport.write(waiting)
            if (first := queue.popleft()).is_last:
                self._end(first)
                return
        if not queue and not self._is_arriving:
            self._since = self._reception.now
            if self._reception.is_stopping:
                self._close()
        if self._is_read_paused:
            self._balance()
        if self._body is not None:
            self._invite_body()

    def _invite_body(self) -> None:
        """Tell a client that waits for it to send its body, once it is wanted and the answers before are sent."""
        body = self._body
        if body is None or not body.is_awaited or body.waiting_bytes or len(self._queue) > 1:
            return
        expected = self._headers.pop("expect", "").lower()
        if expected == "100-continue" and self._is_open and self._parser.get_http_version() == "1.1":
            self._transport.write(CONTINUE)

    def _end(self, exchange: Exchange) -> None:
        """The answer to the last request, ``exchange``, is written."""
        self._is_deaf = True
        self._queue.clear()
        self._held = b""
        if self._has_ended or exchange.is_whole:
            self._close()
            return
        # A client that is still sending would lose its answer if the connection were cut (RFC 9112, 9.6).
        self._is_lingering = True
        self._since = self._reception.now
        with suppress(OSError):  # it is gone already, and the loop will say so
            self._transport.write_eof()
        self._balance()

    def _close(self) -> None:
        self._is_open = False
        self._since = self._reception.now
        self._transport.close()

    # Time

    def check_time(self, now: float) -> None:
        """Let go of a client that is too slow. A request that is being answered has all the time it needs."""
        waited = now - self._since
        if self._is_lingering:
            if waited > LINGER_SECONDS:
                self.abort()
        elif self._is_write_paused or not self._is_open:
            if waited > WRITE_SECONDS:
                self.abort()
        elif self._is_deaf or self._body is not None:
            pass  # it is being answered, or its route keeps the time of the body
        elif self._is_arriving:
            if self._in_head and waited > HEAD_SECONDS:
                self.refuse(_SLOW_REQUEST)
            elif waited > HEAD_SECONDS + BODY_SECONDS:
                self.refuse(_SLOW_BODY)
        elif not self._queue and waited > IDLE_SECONDS:
            self._close()

    def close_if_idle(self) -> None:
        """Nothing is lost if nothing is under way."""
        if not self._queue and not self._is_arriving:
            self._close()

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        self._transport.abort()
