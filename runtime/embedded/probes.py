"""Questions to a loopback port: does it listen, does it answer. No client library, no exceptions when it is
away.
"""

from __future__ import annotations

import asyncio
import random
import socket
from contextlib import suppress

from attribution.errors import Misconfigured

_LOOPBACK = "127.0.0.1"
_SERVER_PORTS = range(15_000, 32_000)
_ANSWER_TIMEOUT_S = 2.0


def is_port_free(port: int) -> bool:
    """True if a server could listen on ``port`` of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(taken: set[int]) -> int:
    """A port of loopback that nobody uses and that is not in ``taken``. Raises ``Misconfigured`` if none is.

    Below the range from which the system gives ports to clients: else a client that keeps trying to reach a
    restarting server may be given the server's own port, connect to itself and keep the server out.
    """
    for port in random.sample(_SERVER_PORTS, 500):
        if port not in taken and is_port_free(port):
            return port
    raise Misconfigured("No free port on 127.0.0.1.", "Stop some servers, then try again.")


async def is_port_open(port: int) -> bool:
    """True if somebody listens on ``port`` of loopback."""
    try:
        _, writer = await asyncio.open_connection(_LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


async def ask(port: int, question: bytes, until: bytes) -> bytes:
    """What the server on ``port`` answers to ``question``, up to and with ``until``; shorter (or b"") if it
    stops.
    """
    try:
        reader, writer = await asyncio.open_connection(_LOOPBACK, port)
    except OSError:
        return b""
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            writer.write(question)
            return await reader.readuntil(until)
    except asyncio.IncompleteReadError as error:
        return error.partial
    except (OSError, TimeoutError, asyncio.LimitOverrunError):
        return b""
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def http_is_ok(port: int, path: str, host: str = _LOOPBACK) -> bool:
    """True if ``GET path`` on ``port`` answers 200."""
    question = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    return (await ask(port, question, until=b"\r\n")).split(b" ")[1:2] == [b"200"]
