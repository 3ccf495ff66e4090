"""What the collector's tests share: an app on a free port, a collector process, and readers of what they keep."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from attribution.hit import Hit, decode_envelope
from collector.app import CollectorApp, create_app
from collector.config import CollectorConfig
from collector.segments import find_segments, read_frames
from collector.server import serve
from runtime.embedded.apache_kafka_install import Installed
from runtime.embedded.apache_kafka_nodes import ApacheKafkaNodes
from runtime.embedded.broker import broker_binary, broker_command
from streams import kafka_admin
from streams.topics import HITS

SITE = "shop"
PARTITIONS = 4
NOBODY = "127.0.0.1:9"
"""An address where no broker is."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def config_of(directory: Path, **changes: Any) -> CollectorConfig:
    settings: dict[str, Any] = {
        "sites": frozenset({SITE}),
        "spool_dir": directory,
        "port": free_port(),
        "kafka": NOBODY,
        "kafka_idempotent": False,
        "partitions": PARTITIONS,
        "redis": "redis://127.0.0.1:9/0",
        "rate_per_second": 0,
        "drain_seconds": 0.0,
    }
    return CollectorConfig(**{**settings, **changes})


async def eventually(check: Callable[[], Any | Awaitable[Any]], seconds: float = 20.0) -> Any:
    """The first true result of ``check`` within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One keep-alive connection that sends exactly the bytes it is told to."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(request)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1")
        lines = head.split("\r\n")
        headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:] if line)]
        length = int(dict(headers).get("content-length", 0))
        answer = Answer(int(lines[0].split()[1]), headers, await reader.readexactly(length))
        if answer.header("connection") == "close":
            await self.close()
        return answer

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.request("GET", target, b"", headers)

    async def post(self, target: str, body: Any, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request("POST", target, data, {"content_type": "application/json", **headers})

    async def request(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", "host: localhost", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def running(config: CollectorConfig) -> AsyncIterator[tuple[CollectorApp, Client]]:
    """An app behind a real server, and a client of it."""
    app, stopped = create_app(config), asyncio.Event()
    serving = asyncio.create_task(serve(app, stopped))
    client = Client(config.port)
    try:
        await eventually(lambda: serving.done() or is_open(config.port))
        yield app, client
    finally:
        await client.close()
        stopped.set()
        await serving


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def spooled(directory: Path) -> list[Hit]:
    """Hits in the files of a spool, in order."""
    hits: list[Hit] = []
    for segment in find_segments(directory)[0]:
        at = 0
        while at < segment.durable and (segment.durable - at) > 8:
            frames, at = read_frames(segment.path, at, segment.durable, 1 << 20)
            for frame in frames:
                hits.extend(decode_envelope(b"[" + frame.payload + b"]"))
    return hits


class CollectorProcess:
    """A collector in a process of its own, that can be killed."""

    def __init__(self, config: CollectorConfig, limit_file_bytes: int = 0) -> None:
        self.config = config
        limit = (
            f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_file_bytes},) * 2);"
            if limit_file_bytes
            else ""
        )
        values = {name: getattr(config, name) for name in CollectorConfig.__slots__}
        values["spool_dir"] = str(config.spool_dir)
        values["sites"] = sorted(config.sites)
        code = (
            "import json, resource, sys; from pathlib import Path;"
            "from collector.config import CollectorConfig; from collector.server import run;"
            f"{limit} c = json.loads(sys.argv[1]); c['sites'] = frozenset(c['sites']);"
            "c['spool_dir'] = Path(c['spool_dir']); c['trusted_proxies'] = tuple(c['trusted_proxies']);"
            "run(CollectorConfig(**c))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(values)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    async def ready(self) -> None:
        await eventually(lambda: is_open(self.config.port))

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def terminate(self) -> int:
        self.process.terminate()
        return self._end()

    def _end(self) -> int:
        assert self.process.stderr is not None
        self.errors = self.process.stderr.read().decode()
        self.process.stderr.close()
        return self.process.wait(20)


class Broker:
    """A broker of one's own on a fixed port; ``cluster`` names its log, "" = a new volatile one."""

    takes_idempotent = False

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._binary = broker_binary(directory)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, cluster: str = "", with_topic: bool = True) -> str:
        command = broker_command(self._binary, self.port)
        at = command.index("--cluster-id") + 1
        command[at] = cluster or command[at]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        await eventually(lambda: is_open(self.port))
        if with_topic:
            await kafka_admin.ensure_topics(self.address, PARTITIONS, names=[HITS])
        return command[at]

    def pause(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        # On a busy machine it works on for a while; stopped are all of its threads or none.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class ApacheBroker:
    """A node of Apache Kafka of one's own, as ``Broker``; its log is always the same."""

    takes_idempotent = True

    def __init__(self, installed: Installed, directory: Path) -> None:
        self._nodes = ApacheKafkaNodes(installed, directory)
        self.address = self._nodes.bootstrap

    async def start(self, cluster: str = "", with_topic: bool = True) -> str:
        await self._nodes.start()
        if with_topic:
            await kafka_admin.ensure_topics(self.address, PARTITIONS, names=[HITS])
        return await kafka_admin.cluster_id(self.address)

    def pause(self) -> None:
        self._nodes.pause(1)

    def kill(self) -> None:
        self._nodes.kill()


async def in_kafka(address: str) -> list[tuple[int, int, Hit]]:
    """Everything in the hits topic: partition, offset, hit."""
    return await asyncio.wait_for(_read_all(address), 20)


async def _read_all(address: str) -> list[tuple[int, int, Hit]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(HITS, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        left = {partition for partition, end in ends.items() if end > 0}
        found: list[tuple[int, int, Hit]] = []
        while left:
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                for record in records:
                    found += [
                        (partition.partition, record.offset, hit) for hit in decode_envelope(record.value)
                    ]
                if records[-1].offset >= ends[partition] - 1:
                    left.discard(partition)
        return found
    finally:
        await consumer.stop()


async def ids_in_kafka(address: str) -> set[str]:
    return {hit.event_id for _, _, hit in await in_kafka(address)}
