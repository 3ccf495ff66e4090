"""The query API as a process: Granian in front of the app, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time

import structlog
from granian.server.common import Interfaces
from granian.server.embed import Server

from api.app import create_app
from api.config import ApiConfig
from attribution.errors import Misconfigured
from sinks.client import connect

_log = structlog.get_logger("headwater.api")
CONNECT_SECONDS = 3.0
"""How long a request waits for a ClickHouse that is away before it is answered 503."""
_THREADS_END_WITHIN_S = 2.0


def run(config: ApiConfig) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is being answered and return. Raises ``Misconfigured``."""
    _check_address(config)
    others = _foreign_threads()
    asyncio.run(_serve(config))
    _wait_for_threads(others)


async def _serve(config: ApiConfig) -> None:
    app = create_app(
        config,
        lambda: connect(
            config.clickhouse, config.database, wait=CONNECT_SECONDS, timeout=float(config.max_seconds + 5)
        ),
    )
    server = Server(
        app,
        address=config.host,
        port=config.port,
        interface=Interfaces.ASGI,
        log_enabled=False,
        websockets=False,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    _log.info("query API listens", host=config.host, port=config.port)
    await server.serve()
    _log.info("query API stopped")


def _wait_for_threads(others: set[int]) -> None:
    """Wait until all threads but ``others`` are gone: Granian's let go of Python objects in their last milliseconds.

    ``serve()`` returns before that, and one that does so after Python's end aborts the process (granian#693).
    """
    deadline = time.monotonic() + _THREADS_END_WITHIN_S
    while _foreign_threads() - others and time.monotonic() < deadline:
        time.sleep(0.002)


def _foreign_threads() -> set[int]:
    """Ids of this process' threads that Python did not start; none where the system does not tell."""
    try:
        threads = {int(thread) for thread in os.listdir("/proc/self/task")}
    except OSError:
        return set()
    return threads - {thread.native_id for thread in threading.enumerate() if thread.native_id}


def _check_address(config: ApiConfig) -> None:
    """Granian answers a taken port with a panic of its Rust part and a process that hangs."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Misconfigured(
            f"The query API cannot listen on {config.host}:{config.port} ({error}).",
            "Set HEADWATER_API_HOST and HEADWATER_API_PORT to a free address.",
        ) from error
