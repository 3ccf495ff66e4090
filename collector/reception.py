"""What the connections of one server share: the routes, the clock, and the pixels that wait for the same fsync."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from collector.app import CollectorApp, Sender
from collector.responses import Answers, Headers

if TYPE_CHECKING:
    from collector.connection import Connection, Exchange


class Reception:
    """Belongs to the running event loop."""

    def __init__(self, app: CollectorApp, max_connections: int) -> None:
        self.app = app
        self.max_connections = max_connections
        self.answers = Answers()
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Requests that are being answered, pixels excepted."""
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time()
        """Seconds of the loop's clock at the last ``tick``: exact enough for limits of seconds, and free."""
        self.is_stopping = False
        self.deserted = asyncio.Event()
        """Set when the last connection is gone."""
        self._commit: asyncio.Future[None] | None = None
        self._pixels: list[tuple[Exchange, Headers | None]] = []

    def tick(self) -> None:
        """Time goes on, and clients that are too slow are let go."""
        self.now = self._loop.time()
        self.answers.tick()
        for connection in list(self.connections):
            connection.check_time(self.now)

    def leave(self, connection: Connection) -> None:
        """``connection`` is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self.deserted.set()

    def start(self, answering: Coroutine[Any, Any, None]) -> None:
        """Answer a request in a task of its own."""
        task = self._loop.create_task(answering)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def pixel(self, exchange: Exchange, query: str, headers: dict[str, str], sender: Sender) -> None:
        """Take a hit, and answer when it is durable."""
        answer, commit = self.app.take_pixel(query, headers, sender)
        if commit is None:
            exchange.connection.finish_pixel(exchange, answer)
            return
        if commit is not self._commit:
            self._commit, self._pixels = commit, []
            commit.add_done_callback(partial(self._answer_pixels, self._pixels))
        self._pixels.append((exchange, answer))

    def _answer_pixels(
        self, pixels: list[tuple[Exchange, Headers | None]], commit: asyncio.Future[None]
    ) -> None:
        """The fsync for ``pixels`` is done, or has failed."""
        is_durable = not commit.cancelled() and commit.exception() is None
        if is_durable:
            self.app.keep_pixels(len(pixels))
        for exchange, answer in pixels:
            exchange.connection.finish_pixel(exchange, answer if is_durable else self.app.lose_pixel())
