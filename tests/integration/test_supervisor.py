"""The supervisor with real child processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attribution.errors import Misconfigured, Transient
from runtime.supervisor import MAX_LOG_BYTES, Process, ProcessFailed, Supervisor, cut_log, resident_bytes

Ready = Callable[[], Awaitable[bool]]
FOREVER = "import time; print('here', flush=True); time.sleep(1000)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER


async def eventually(check: Callable[[], bool], within: float = 20.0) -> None:
    """Wait until ``check`` is true."""
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, f"not within {within} s"
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """True if the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def at_once() -> bool:
    return True


def python(name: str, code: str, ready: Ready | None = None, **options: Any) -> Process:
    """A child that runs ``code``; counts as ready at once unless ``ready`` is given."""
    return Process(name, lambda: [sys.executable, "-c", code], ready or at_once, **options)


def says(logs: Path, name: str, word: str = "here") -> Ready:
    """A readiness check: ``word`` is in the log."""

    async def check() -> bool:
        return word in (logs / f"{name}.log").read_text()

    return check


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path, max_backoff_s=0.2)
    yield supervisor
    await supervisor.stop()


async def test_a_dead_child_is_started_again_and_its_new_pid_told(tmp_path: Path) -> None:
    told: list[dict[str, int]] = []
    supervisor = Supervisor(tmp_path, on_change=lambda: told.append(supervisor.pids))
    await supervisor.start(python("a", FOREVER))
    first = supervisor.pids["a"]
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: supervisor.restarts("a") == 1)
    assert told[-1]["a"] == supervisor.pids["a"] != first
    await supervisor.stop()
    assert supervisor.pids == {}


async def test_each_start_asks_for_its_command(supervisor: Supervisor, tmp_path: Path) -> None:
    numbers = iter(range(10))
    process = Process("a", lambda: [sys.executable, "-c", f"print('start', {next(numbers)})"], at_once)
    await supervisor.start(process)
    await eventually(lambda: "start 2" in (tmp_path / "a.log").read_text())


async def test_a_child_that_keeps_dying_is_started_less_and_less_often(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, max_backoff_s=60)
    await supervisor.start(python("a", "pass"))
    await asyncio.sleep(1.5)
    assert 2 <= supervisor.restarts("a") <= 6
    await supervisor.stop()


async def test_start_waits_until_all_are_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    slow = "import time; time.sleep(0.3); print('here', flush=True); time.sleep(1000)"
    await supervisor.start(
        python("a", FOREVER, ready=says(tmp_path, "a")), python("b", slow, ready=says(tmp_path, "b"))
    )
    assert "here" in (tmp_path / "b.log").read_text()


async def test_a_child_that_stops_while_starting_fails_the_start_with_its_last_words(
    supervisor: Supervisor,
) -> None:
    process = python("a", "import sys; print('port 1 is taken'); sys.exit(2)", ready=never)
    with pytest.raises(ProcessFailed, match="port 1 is taken") as caught:
        await supervisor.start(process)
    assert caught.value.exit_code == 2


