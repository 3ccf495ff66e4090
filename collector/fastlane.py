"""Pixel requests taken from Granian in batches, without a task for each: about a quarter less work per request.

Granian hands every request to asyncio as a coroutine of its own. A pixel needs none: it is parsed without waiting,
then many of them wait for one fsync and are answered together. This scheduler takes what has arrived since the event
loop last looked, all at once; every other request gets its coroutine as usual.

It stands on names that Granian does not promise, so it is used with the version it was tested with and no other;
``CollectorApp.__rsgi__`` does the same work, slower, for the rest.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import granian
from granian._granian import CallbackScheduler, RSGIWorker

from collector.app import CollectorApp
from collector.responses import GIF, Headers

TESTED_GRANIAN = "2.8.7"
_WORKER: Any = RSGIWorker
"""Its stub and its code disagree."""


def is_possible() -> bool:
    """True with the version of Granian whose inner names are known."""
    return bool(granian.__version__ == TESTED_GRANIAN)


class FastLane:
    """Requests of one app, from Granian's thread to the event loop and back. All but ``schedule`` runs on the loop."""

    def __init__(self, app: CollectorApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._arrived: deque[Any] = deque()
        self._is_awake = False
        self._commit: asyncio.Future[None] | None = None
        self._waiting: list[tuple[Any, Headers]] = []

    def schedule(self, request: Any) -> None:
        """Called by Granian's own thread for each request."""
        # The request is in the queue before the flag is read, and the loop lowers the flag before it looks at the
        # queue: a request that comes in between wakes the loop once too often, never once too little.
        self._arrived.append(request)
        if not self._is_awake:
            self._is_awake = True
            self._loop.call_soon_threadsafe(self._take_all)

    def _take_all(self) -> None:
        self._is_awake = False
        arrived, app = self._arrived, self._app
        for _ in range(len(arrived)):
            request = arrived.popleft()
            scope = request.scope
            if scope.path != "/p.gif" or scope.method != "GET":
                request.taskref(self._loop.create_task(self._run(request)))
                continue
            answer, commit = app.take_pixel(scope)
            if commit is None:
                _answer(request, answer)
                continue
            if commit is not self._commit:
                self._commit, self._waiting = commit, []
                commit.add_done_callback(partial(self._answer_all, self._waiting))
            self._waiting.append((request, answer))

    def _answer_all(self, waiting: list[tuple[Any, Headers]], commit: asyncio.Future[None]) -> None:
        """The fsync for ``waiting`` is done, or has failed."""
        if commit.cancelled() or commit.exception() is not None:
            for request, _ in waiting:
                _answer(request, self._app.lose_pixel())
            return
        self._app.metrics.accepted["p.gif"] += len(waiting)
        for request, answer in waiting:
            _answer(request, answer)

    async def _run(self, request: Any) -> None:
        try:
            await self._app.__rsgi__(request.scope, request.proto)
        except BaseException as error:
            request.err(error)
            raise
        request.done()

    def spawn_target(self) -> Callable[..., Awaitable[None]]:
        """For ``granian.server.embed.Server.serve``: like its own, with this scheduler."""

        async def spawn(
            worker_id: int,
            shutdown: Any,
            callback: Any,
            sock: Any,
            runtime_threads: int,
            runtime_blocking_threads: int | None,
            blocking_threads: int,
            blocking_threads_idle_timeout: int,
            backpressure: int,
            task_impl: Any,
            *http: Any,
        ) -> None:
            http_mode, http1, http2, websockets, static_path, _, tls, _ = http
            ended = self._loop.create_future()
            shutdown.add_cb(lambda: self._loop.call_soon_threadsafe(ended.set_result, None))
            worker = _WORKER(
                worker_id,
                sock,
                None,
                runtime_threads,
                runtime_blocking_threads,
                blocking_threads,
                blocking_threads_idle_timeout,
                backpressure,
                http_mode,
                http1,
                http2,
                websockets,
                static_path,
                *tls,
                (None, None),
            )
            worker.serve_async(
                _Scheduler(self._loop, None, None, None, None, lane=self), self._loop, shutdown
            )
            await ended

        return spawn


class _Scheduler(CallbackScheduler):
    """What Granian calls with each request."""

    def __new__(cls, *arguments: Any, lane: FastLane) -> _Scheduler:
        scheduler: _Scheduler = super().__new__(cls, *arguments)
        return scheduler

    def __init__(self, *_: Any, lane: FastLane) -> None:
        super().__init__()
        self._schedule_fn = lane.schedule


def _answer(request: Any, headers: Headers) -> None:
    try:
        request.proto.response_bytes(200, headers, GIF)
    except Exception as error:  # Granian's own: the client is gone
        request.err(error)
        return
    request.done()
