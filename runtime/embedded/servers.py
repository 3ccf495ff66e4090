"""The servers of one data folder as supervised processes: broker, valkey, engine.

The broker is Tansu, or Apache Kafka with one node or three (``broker``, ``broker-2``, ``broker-3``).
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from runtime.embedded import broker, state
from runtime.embedded.apache_kafka import ApacheKafka, NodePorts
from runtime.embedded.apache_kafka_archive import install_to_start
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
        apache_nodes: int = 0,
        broker_max_bytes: int = 0,
    ) -> None:
        """``names`` says which servers; with ``apache_nodes`` the broker is Apache Kafka, else Tansu.

        ``broker_max_bytes`` bounds the memory of Tansu, which is its log and only grows: beyond it, it begins anew.

        Tansu is ready when it has the topics, because it forgets them; on Apache Kafka whoever needs them makes them.
        Raises ``Misconfigured`` when one is not installed.
        """
        self._place = place
        self._partitions = partitions
        self._broker_max_bytes = broker_max_bytes
        self._names = tuple(names)
        self.supervisor = supervisor or Supervisor(place.logs)
        self._apache = self._new_apache(apache_nodes) if apache_nodes and BROKER in names else None
        self._ports = {name: place.port(name) for name in self._names if name != BROKER or not self._apache}
        self._password = place.secret("server_password", lambda: secrets.token_hex(16))

    @property
    def kafka(self) -> str:
        """Bootstrap addresses of the broker, host:port[,host:port]."""
        return self._apache.bootstrap if self._apache else f"127.0.0.1:{self._ports[BROKER]}"

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
        makers = {BROKER: self._brokers, VALKEY: self._valkey, ENGINE: self._engine}
        return [process for name in self._names for process in makers[name]()]

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

    def _new_apache(self, nodes: int) -> ApacheKafka:
        numbers = range(1, nodes + 1)
        ports = [
            NodePorts(self._place.port(_node_name(n)), self._place.port(f"{_node_name(n)}-controller"))
            for n in numbers
        ]
        return ApacheKafka(install_to_start(), self._place.data_dir / "apache-kafka", ports)

    def _brokers(self) -> list[Process]:
        if self._apache is None:
            return [self._tansu()]
        self._apache.prepare()
        return [self._apache_node(self._apache, number) for number in self._apache.numbers]

    def _apache_node(self, apache: ApacheKafka, number: int) -> Process:
        return Process(
            name=_node_name(number),
            command=lambda: apache.command(number),
            ready=lambda: apache.is_ready(number),
            ready_within_s=120.0,  # after a kill the log is read first
            stop_within_s=15.0,
            stop_rank=_STOP_RANK,
        )

    def _tansu(self) -> Process:
        port = self._ports[BROKER]
        binary = broker.broker_binary(self._place.data_dir)
        return Process(
            name=BROKER,
            command=lambda: broker.broker_command(binary, port),
            ready=lambda: broker.broker_is_ready(port, self._partitions),
            max_memory_bytes=self._broker_max_bytes,
            stop_rank=_STOP_RANK,
        )

    def _valkey(self) -> list[Process]:
        port = self._ports[VALKEY]
        binary = str(state.valkey_binary())
        config = str(state.write_valkey_config(self._place.data_dir / "valkey", port, self._password))
        process = Process(
            name=VALKEY,
            command=lambda: [binary, config],
            ready=lambda: state.valkey_is_ready(port, self._password),
            ready_within_s=120.0,  # a long append-only file is read first
            stop_rank=_STOP_RANK,
        )
        return [process]

    def _engine(self) -> list[Process]:
        port = self._ports[ENGINE]
        folder = str(self._place.data_dir / "clickhouse")
        arguments = ["-m", "runtime.embedded.engine_server", "--data-dir", folder, "--port", str(port)]
        process = Process(
            name=ENGINE,
            command=lambda: [sys.executable, *arguments],
            ready=lambda: http_is_ok(port, "/ping"),
            env={PASSWORD_VARIABLE: self._password, "TZ": "UTC"},
            ready_within_s=60.0,
            stop_within_s=15.0,
            stop_rank=_STOP_RANK,
        )
        return [process]


def _node_name(number: int) -> str:
    return BROKER if number == 1 else f"{BROKER}-{number}"
