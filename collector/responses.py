"""Answers: the pixel, errors as JSON, the headers that go with them, and their bytes on the wire."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from attribution.errors import Rejected

GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""The smallest transparent GIF, 43 bytes."""

Headers = list[tuple[str, str]]

_CORS = ("access-control-allow-origin", "*")
_NO_STORE = ("cache-control", "no-store")
GIF_HEADERS: Headers = [("content-type", "image/gif"), _NO_STORE, _CORS]
JSON_HEADERS: Headers = [
    ("content-type", "application/json"),
    _NO_STORE,
    _CORS,
    ("x-content-type-options", "nosniff"),
]
NO_STORE_HEADERS: Headers = [_NO_STORE]
TEXT_HEADERS: Headers = [
    ("content-type", "text/plain; version=0.0.4; charset=utf-8"),
    _NO_STORE,
    ("x-content-type-options", "nosniff"),
]
PREFLIGHT_HEADERS: Headers = [
    _CORS,
    ("access-control-allow-methods", "GET, POST, OPTIONS"),
    ("access-control-allow-headers", "authorization, content-encoding, content-type"),
    ("access-control-max-age", "86400"),
]
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_encode = msgspec.json.Encoder().encode
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NO_BODY = 204


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused."""

    code: str
    """The reason, one of a closed list."""
    message: str
    """What to send instead."""
    field: str
    """The field that is wrong; "" if it is none in particular."""


class EventResult(msgspec.Struct, frozen=True):
    """What became of one event of a batch. An event that was kept has only its status, 200."""

    status: int
    code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    field: str | UnsetType = UNSET


class BatchAnswer(msgspec.Struct, frozen=True):
    """At least one event of the batch was kept."""

    success: bool
    results: list[EventResult]
    """By index of the event."""


class BatchProblem(Problem, frozen=True):
    """Why no event of the batch was kept: the first one's reason, and ``results`` if it was read event by event."""

    results: list[EventResult] | UnsetType = UNSET


class RefusedFact(msgspec.Struct, frozen=True):
    """One fact of spend that was not taken."""

    index: int
    """Its place in what was sent, from 0."""
    code: str
    message: str
    field: str


class SpendAnswer(msgspec.Struct, frozen=True):
    """At least one fact was taken. ``new`` + ``replaced`` + ``unchanged`` + those refused are all that were sent."""

    new: int
    """Of keys of which nothing was known."""
    replaced: int
    """Whose figures take the place of older ones."""
    unchanged: int
    """That say what is known already, or less: they were read before what is known."""
    refused: list[RefusedFact]


class SpendProblem(Problem, frozen=True):
    """Why no fact was taken: the first one's reason, and ``refused`` if the body was read fact by fact."""

    refused: list[RefusedFact] | UnsetType = UNSET


class Success(msgspec.Struct, frozen=True):
    """The event is durable."""

    success: bool = True


class Healthy(msgspec.Struct, frozen=True):
    """The process lives."""

    healthy: bool = True


class Ready(msgspec.Struct, frozen=True):
    """Whether events can be made durable."""

    ready: bool
    reason: str
    """Why not; "" if they can."""


class Response(NamedTuple):
    """One answer, before it is bytes. Header names are lower case."""

    status: int
    headers: Headers
    body: bytes = b""


def pixel_response(more: Headers | None = None) -> Response:
    """The GIF, whatever became of the hit; ``more`` headers may say what did."""
    return Response(200, GIF_HEADERS + more if more else GIF_HEADERS, GIF)


class Answers:
    """Answers as bytes, dated. ``tick`` once a second: a date is no older than that."""

    def __init__(self) -> None:
        self.tick()

    def tick(self) -> None:
        """Take the time of day anew."""
        self._date = formatdate(time.time(), usegmt=True)
        self.gif = self.encode(pixel_response())
        """The pixel's answer when there is nothing else to say and the connection stays: made once a second."""

    def encode(self, response: Response, *, is_last: bool = False, without_body: bool = False) -> bytes:
        """``is_last``: the connection is closed afterwards. ``without_body``: the request was a HEAD."""
        status, headers, body = response
        lines = [_STATUS_LINES[status], *_lines(headers)]
        if status != _NO_BODY:
            lines.append(f"content-length: {len(body)}\r\n")
        # HTTP/1.0 clients must be told that a connection stays, all others that it does not.
        lines.append(f"date: {self._date}\r\nconnection: {'close' if is_last else 'keep-alive'}\r\n\r\n")
        head = "".join(lines).encode("latin-1")
        return head if without_body else head + body


def _lines(headers: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{name}: {value}\r\n" for name, value in headers]


def problem_of(error: Rejected) -> Problem:
    """``{"code", "message", "field"}``."""
    return Problem(error.reason, error.message, error.field)


def result_of(error: Rejected, status: int) -> EventResult:
    """The same within a batch."""
    return EventResult(status, error.reason, error.message, error.field)


def json_bytes(value: Any) -> bytes:
    """Compact JSON."""
    return _encode(value)


SUCCESS = json_bytes(Success())
HEALTHY = json_bytes(Healthy())
