"""The collector process: one event loop, one spool, one writer; listening, keeping time, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import socket

import structlog
import uvloop

from attribution.errors import Misconfigured
from collector.app import CollectorApp, create_app
from collector.config import CollectorConfig
from collector.connection import Connection
from collector.limits import MAX_CONNECTIONS
from collector.reception import Reception

_BACKLOG = 4096
_OTHER_FILES = 256
"""Descriptors for the spool, Kafka, Redis and the standard streams."""
_GC_THRESHOLD = 20_000
_TICK_SECONDS = 1.0
_STOP_SECONDS = 3.0
"""How long a stopping server waits for requests that are arriving or being answered."""
_SETTLE_SECONDS = 0.05
"""How long a stopping server hears what was sent before the client could know."""

log = structlog.get_logger("collector")


def run(config: CollectorConfig) -> None:
    """Serve until SIGTERM or SIGINT, then stop cleanly. Blocks. Raises ``Misconfigured``."""
    # Requests make garbage that counting frees; what lives long was made before. Without this the cycle collector
    # walks every waiting request several times a second.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 100)
    _raise_file_limit()
    uvloop.run(_run(config))


async def _run(config: CollectorConfig) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app = create_app(config)
    await serve(app, stopped)


async def serve(app: CollectorApp, stopped: asyncio.Event) -> None:
    """Serve ``app`` on its address until ``stopped``; on return everything accepted is durable.

    Raises ``Misconfigured``, and any error that ended a part of the collector by itself.
    """
    config = app.config
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(contextlib.closing(each)) for each in _bind(config)]
        await app.start()
        reception = Reception(app, _room_for_connections())
        waits: list[asyncio.Task[object]] = []
        servers: list[asyncio.Server] = []
        try:
            servers = await _listen(reception, bound)
            log.info("collector_listens", host=config.host, port=config.port, sites=len(config.sites))
            waits = [
                asyncio.create_task(stopped.wait()),
                asyncio.create_task(app.outlets.crashed()),
                asyncio.create_task(_tick_forever(reception)),
            ]
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            # Requests that were being answered get their answers: the spool goes on committing meanwhile.
            await _stop(reception, servers)
            for task in done:
                await task
        finally:
            for task in waits:
                task.cancel()
            await app.stop()


def _bind(config: CollectorConfig) -> list[socket.socket]:
    """A socket for each address of the host. Raises ``Misconfigured``."""
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            config.host or None, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # "::" alone takes IPv4 too; beside an IPv4 address it must not.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(len(found) > 1))
            listener.bind(address)
    except OSError as error:
        for listener in bound:
            listener.close()
        raise _cannot_listen(config, error) from error
    return bound


async def _listen(reception: Reception, sockets: list[socket.socket]) -> list[asyncio.Server]:
    """Raises ``Misconfigured`` if another process listens there already."""
    loop = asyncio.get_running_loop()
    try:
        return [
            await loop.create_server(lambda: Connection(reception), sock=each, backlog=_BACKLOG)
            for each in sockets
        ]
    except OSError as error:
        raise _cannot_listen(reception.app.config, error) from error


def _cannot_listen(config: CollectorConfig, error: OSError) -> Misconfigured:
    return Misconfigured(
        f"The collector cannot listen on {config.host}:{config.port} ({error}).",
        "Set HEADWATER_COLLECTOR_HOST and HEADWATER_COLLECTOR_PORT to a free address.",
    )


async def _tick_forever(reception: Reception) -> None:
    while True:
        await asyncio.sleep(_TICK_SECONDS)
        reception.tick()


async def _stop(reception: Reception, servers: list[asyncio.Server]) -> None:
    """Hear no new clients, answer what has been asked, and close what is idle."""
    await asyncio.sleep(0)  # clients that the kernel has let in already are let in
    for server in servers:
        server.close()
    reception.is_stopping = True
    await asyncio.sleep(_SETTLE_SECONDS)
    for connection in list(reception.connections):
        connection.close_if_idle()
    reception.deserted.clear()
    if reception.connections:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reception.deserted.wait(), _STOP_SECONDS)
    for connection in list(reception.connections):
        connection.abort()
    if reception.tasks:
        await asyncio.wait(reception.tasks, timeout=_STOP_SECONDS)


def _raise_file_limit() -> None:
    """As many open files as the system lets this process have, up to what it can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _room_for_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        MAX_CONNECTIONS
        if soft == resource.RLIM_INFINITY
        else max(1, min(MAX_CONNECTIONS, soft - _OTHER_FILES))
    )
