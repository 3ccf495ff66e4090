"""The three embedded servers of one data folder as supervised processes: broker, valkey, engine."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from runtime.embedded import broker, state
from runtime.embedded.engine_server import PASSWORD_VARIABLE
from runtime.embedded.probes import http_is_ok
from runtime.place import Place
from runtime.supervisor import Process, Supervisor

BROKER, VALKEY, ENGINE = "broker", "valkey", "engine"
ALL = (BROKER, VALKEY, ENGINE)
_STOP_RANK = 10
"""After everything that uses them."""


class EmbeddedServers:
    """Addresses and processes of the servers in ``place``; as a context manager it also runs them.

    Ports and passwords are kept in the place's state, so each server comes back where it was.
    """

    def __init__(
        self,
        place: Place,
        *,
        partitions: int = 4,
        names: Sequence[str] = ALL,
        supervisor: Supervisor | None = None,
    ) -> None:
        """``names`` says which servers. Raises ``Misconfigured`` when one is not installed."""
        self._place = place
        self._partitions = partitions
        self._names = tuple(names)
        self.supervisor = supervisor or Supervisor(place.logs)
        self._ports = {name: place.port(name) for name in self._names}
        self._password = place.secret("server_password", lambda: secrets.token_hex(16))

    @property
    def kafka(self) -> str:
        """Bootstrap address of the broker, host:port."""
        return f"127.0.0.1:{self._ports[BROKER]}"

    @property
    def redis(self) -> str:
        """URL of Valkey, password included."""
        return f"redis://:{self._password}@127.0.0.1:{self._ports[VALKEY]}/0"

    @property
    def clickhouse(self) -> str:
        """URL of the engine's HTTP interface, user and password included."""
        return f"http://default:{self._password}@127.0.0.1:{self._ports[ENGINE]}"

    @property
    def pids(self) -> dict[str, int]:
        """Process id by server name."""
        return self.supervisor.pids

    def processes(self) -> list[Process]:
        """What to start."""
        makers = {BROKER: self._broker, VALKEY: self._valkey, ENGINE: self._engine}
        return [makers[name]() for name in self._names]

    async def __aenter__(self) -> Self:
        """Start them together. Raises ``ProcessFailed``."""
        try:
            await self.supervisor.start(*self.processes())
        except BaseException:
            await self.supervisor.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.supervisor.stop()

    def _broker(self) -> Process:
        port = self._ports[BROKER]
        binary = broker.broker_binary(self._place.data_dir)
        return Process(
            name=BROKER,
            command=lambda: broker.broker_command(binary, port),
            ready=lambda: broker.broker_is_ready(port, self._partitions),
            stop_rank=_STOP_RANK,
        )

    def _valkey(self) -> Process:
        port = self._ports[VALKEY]
        binary = str(state.valkey_binary())
        config = str(state.write_valkey_config(self._place.data_dir / "valkey", port, self._password))
        return Process(
            name=VALKEY,
            command=lambda: [binary, config],
            ready=lambda: state.valkey_is_ready(port, self._password),
            ready_within_s=120.0,  # a long append-only file is read first
            stop_rank=_STOP_RANK,
        )

    def _engine(self) -> Process:
        port = self._ports[ENGINE]
        folder = str(self._place.data_dir / "clickhouse")
        arguments = ["-m", "runtime.embedded.engine_server", "--data-dir", folder, "--port", str(port)]
        return Process(
            name=ENGINE,
            command=lambda: [sys.executable, *arguments],
            ready=lambda: http_is_ok(port, "/ping"),
            env={PASSWORD_VARIABLE: self._password, "TZ": "UTC"},
            ready_within_s=60.0,
            stop_within_s=15.0,
            stop_rank=_STOP_RANK,
        )
