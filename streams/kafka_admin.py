"""Topics and identity of a Kafka cluster: creates what is missing, refuses what does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from attribution.errors import Misconfigured, Transient
from streams import topics

_TOPIC_EXISTS = 36
_REFUSED_FOR_GOOD = {
    29: "this client may not create topics",
    37: "the number of partitions is not allowed",
    38: "the replication factor is larger than the number of brokers",
    44: "a policy of the cluster forbids the topic",
}
_REQUEST_TIMEOUT_S = 15.0
_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0


async def cluster_id(bootstrap: str) -> str:
    """The id of the cluster at ``bootstrap`` (host:port[,host:port]). Raises ``Transient`` if it is away."""
    async with _admin(bootstrap) as admin:
        cluster = await admin.describe_cluster()
        return str(cluster["cluster_id"])


async def brokers_known_to(host: str, port: int) -> set[int]:
    """The ids of the live brokers of the cluster, as this one node sees them. Raises ``Transient`` if it is away.

    Asks that node and no other: a client would turn to any node of the cluster.
    """
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            connection = await create_conn(host, port, client_id="headwater-probe")
            try:
                metadata = await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient(f"Kafka at {host}:{port} is away: {error!r}") from error
    return {broker[0] for broker in metadata.brokers}


async def ensure_topics(
    bootstrap: str, partitions: int, replication: int = 1, names: Sequence[str] = topics.ALL
) -> None:
    """Create the topics ``names`` that are missing and wait until every partition has a leader. Safe to repeat.

    Raises ``Misconfigured`` when a topic exists with another number of partitions (the partition is part of the
    state's keys, so it cannot change) or when the cluster refuses the topics; ``Transient`` when it is away.
    """
    configs = {"min.insync.replicas": "2"} if replication >= 3 else {}
    async with _admin(bootstrap) as admin:
        wanted = [NewTopic(name, partitions, replication, topic_configs=configs) for name in names]
        answer = await admin.create_topics(wanted)
        for name, code, message in answer.topic_errors:
            if code in _REFUSED_FOR_GOOD:
                raise Misconfigured(
                    f"Kafka refuses topic {name}: {_REFUSED_FOR_GOOD[code]} ({message}).",
                    "Set HEADWATER_PARTITIONS and HEADWATER_KAFKA_REPLICATION to what the cluster allows.",
                )
            if code not in (0, _TOPIC_EXISTS):
                raise Transient(f"Kafka did not create topic {name}: error {code} ({message})")
        counts = await _partition_counts(admin, names)
    for name, count in counts.items():
        if count != partitions:
            raise Misconfigured(
                f"Topic {name} has {count} partitions, but HEADWATER_PARTITIONS is {partitions}.",
                f"Set HEADWATER_PARTITIONS={count}, or use another cluster.",
            )


async def _partition_counts(admin: Any, names: Sequence[str]) -> dict[str, int]:
    """Partitions of each topic, once all of them have leaders (creation is asynchronous on a real cluster)."""
    deadline = asyncio.get_running_loop().time() + _REQUEST_TIMEOUT_S
    while True:
        found = {
            topic["topic"]: len(topic["partitions"])
            for topic in await admin.describe_topics(list(names))
            if topic["error_code"] == 0 and all(p["error_code"] == 0 for p in topic["partitions"])
        }
        if len(found) == len(names):
            return found
        if asyncio.get_running_loop().time() > deadline:
            missing = sorted(set(names) - found.keys())
            raise Transient(f"Kafka has no leaders yet for {', '.join(missing)}")
        await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[Any]:
    """A connected admin client; failures to reach the cluster become ``Transient``."""
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap, request_timeout_ms=int(_REQUEST_TIMEOUT_S * 1000), client_id="headwater"
    )
    try:
        async with asyncio.timeout(2 * _REQUEST_TIMEOUT_S):
            await admin.start()
            yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient(f"Kafka at {bootstrap} is away: {error!r}") from error
    finally:
        await admin.close()