async def test_the_last_words_are_not_those_of_an_earlier_run(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("port 1 was taken last week\n")
    process = python("a", "import sys; print('port 2 is taken'); sys.exit(2)", ready=never)
    with pytest.raises(ProcessFailed) as caught:
        await supervisor.start(process)
    assert caught.value.output == "port 2 is taken"


async def test_a_child_that_holds_too_much_memory_begins_anew(tmp_path: Path) -> None:
    greedy = """
import pathlib, time
print("here", flush=True)
tries = pathlib.Path(TRIES)
is_first = not tries.exists()
tries.touch()
held = bytearray(200 << 20) if is_first else b""
time.sleep(1000)
""".replace("TRIES", repr(str(tmp_path / "tries")))
    supervisor = Supervisor(tmp_path, check_s=0.1)
    try:
        process = python("a", greedy, ready=says(tmp_path, "a"))
        await supervisor.start(replace(process, max_memory_bytes=100 << 20), python("b", FOREVER))
        first = supervisor.pids
        await eventually(lambda: supervisor.restarts("a") == 1 and "a" in supervisor.pids)
        await asyncio.sleep(0.5)  # several looks: the modest one, and the other child, are left alone
        assert (supervisor.restarts("a"), supervisor.restarts("b")) == (1, 0)
        assert supervisor.pids["b"] == first["b"]
        assert resident_bytes(supervisor.pids["a"]) < 100 << 20
    finally:
        await supervisor.stop()
    assert resident_bytes(first["a"]) == 0, "there is no such process"


async def test_a_first_start_is_tried_again_after_an_exit_code_that_asks_for_it(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """As a worker does whose partition another one took while both were joining."""
    code = f"""
import pathlib, sys, time
tries = pathlib.Path({str(tmp_path / "tries")!r})
with tries.open("a") as file: file.write("x")
if len(tries.read_text()) < 3: sys.exit(70)
print("here", flush=True); time.sleep(1000)
"""
    process = python("a", code, ready=says(tmp_path, "a"))
    await supervisor.start(replace(process, tries_again_after=frozenset({70})))
    assert supervisor.restarts("a") == 2
    assert supervisor.pids


async def test_a_start_is_not_tried_again_for_ever_and_not_after_other_codes(supervisor: Supervisor) -> None:
    again = frozenset({70})
    ends = python("a", "import sys; sys.exit(2)", ready=never)
    with pytest.raises(ProcessFailed, match="exit code 2"):
        await supervisor.start(replace(ends, tries_again_after=again))
    assert supervisor.restarts("a") == 0
    keeps_ending = python("b", "import sys; print('again'); sys.exit(70)", ready=never, ready_within_s=0.5)
    with pytest.raises(ProcessFailed, match="again"):
        await supervisor.start(replace(keeps_ending, tries_again_after=again))
    assert supervisor.restarts("b") > 0


async def never() -> bool:
    return False


async def test_a_child_that_is_never_ready_fails_the_start_and_stop_ends_it(supervisor: Supervisor) -> None:
    with pytest.raises(ProcessFailed, match=r"not ready within 0\.3 s"):
        await supervisor.start(python("a", FOREVER, ready=never, ready_within_s=0.3), python("b", FOREVER))
    pids = list(supervisor.pids.values())
    await supervisor.stop()
    assert not any(is_alive(pid) for pid in pids)


async def test_a_readiness_check_may_say_not_yet_or_not_ever(supervisor: Supervisor) -> None:
    answers = iter([Transient("not yet"), Misconfigured("never", "change it")])

    async def check() -> bool:
        raise next(answers)

    with pytest.raises(Misconfigured, match="change it"):
        await supervisor.start(python("a", FOREVER, ready=check))


async def test_a_restart_that_is_not_ready_is_tried_again(supervisor: Supervisor) -> None:
    asked = 0

    async def check() -> bool:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise Misconfigured("spoiled", "start again")
        return True

    await supervisor.start(python("a", FOREVER, ready=check))
    os.kill(supervisor.pids["a"], signal.SIGKILL)
    await eventually(lambda: supervisor.restarts("a") == 2)


async def test_no_error_ends_the_watch(tmp_path: Path) -> None:
    """A check with a bug, a program that cannot be started, a listener that raises: the child comes back."""
    troubles = ["none", "check", "command", "listener"]

    async def check() -> bool:
        if troubles[0] == "check":
            troubles.pop(0)
            raise AssertionError("a client's bug")
        return True

    def command() -> list[str]:
        if troubles[0] == "command":
            troubles.pop(0)
            return ["/nonexistent/program"]
        return [sys.executable, "-c", FOREVER]

    def listen() -> None:
        if troubles[0] == "listener":
            troubles[0] = "over"
            raise OSError("No space left on device")

    supervisor = Supervisor(tmp_path, on_change=listen, max_backoff_s=0.2)
    await supervisor.start(Process("a", command, check))
    troubles.pop(0)
    os.kill(supervisor.pids["a"], signal.SIGKILL)
    await eventually(lambda: troubles == ["over"] and supervisor.restarts("a") == 3)
    await eventually(lambda: is_alive(supervisor.pids.get("a", 0)))
    await supervisor.stop()


async def test_ranks_stop_in_order(supervisor: Supervisor, tmp_path: Path) -> None:
    """A process of a lower rank is gone before one of a higher rank hears SIGTERM."""
    order = tmp_path / "order"
    code = """
import signal, sys, time
def end(*_):
    time.sleep(0.1)
    open({path!r}, "a").write({name!r})
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("here", flush=True)
time.sleep(1000)
"""
    for name, rank in (("c", 2), ("a", 0), ("b", 1)):
        text = code.format(path=str(order), name=name)
        await supervisor.start(python(name, text, ready=says(tmp_path, name), stop_rank=rank))
    await supervisor.stop()
    assert order.read_text() == "abc"


async def test_a_child_deaf_to_sigterm_is_killed_at_its_deadline(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    await supervisor.start(python("a", STUBBORN, ready=says(tmp_path, "a"), stop_within_s=0.3))
    pid = supervisor.pids["a"]
    began = time.monotonic()
    await supervisor.stop()
    assert not is_alive(pid)
    assert 0.3 <= time.monotonic() - began < 5


async def test_what_a_child_has_started_goes_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}])
print("grandchild", child.pid, flush=True)
time.sleep(1000)
"""
    await supervisor.start(python("a", code, ready=says(tmp_path, "a", "grandchild")))
    grandchild = int((tmp_path / "a.log").read_text().split("grandchild ")[1].split()[0])
    os.kill(supervisor.pids["a"], signal.SIGKILL)
    await eventually(lambda: not is_alive(grandchild))


def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    code = f"""
import asyncio, sys
from pathlib import Path
from runtime.supervisor import Process, Supervisor

async def main():
    async def at_once():
        return True
    supervisor = Supervisor(Path({str(tmp_path)!r}))
    command = [sys.executable, "-c", {STUBBORN!r}]
    await supervisor.start(*(Process(name, lambda: command, at_once) for name in "abc"))
    print(*supervisor.pids.values(), flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 3
        assert all(is_alive(pid) for pid in pids)
        parent.kill()
    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_run_wants_exit_code_0(supervisor: Supervisor) -> None:
    await supervisor.run(python("good", "pass"))
    with pytest.raises(ProcessFailed, match="no such table") as caught:
        await supervisor.run(python("bad", "raise SystemExit('no such table')"))
    assert caught.value.exit_code == 1
    with pytest.raises(ProcessFailed, match="did not end"):
        await supervisor.run(python("slow", FOREVER, ready_within_s=0.2))


def test_a_long_log_is_cut_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with open(path, "ab", buffering=0) as writer:
        writer.write(b"x" * MAX_LOG_BYTES)
        cut_log(path)
        writer.write(b"later")
    assert path.read_bytes() == b"later"
    assert path.with_name("a.log.1").stat().st_size == MAX_LOG_BYTES
