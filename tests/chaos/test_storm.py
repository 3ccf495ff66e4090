"""A short storm on both brokers (the long ones are ``make chaos``, ``make chaos-long``), and what it is made of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from bench.chaos.cluster import Kind, Shape
from bench.chaos.disks import SpoolDisk
from bench.chaos.flawed import set_clock
from bench.chaos.plan import Act, Fault, deck_size, plan_faults
from bench.chaos.set_back import AppendOnlyFile
from bench.chaos.storm_report import tell
from bench.chaos.traffic import Traffic
from bench.storm import StormOptions, run_storm
from runtime.embedded.state import valkey_binary
from streams.topics import partition_of

SHORT = (
    Fault(Act.kill_in_insert, ("engine",)),
    Fault(Act.deaf, ("worker-1>valkey", "worker-2>valkey"), 2.0),
    Fault(Act.flawed),
    Fault(Act.hole, ("senders>collector-1",), 3.0),
    Fault(Act.disk_full, ("collector-2",), 2.0),
    Fault(Act.malformed, amount=6),
    Fault(Act.clock, ("collector-1",), 2.0, amount=86_400_000),
    Fault(Act.reset, ("worker-1>engine", "worker-2>engine")),
)
OF_BROKERS = {
    Kind.embedded: (Fault(Act.kill, ("broker",)),),
    Kind.apache: (
        Fault(Act.kill, ("kafka-1", "kafka-3")),
        Fault(Act.set_back, ("valkey",), 2.0),
        Fault(Act.sleep, ("worker-1",), 8.0),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.embedded, pytest.param(Kind.apache, marks=pytest.mark.kafka)])
async def test_nothing_is_lost_and_nothing_counts_twice_in_a_storm(
    kind: Kind, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two collectors, two workers, bad networks; on Apache Kafka three nodes, each input in one place, a replay."""
    if kind is Kind.apache:
        request.getfixturevalue("apache_kafka_installed")
    options = StormOptions(
        tmp_path / "storm",
        Shape(kind, workers=2),
        seed=31,
        plan=(*SHORT, *OF_BROKERS[kind]),
        events=3_000,
        rate=80.0,
        pause_s=1.5,
        idle_s=0.0,
    )
    report = await run_storm(options)
    print(tell(report))
    assert report.faults == []
    assert report.striker is not None
    assert sum(report.striker.done.values()) == len(options.plan or ())
    assert report.verdict.acknowledged > 2_000
    assert report.verdict.flawed == 1
    assert report.polls > 10
    if kind is Kind.apache:
        assert report.audit is not None
        assert report.audit.dead >= 7
        assert report.replayed is not None
        assert report.replayed.compared["hits"] == report.verdict.stored


def test_probes_are_in_the_order_of_their_partitions() -> None:
    traffic = Traffic(7, "r", 4)
    for _ in range(5):
        probes = traffic.probes()
        assert [partition_of(probe.visitor_id, 4) for probe in probes] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_deck_holds_every_fault_and_a_seed_always_gives_the_same(kind: Kind) -> None:
    shape = Shape(kind)
    size = deck_size(shape)
    faults = plan_faults(size, 1, shape)
    assert {fault.act for fault in faults} == set(Act) - ({Act.set_back} if kind is Kind.embedded else set())
    assert plan_faults(size, 1, shape) == faults != plan_faults(size, 2, shape)
    assert len(plan_faults(200, 3, shape)) == 200
    assert Act.set_back not in {f.act for f in plan_faults(200, 3, shape, without=[Act.set_back])}
    hit = {name for fault in plan_faults(4 * size, 4, shape) for name in fault.targets}
    brokers = {"kafka-1", "kafka-2", "kafka-3"} if kind is Kind.apache else {"broker"}
    assert hit >= {
        "collector-1",
        "collector-2",
        "worker-1",
        "worker-2",
        "worker-3",
        "valkey",
        "engine",
        *brokers,
    }
    assert hit >= {"worker-1>valkey", "worker-2>engine", "senders>collector-1"}


WRITER = """
import os, sys
for line in sys.stdin:
    try:
        with open(os.path.join(sys.argv[1], "file"), "ab", buffering=0) as file:
            file.write(bytes(1000))
        print("written", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


def test_a_full_disk_refuses_and_takes_again(tmp_path: Path) -> None:
    disk = SpoolDisk(tmp_path / "spool")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "spool")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None

    def write() -> str:
        assert writer.stdin is not None
        assert writer.stdout is not None
        print("go", file=writer.stdin, flush=True)
        return writer.stdout.readline().strip()

    try:
        assert [write() for _ in range(5)] == ["written"] * 5
        disk.fill(writer.pid)
        assert [write() for _ in range(8)][-1].isdigit(), disk.way
        disk.clear(writer.pid)
        assert write() == "written"
    finally:
        writer.kill()
        writer.wait()
        disk.remove()


def test_valkey_comes_back_with_what_it_had_when_it_was_copied(tmp_path: Path) -> None:
    """The copy is taken while it runs, and replaces what was written since."""
    socket = tmp_path / "valkey.sock"
    aof = AppendOnlyFile(tmp_path)

    def start() -> subprocess.Popen[bytes]:
        aof.before_start()
        options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path), "--appendonly", "yes"]
        return subprocess.Popen([valkey_binary(), *options, "--appendfsync", "always"])

    def ask(*command: str) -> object:
        with Redis(unix_socket_path=str(socket), retry_on_error=[Exception]) as redis:
            return redis.execute_command(*command)

    running = start()
    try:
        ask("SET", "kept", "1")
        aof.copy()
        ask("SET", "forgotten", "1")
        aof.restore_at_next_start()
        running.kill()
        running.wait()
        socket.unlink(missing_ok=True)
        running = start()
        assert ask("EXISTS", "kept") == 1
        assert ask("EXISTS", "forgotten") == 0
        running.kill()
        running.wait()
        socket.unlink(missing_ok=True)
        running = start()
        assert ask("EXISTS", "kept") == 1, "and only once"
    finally:
        running.kill()
        running.wait()


def test_the_flawed_program_has_the_clock_of_its_file(tmp_path: Path) -> None:
    """It jumps while the program runs; the monotonic clock does not."""
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    code = (
        "import time, sys; from pathlib import Path; from bench.chaos import flawed;"
        " flawed.follow_clock(Path(sys.argv[1]));"
        " print(time.time(), flush=True); input(); print(time.time(), time.time_ns() / 1e9, flush=True)"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(clock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    try:
        assert program.stdout is not None
        before = float(program.stdout.readline())
        set_clock(clock, 86_400_000)
        said, _ = program.communicate("\n", timeout=20)
        after = [float(text) for text in said.split()]
        assert all(86_400 <= instant - before < 86_430 for instant in after)
    finally:
        program.send_signal(signal.SIGKILL)
        program.wait()
