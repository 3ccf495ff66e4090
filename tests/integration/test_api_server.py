"""The query API as a process: it answers, and it stops cleanly when told to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess

import httpx
import pytest

from api.config import ApiConfig
from api.server import run
from attribution.errors import Misconfigured
from sinks.client import connect
from sinks.migrate import migrate


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def served(engine: str, fresh_database: str) -> Iterator[tuple[BaseProcess, str]]:
    migrate(connect(engine, fresh_database), fresh_database)
    config = ApiConfig(clickhouse=engine, database=fresh_database, read_keys=("key",), port=free_port())
    process = multiprocessing.get_context("spawn").Process(target=run, args=(config,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{config.port}"
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                break
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.05)
    yield process, url
    if process.is_alive():
        process.kill()
    process.join(10)


def stop(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join(15)
    assert process.exitcode == 0


def test_answers_over_a_socket_and_stops_with_0_on_sigterm(served: tuple[BaseProcess, str]) -> None:
    process, url = served
    with httpx.Client(headers={"Authorization": "Bearer key"}) as http:
        response = http.post(f"{url}/v1/query", json={"metrics": ["hits", "visitors", "revenue"]})
        assert response.json()["rows"] == [[0, 0, "0.00"]]
        head = http.head(f"{url}/")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(http.get(f"{url}/").content))
    stop(process, signal.SIGTERM)


def test_a_body_without_end_is_cut_off_and_sigint_stops_too(served: tuple[BaseProcess, str]) -> None:
    """Chunks for ever: answered 413 long before the sender is done, and the process is unharmed."""
    process, url = served
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for sent in range(100_000):  # noqa: B007
            yield b" " * 1024

    headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
    try:
        response = httpx.post(f"{url}/v1/query", content=endless(), headers=headers, timeout=20)
        assert response.status_code == 413
    except httpx.TransportError:
        # The connection may be closed before the answer is read: that is refusal enough.
        assert sent < 99_999
    assert httpx.get(f"{url}/healthz").status_code == 200
    stop(process, signal.SIGINT)


def test_a_taken_port_is_told_in_one_line() -> None:
    """Granian itself would panic and hang."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = ApiConfig(
            clickhouse="http://127.0.0.1:1", database="x", read_keys=("key",), port=other.getsockname()[1]
        )
        with pytest.raises(Misconfigured, match="HEADWATER_API_PORT"):
            run(config)
