"""Answers: the pixel, errors as JSON, and the headers that go with them."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

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
TEXT_HEADERS: Headers = [("content-type", "text/plain; version=0.0.4; charset=utf-8"), _NO_STORE]
PREFLIGHT_HEADERS: Headers = [
    _CORS,
    ("access-control-allow-methods", "GET, POST, OPTIONS"),
    ("access-control-allow-headers", "authorization, content-encoding, content-type"),
    ("access-control-max-age", "86400"),
]
SUCCESS = b'{"success":true}'

_encode = msgspec.json.Encoder().encode


class HttpProtocol(Protocol):
    """What the collector uses of Granian's RSGI protocol object."""

    def __aiter__(self) -> Any: ...
    def response_empty(self, status: int, headers: Headers) -> None: ...
    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...


class HttpScope(Protocol):
    """What the collector uses of Granian's RSGI scope."""

    method: str
    path: str
    query_string: str
    client: str

    @property
    def headers(self) -> Any: ...


def error_of(error: Rejected) -> dict[str, str]:
    """``{"code", "message", "field"}``."""
    return {"code": error.reason, "message": error.message, "field": error.field}


def json_bytes(value: Any) -> bytes:
    """Compact JSON."""
    return _encode(value)
