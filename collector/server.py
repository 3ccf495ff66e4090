"""The collector process: one event loop with Granian embedded in it, so that one spool has one writer."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket

import structlog
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from attribution.errors import Misconfigured
from collector.app import CollectorApp, create_app
from collector.config import CollectorConfig
from collector.fastlane import FastLane, is_possible
from collector.limits import MAX_HEADER_BYTES

_BACKLOG = 4096
_MAX_CONNECTIONS = 16_384
_HEADER_READ_MS = 10_000
_GC_THRESHOLD = 20_000

log = structlog.get_logger("collector")


def run(config: CollectorConfig) -> None:
    """Serve until SIGTERM or SIGINT, then stop cleanly. Blocks. Raises ``Misconfigured``."""
    # Requests make garbage that counting frees; what lives long was made before. Without this the cycle collector
    # walks every waiting request several times a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 100)
    uvloop.run(_run(config))


async def _run(config: CollectorConfig) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app = create_app(config)
    await serve(app, stopped)


async def serve(app: CollectorApp, stopped: asyncio.Event, *, fast: bool = True) -> None:
    """Serve ``app`` on its address until ``stopped``; on return everything accepted is durable.

    ``fast`` takes pixels in batches if this Granian allows it. Raises ``Misconfigured``, and any error that ended
    the HTTP server by itself.
    """
    config = app.config
    _check_port(config)
    await app.start()
    server = Server(
        app,
        address=config.host,
        port=config.port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_READ_MS, max_buffer_size=MAX_HEADER_BYTES),
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_MAX_CONNECTIONS,
        log_enabled=False,
    )
    lane = FastLane(app, asyncio.get_running_loop()).spawn_target() if fast and is_possible() else None
    log.info(
        "collector_listens",
        host=config.host,
        port=config.port,
        sites=len(config.sites),
        fast=lane is not None,
    )
    serving = asyncio.create_task(server.serve(spawn_target=lane))
    stopping = asyncio.create_task(stopped.wait())
    failing = asyncio.create_task(app.producer.crashed())
    try:
        await asyncio.wait((serving, stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        # Requests that were being answered get their answers: the spool goes on committing meanwhile.
        server.stop()
        await serving
        if failing.done():
            await failing
    finally:
        stopping.cancel()
        failing.cancel()
        await app.stop()


def _check_port(config: CollectorConfig) -> None:
    """Granian shares its port with whoever else does (SO_REUSEPORT); two collectors would halve the traffic."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Misconfigured(
            f"The collector cannot listen on {config.host}:{config.port} ({error}).",
            "Set HEADWATER_COLLECTOR_HOST and HEADWATER_COLLECTOR_PORT to a free address.",
        ) from error
