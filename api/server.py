"""The query API as a process: Granian in front of the app, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal

import structlog
from granian.server.common import Interfaces
from granian.server.embed import Server

from api.app import create_app
from api.config import ApiConfig
from sinks.client import connect

_log = structlog.get_logger("headwater.api")
CONNECT_SECONDS = 3.0
"""How long a request waits for a ClickHouse that is away before it is answered 503."""


def run(config: ApiConfig) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is being answered and return."""
    asyncio.run(_serve(config))


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
