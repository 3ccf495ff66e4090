"""Apache Kafka's own broker on loopback: KRaft, one node or three, its log on disk.

Unlike the embedded broker it is durable: the cluster id is chosen once and stays, offsets go on after a restart, and
it takes idempotent producers. A cluster of three keeps three copies of each record and acknowledges it when two have it
(``streams.kafka_admin``), so any one node may be killed. A killed process loses nothing; a power cut of a single node
may lose its last second (``log.flush``).
"""

from __future__ import annotations

import base64
import secrets
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attribution.errors import HeadwaterError
from runtime.embedded.apache_kafka_install import Installed
from streams import kafka_admin

NODE_COUNTS = (1, 3)
STARTED = "Kafka Server started"
"""What a node prints when it has come up."""
_FORMAT_SECONDS = 120.0

_CONFIG = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
unclean.leader.election.enable=false
default.replication.factor={replication}
min.insync.replicas={in_sync}
offsets.topic.num.partitions=4
offsets.topic.replication.factor={replication}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replication}
share.coordinator.state.topic.min.isr={in_sync}
# What a power cut may take from a single node: as much as from Valkey's append-only file.
log.flush.interval.ms=1000
log.flush.scheduler.interval.ms=1000
# How soon a dead or frozen node is missed. It is also how long one that was killed waits until it may return.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms={session_ms}
group.initial.rebalance.delay.ms=0
# Few and small requests: the usual 8 + 3 threads for each node would only wait.
num.io.threads=2
num.network.threads=2
num.replica.fetchers=1
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
message.max.bytes=8400000
replica.fetch.max.bytes=8400000
"""

_LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


@dataclass(frozen=True)
class NodePorts:
    """Ports of one node on 127.0.0.1."""

    clients: int
    controller: int


class ApacheKafka:
    """The files and command lines of a cluster in ``folder``; it starts nothing. Nodes are numbered from 1."""

    def __init__(
        self, installed: Installed, folder: Path, ports: Sequence[NodePorts], java_options: Sequence[str] = ()
    ) -> None:
        """``ports`` has one element for each node; ``java_options`` come after our own."""
        self._installed = installed
        self._java_options = tuple(java_options)
        self._folder = folder.resolve()
        self._ports = tuple(ports)

    @property
    def numbers(self) -> range:
        """The nodes' numbers."""
        return range(1, len(self._ports) + 1)

    @property
    def bootstrap(self) -> str:
        """Addresses for clients: host:port[,host:port]."""
        return ",".join(self.address(number) for number in self.numbers)

    @property
    def replication(self) -> int:
        """Copies of each record that the cluster can keep."""
        return len(self._ports)

    def address(self, number: int) -> str:
        """host:port of one node."""
        return f"127.0.0.1:{self._ports[number - 1].clients}"

    def log_dir(self, number: int) -> Path:
        """Where one node keeps its records and its part of the cluster's metadata."""
        return self._folder / f"node-{number}"

    def prepare(self) -> None:
        """Write the configuration of every node; format the nodes that have no log yet. Safe to repeat.

        Takes a second the first time. Raises ``HeadwaterError`` if a folder cannot be formatted.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "log4j2.properties").write_text(_LOGGING)
        for number in self.numbers:
            self._config(number).write_text(self._config_text(number))
        cluster = self._cluster_id()
        formatting = [
            (number, self._format(number, cluster))
            for number in self.numbers
            if not (self.log_dir(number) / "meta.properties").exists()
        ]
        for number, process in formatting:
            said, _ = process.communicate(timeout=_FORMAT_SECONDS)
            if process.returncode != 0:
                raise HeadwaterError(f"Node {number} of Apache Kafka cannot be formatted: {said[-1000:]}")

    def command(self, number: int) -> list[str]:
        """The command line of one node, once ``prepare`` has been there."""
        return [*self._java(), *self._java_options, "kafka.Kafka", str(self._config(number))]

    async def is_ready(self, number: int) -> bool:
        """True once the node serves clients and the cluster counts it in. Raises ``Transient`` while it does not."""
        return number in await kafka_admin.brokers_known_to("127.0.0.1", self._ports[number - 1].clients)

    def _java(self) -> list[str]:
        archive = self._installed.archive
        return [
            self._installed.java.binary,
            # One thread collects garbage, the quick compiler only: a start costs half as much CPU time, and nodes of
            # one machine leave the cores to those they serve.
            *(
                "-Xms64m",
                "-Xmx384m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-XX:+ExitOnOutOfMemoryError",
            ),
            *([f"-XX:SharedArchiveFile={archive}"] if archive.exists() else []),
            f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
            *("-cp", self._installed.class_path),
        ]

    def _format(self, number: int, cluster: str) -> subprocess.Popen[str]:
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster]
        return subprocess.Popen(
            [*self._java(), *tool, "-c", str(self._config(number))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _config(self, number: int) -> Path:
        return self._folder / f"node-{number}.properties"

    def _config_text(self, number: int) -> str:
        ports = self._ports[number - 1]
        voters = (f"{n}@127.0.0.1:{self._ports[n - 1].controller}" for n in self.numbers)
        return _CONFIG.format(
            number=number,
            voters=",".join(voters),
            port=ports.clients,
            controller_port=ports.controller,
            log_dir=self.log_dir(number),
            replication=self.replication,
            in_sync=min(2, self.replication),
            session_ms=2_000 if self.replication == 1 else 6_000,
        )

    def _cluster_id(self) -> str:
        """The id that the first start chose: offsets in Redis count in the log of this cluster only."""
        path = self._folder / "cluster-id"
        if not path.exists():
            # Kafka's form of a UUID; the first bit is 0, or it might begin with "-" and look like an option.
            uuid = bytes([secrets.randbelow(128)]) + secrets.token_bytes(15)
            draft = path.with_suffix(".new")
            draft.write_text(base64.urlsafe_b64encode(uuid).decode().rstrip("="))
            draft.replace(path)
        return path.read_text()
