"""What the machine gives: cores, who runs on which, and the processor time that a process has used (Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """The measured process has a core of its own; everything else shares the other one."""

    measured: int
    others: int

    @property
    def are_apart(self) -> bool:
        """False on a machine with a single core: the figures then disturb each other."""
        return self.measured != self.others


def pick_cores() -> Cores:
    """The first and the last core that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[-1])


def stay_on(core: int) -> None:
    """Keep this process, and all children that it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


@contextmanager
def using_both(cores: Cores) -> Iterator[None]:
    """Inside, this process and all children that it starts may use both cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores.measured, cores.others})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(
    command: Sequence[str], core: int, env: Mapping[str, str], log: IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start ``command`` on ``core``; the caller stops it."""
    return subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if that is not heard."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """Processor time that all threads of a process have used so far, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_seconds_with_children(pid: int) -> float:
    """``cpu_seconds`` of a process and of its living children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_seconds(pid) + sum(cpu_seconds(int(child)) for child in children)


def describe() -> str:
    """One line about the machine and how busy it is."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{len(models)} x {models[0] if models else 'core'}, Python {python}, load average {load}"
