"""`headwater up`: real servers; stand-ins for the collector, worker and api (see ``up_stub.py``)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from attribution.errors import Misconfigured, Transient
from runtime.installation import settings_of
from runtime.place import Place
from runtime.supervisor import ProcessFailed
from runtime.up import Up, UpOptions, broker_limit, run_up
from streams import kafka_admin

STUB = (sys.executable, str(Path(__file__).with_name("up_stub.py")))


@pytest.fixture
def options(tmp_path: Path) -> UpOptions:
    return UpOptions(data_dir=tmp_path / "place", collector_port=0, api_port=0, program=STUB)


def environment(url: str) -> dict[str, str]:
    """The HEADWATER_* variables that a stand-in was given."""
    with urlopen(url, timeout=10) as answer:
        return dict(line.split("=", 1) for line in answer.read().decode().splitlines())


def is_alive(pid: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def run_file_where(data_dir: Path, **pids: int) -> dict[str, Any]:
    """``run.json`` once the named processes have other ids than those given."""
    deadline = time.monotonic() + 20
    while True:
        run: dict[str, Any] = json.loads((data_dir / "run.json").read_text())
        if all(run["pids"].get(name) not in (None, pid) for name, pid in pids.items()):
            return run
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_the_run_file_tells_all_that_the_contract_names(options: UpOptions) -> None:
    async with Up(replace(options, workers=2)) as up:
        run = json.loads((options.data_dir / "run.json").read_text())
        assert run == up.run
        assert run.keys() == {
            "collector", "api", "clickhouse", "redis", "kafka", "site_key", "read_key", "settings", "pids"
        }  # fmt: skip
        assert settings_of(options.data_dir).kafka_idempotent is False
        names = {"up", "broker", "valkey", "engine", "collector", "worker", "worker-2", "api"}
        assert run["pids"].keys() == names
        assert all(is_alive(pid) for pid in run["pids"].values())
        given = environment(run["collector"])
        assert given["HEADWATER_SITES"] == run["site_key"]
        assert given["HEADWATER_READ_KEYS"] == run["read_key"]
        assert given["HEADWATER_KAFKA_IDEMPOTENT"] == "false"
        for name in ("kafka", "redis", "clickhouse"):
            assert given[f"HEADWATER_{name.upper()}"] == run[name]
    assert not (options.data_dir / "run.json").exists()
    assert not any(is_alive(pid) for name, pid in run["pids"].items() if name != "up")


async def test_the_next_up_has_the_same_addresses_and_keys(options: UpOptions) -> None:
    async with Up(options) as up:
        first = up.run
    async with Up(options) as up:
        assert {**up.run, "pids": None} == {**first, "pids": None}


async def test_a_killed_part_comes_back_and_the_run_file_knows_it(options: UpOptions) -> None:
    async with Up(options) as up:
        first = up.run
        for name in ("collector", "engine"):
            os.kill(first["pids"][name], signal.SIGKILL)
        run = await run_file_where(
            options.data_dir, collector=first["pids"]["collector"], engine=first["pids"]["engine"]
        )
        assert {**run, "pids": None} == {**first, "pids": None}


async def test_a_killed_broker_comes_back_as_another_cluster_with_its_topics(options: UpOptions) -> None:
    async with Up(options) as up:
        first = await kafka_admin.cluster_id(up.run["kafka"])
        pid = up.run["pids"]["broker"]
        os.kill(pid, signal.SIGKILL)
        await run_file_where(options.data_dir, broker=pid)
        deadline = time.monotonic() + 20
        while True:
            try:
                assert await kafka_admin.cluster_id(up.run["kafka"]) != first
                break
            except Transient:
                assert time.monotonic() < deadline
        await kafka_admin.ensure_topics(up.run["kafka"], 2)


async def test_a_broker_that_holds_too_much_memory_comes_back_as_another_cluster(options: UpOptions) -> None:
    """Its log is in memory and only grows. What the worker has not passed is in the collector's spool."""
    async with Up(replace(options, broker_max_bytes=1 << 20)) as up:
        await run_file_where(options.data_dir, broker=up.run["pids"]["broker"])


