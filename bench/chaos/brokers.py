"""The brokers of the big system, with a ``Link`` on the way from every client to each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from bench.chaos.proxy import Link, kafka_client
from runtime.embedded import broker
from runtime.embedded.apache_kafka import ApacheKafka, NodePorts
from runtime.embedded.apache_kafka_archive import install_to_start
from runtime.place import Place
from runtime.supervisor import Process

_STOP_RANK = 10
_NODES = 3
_CLIENTS_BY_LINK = """
# A listener of its own for clients, who are led to the link; nodes among themselves go directly.
listeners=PLAINTEXT://127.0.0.1:{direct},LINKED://127.0.0.1:{linked},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{direct},LINKED://127.0.0.1:{link}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LINKED:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
# The replay reads the whole log.
log.retention.ms=-1
"""
"""Added to a node's properties: of two lines with one name the later one counts."""


class Brokers(Protocol):
    """What the rest needs to know of them."""

    @property
    def names(self) -> Sequence[str]:
        """Their processes."""

    @property
    def links(self) -> Sequence[Link]:
        """One before each."""

    @property
    def bootstrap(self) -> str:
        """Their own addresses."""

    @property
    def bootstrap_of_clients(self) -> str:
        """The addresses of their links."""

    @property
    def env(self) -> Mapping[str, str]:
        """Settings of those who use them."""

    @property
    def is_durable(self) -> bool:
        """True if the log outlives a broker."""

    def processes(self) -> list[Process]:
        """What to start."""


class EmbeddedBroker:
    """One broker that forgets its log when it dies."""

    names = ("broker",)
    env = {"HEADWATER_KAFKA_IDEMPOTENT": "false", "HEADWATER_KAFKA_REPLICATION": "1"}
    is_durable = False

    def __init__(self, place: Place, partitions: int) -> None:
        self._port = place.port("broker")
        self._partitions = partitions
        self._binary = broker.broker_binary(place.data_dir)
        self.links = [Link("clients>broker", place.port("link broker"), self._port, kafka_client)]

    @property
    def bootstrap(self) -> str:
        """Its own address. (Who asks for metadata is led to the link nevertheless.)"""
        return f"127.0.0.1:{self._port}"

    @property
    def bootstrap_of_clients(self) -> str:
        """The address of its link."""
        return f"127.0.0.1:{self.links[0].port}"

    def processes(self) -> list[Process]:
        """What to start."""
        return [
            Process(
                name="broker",
                command=self._command,
                ready=lambda: broker.broker_is_ready(self._port, self._partitions),
                stop_rank=_STOP_RANK,
            )
        ]

    def _command(self) -> list[str]:
        command = broker.broker_command(self._binary, self._port)
        command[command.index("--advertised-listener-url") + 1] = f"tcp://{self.bootstrap_of_clients}"
        return command


class Kafka:
    """Three nodes of Apache Kafka; a record is acknowledged when two of them have it."""

    env = {"HEADWATER_KAFKA_REPLICATION": str(_NODES)}
    is_durable = True

    def __init__(self, place: Place) -> None:
        """Raises ``Misconfigured`` where Java or its artifacts are missing."""
        installed = install_to_start()
        numbers = range(1, _NODES + 1)
        ports = [NodePorts(place.port(f"kafka-{n}"), place.port(f"controller-{n}")) for n in numbers]
        self._linked = [place.port(f"linked kafka-{n}") for n in numbers]
        self.names = tuple(f"kafka-{n}" for n in numbers)
        self.links = [
            Link(f"clients>{name}", place.port(f"link {name}"), port, kafka_client)
            for name, port in zip(self.names, self._linked, strict=True)
        ]
        folder = place.data_dir / "apache-kafka"
        self._cluster = ApacheKafka(installed, folder, ports)
        self._cluster.prepare()
        for n, of_node, linked, link in zip(numbers, ports, self._linked, self.links, strict=True):
            with open(folder / f"node-{n}.properties", "a") as config:
                config.write(
                    _CLIENTS_BY_LINK.format(
                        direct=of_node.clients, controller=of_node.controller, linked=linked, link=link.port
                    )
                )

    @property
    def bootstrap(self) -> str:
        """Their own addresses."""
        return self._cluster.bootstrap

    @property
    def bootstrap_of_clients(self) -> str:
        """The addresses of their links."""
        return ",".join(f"127.0.0.1:{link.port}" for link in self.links)

    def processes(self) -> list[Process]:
        """What to start."""
        return [self._node(n, name) for n, name in enumerate(self.names, 1)]

    def _node(self, number: int, name: str) -> Process:
        return Process(
            name=name,
            command=lambda: self._cluster.command(number),
            ready=lambda: self._cluster.is_ready(number),
            ready_within_s=120.0,
            stop_within_s=30.0,
            stop_rank=_STOP_RANK,
        )
