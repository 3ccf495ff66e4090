"""``python -m bench.facts``: the facts of delivery, on Apache Kafka; some six minutes."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

from attribution.errors import Misconfigured
from bench.facts import offsets
from bench.facts.fence import own_fence
from bench.facts.offsets import Fact
from bench.machine import describe
from runtime.embedded.apache_kafka_archive import install_to_start
from runtime.embedded.apache_kafka_install import kafka_version
from runtime.embedded.apache_kafka_nodes import ApacheKafkaNodes

FACTS: tuple[Callable[[str, Path], Awaitable[Fact]], ...] = (
    offsets.agent_raises,
    offsets.agent_crashes,
    offsets.take_raises,
    offsets.take_is_stopped,
    offsets.take_is_killed,
    offsets.own_acks_raise,
    lambda kafka, folder: own_fence(),
    lambda kafka, folder: offsets.stand_by_idles(kafka, folder, 12.0),
    lambda kafka, folder: offsets.stand_by_idles(kafka, folder, 1e6),
)


async def main() -> int:
    """Observe, print; 0 if every fact is as stated."""
    print(f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {describe()}")
    names = ("faust-streaming", "mode-streaming", "aiokafka")
    print(f"Apache Kafka {kafka_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    all_as_stated = True
    installed = install_to_start()
    with (
        tempfile.TemporaryDirectory(prefix="hw-facts-") as name,
        ApacheKafkaNodes(installed, Path(name) / "kafka") as nodes,
    ):
        await nodes.start()
        for observe in FACTS:
            fact = await observe(nodes.bootstrap, Path(name))
            all_as_stated &= fact.is_as_stated
            verdict = "ok   " if fact.is_as_stated else "OTHER"
            print(f"{verdict} {fact.number}  {fact.what}: {fact.seen}", flush=True)
    return 0 if all_as_stated else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except Misconfigured as error:
        print(error, file=sys.stderr)
        sys.exit(2)