def test_the_embedded_broker_has_room_for_all_that_may_wait() -> None:
    gib = 1 << 30
    assert broker_limit(gib, 4 * gib) == 2.5 * gib
    assert broker_limit(gib, 64 * gib) == 16 * gib
    assert broker_limit(20 * gib, 64 * gib) > 40 * gib


async def test_one_up_per_folder(options: UpOptions) -> None:
    async with Up(options):
        with pytest.raises(Misconfigured, match="already runs"):
            Up(options)


async def test_a_port_that_was_asked_for_and_is_taken_is_an_error(options: UpOptions) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"Port {port} is taken.*--collector-port"):
            Up(replace(options, collector_port=port))
    Up(replace(options, collector_port=port))  # the folder was let go


def test_a_usual_port_that_is_taken_is_replaced_with_a_notice(
    options: UpOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.place.is_port_free", lambda port: port != 8080)
    up = Up(replace(options, collector_port=None))
    assert not up.run["collector"].endswith(":8080")
    assert len(up.notices) == 1
    assert "8080 was taken" in up.notices[0]


async def test_partitions_are_fixed_once_chosen(options: UpOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Up(options) as up:
        assert environment(up.run["collector"])["HEADWATER_PARTITIONS"] == "2"
    monkeypatch.setenv("HEADWATER_PARTITIONS", "8")
    with pytest.raises(Misconfigured, match="HEADWATER_PARTITIONS=2"):
        Up(options)


@pytest.mark.parametrize(
    ("begun_with", "workers", "partitions"), [(0, 1, "2"), (0, 3, "3"), (4, 1, "4"), (4, 3, "4")]
)
async def test_a_place_keeps_the_partitions_that_it_began_with(
    options: UpOptions, begun_with: int, workers: int, partitions: str
) -> None:
    """Places of earlier versions have four, which nobody set. A new one gets two, or as many as workers."""
    if begun_with:
        with Place(options.data_dir) as place:
            place.settle("partitions", begun_with)
    async with Up(replace(options, workers=workers)) as up:
        assert environment(up.run["collector"])["HEADWATER_PARTITIONS"] == partitions
        assert environment(up.run["api"])["HEADWATER_PARTITIONS"] == partitions


async def test_a_kafka_of_ones_own_replaces_the_broker(options: UpOptions, broker: str) -> None:
    async with Up(replace(options, kafka=broker)) as up:
        assert "broker" not in up.run["pids"]
        assert up.run["kafka"] == broker
        assert "HEADWATER_KAFKA_IDEMPOTENT" not in environment(up.run["collector"])


@pytest.mark.kafka
@pytest.mark.usefixtures("apache_kafka_installed")
async def test_apache_kafka_comes_back_as_the_same_cluster(options: UpOptions) -> None:
    """A durable broker: same id, same records, after kill -9 and after a stop; the place stays with it."""
    apache = replace(options, kafka="apache")
    async with Up(apache) as up:
        kafka = up.run["kafka"]
        given = environment(up.run["collector"])
        assert (given["HEADWATER_KAFKA"], given["HEADWATER_KAFKA_IDEMPOTENT"]) == (kafka, "true")
        assert given["HEADWATER_KAFKA_REPLICATION"] == "1"
        cluster = await kafka_admin.cluster_id(kafka)
        await kafka_admin.ensure_topics(kafka, 2)
        pid = up.run["pids"]["broker"]
        os.kill(pid, signal.SIGKILL)
        await run_file_where(options.data_dir, broker=pid)
        deadline = time.monotonic() + 60
        while True:
            try:
                assert await kafka_admin.cluster_id(kafka) == cluster
                break
            except Transient:
                assert time.monotonic() < deadline
    async with Up(apache) as up:
        assert up.run["kafka"] == kafka
        assert await kafka_admin.cluster_id(kafka) == cluster
    with pytest.raises(Misconfigured, match="Use --kafka apache --brokers 1, or another --data-dir"):
        Up(options)
    with pytest.raises(Misconfigured, match="Use --kafka apache --brokers 1, or another --data-dir"):
        Up(replace(apache, brokers=3))


@pytest.mark.kafka
@pytest.mark.usefixtures("apache_kafka_installed")
async def test_three_nodes_keep_three_copies(options: UpOptions) -> None:
    async with Up(replace(options, kafka="apache", brokers=3)) as up:
        assert {"broker", "broker-2", "broker-3"} <= up.run["pids"].keys()
        assert environment(up.run["collector"])["HEADWATER_KAFKA_REPLICATION"] == "3"
        assert up.run["kafka"].count(",") == 2
        for address in up.run["kafka"].split(","):
            host, _, port = address.partition(":")
            assert await kafka_admin.brokers_known_to(host, int(port)) == {1, 2, 3}


@pytest.mark.parametrize(
    ("kafka", "brokers", "said"),
    [
        ("apache", 2, "Apache Kafka with 2 nodes is not offered. Use --brokers 1 or 3."),
        ("embedded", 3, "--brokers 3 needs Apache Kafka. Add --kafka apache."),
        ("127.0.0.1:9092", 3, "--brokers 3 needs Apache Kafka. Add --kafka apache."),
        ("kafka", 1, "--kafka kafka is no address. Use embedded, apache, or HOST:PORT."),
    ],
)
def test_a_broker_that_is_not_offered(options: UpOptions, kafka: str, brokers: int, said: str) -> None:
    with pytest.raises(Misconfigured) as refusal:
        Up(replace(options, kafka=kafka, brokers=brokers))
    assert str(refusal.value) == said


@pytest.mark.parametrize("word", ["migrate", "collect", "work", "serve"])
async def test_a_part_that_does_not_start_stops_everything(options: UpOptions, word: str) -> None:
    up = Up(replace(options, env={"STUB_FAILS": word}))
    with pytest.raises(ProcessFailed, match="HEADWATER_SOMETHING is wrong"):
        async with up:
            raise AssertionError("not reached")
    assert up.run["pids"].keys() == {"up"}
    assert not (options.data_dir / "run.json").exists()


async def test_run_up_reports_a_failing_part_as_wrong_configuration(
    options: UpOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await run_up(replace(options, env={"STUB_FAILS": "work"})) == 2
    assert "HEADWATER_SOMETHING is wrong" in capsys.readouterr().err


async def test_run_up_ends_with_the_code_of_its_work(options: UpOptions) -> None:
    async def work(up: Up) -> int:
        return 1 if up.run["pids"] else 0

    assert await run_up(options, on_ready=work) == 1


def start(options: UpOptions) -> tuple[subprocess.Popen[str], list[str]]:
    """``up`` in a process of its own; returns when it has said that it is up."""
    code = f"""
import asyncio, sys
from pathlib import Path
from runtime.up import UpOptions, run_up
options = UpOptions(
    data_dir=Path({str(options.data_dir)!r}), collector_port=0, api_port=0, program={options.program!r}
)
sys.exit(asyncio.run(run_up(options, say=lambda text: print(text, flush=True))))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Ctrl-C"):
            return process, said
    raise AssertionError("".join(said))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_cleanly(options: UpOptions, number: signal.Signals) -> None:
    process, said = start(options)
    run = json.loads((options.data_dir / "run.json").read_text())
    assert any(f"{run['collector']}/p.gif?site={run['site_key']}" in line for line in said)
    process.send_signal(number)
    assert process.wait(30) == 0
    assert not any(is_alive(pid) for pid in run["pids"].values())
    assert not (options.data_dir / "run.json").exists()


def test_kill_9_leaves_no_orphans_and_the_next_up_goes_on(options: UpOptions) -> None:
    process, _ = start(options)
    run = json.loads((options.data_dir / "run.json").read_text())
    process.kill()
    process.wait(10)
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in run["pids"].values()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process, _ = start(options)
    again = json.loads((options.data_dir / "run.json").read_text())
    assert {**again, "pids": None} == {**run, "pids": None}
    process.terminate()
    assert process.wait(30) == 0
