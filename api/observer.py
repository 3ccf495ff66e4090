"""What surrounds every answer: its headers, its count and time, and HEAD answered as GET without the body.

Plain ASGI: Starlette's ``BaseHTTPMiddleware`` streams every answer and leaves a ``receive`` waiting behind it.
"""

from __future__ import annotations

import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import ApiMetrics
from api.problems import HEADERS


class Observer:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        is_head = scope["method"] == "HEAD"
        # RFC 9110, 9.1: no server does without HEAD.
        inner = {**scope, "method": "GET"} if is_head else scope
        status = 500

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, receive, send_on)
        finally:
            route = getattr(inner.get("route"), "path", "unknown")
            self._metrics.observe(route, status, time.perf_counter() - started)
