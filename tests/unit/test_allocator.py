"""The worker's allocator: memory that was freed serves the next batch, and a batch's requests leave no holes."""

from __future__ import annotations

import subprocess
import sys

_COUNT_FAULTS = """
import resource, sys
from runtime.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
def fill():
    return [b"x" * (48 << 10) for _ in range(1024)]
buffers = fill()
del buffers
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
buffers = fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

_LEAVE_HOLE = """
import sys
from pathlib import Path
from runtime.allocator import keep_freed_memory

keep_freed_memory()
def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
large = b"x" * (48 << 20)
behind = [b"y" * (48 << 10) for _ in range(100)]
before = resident()
del large
print(before - resident())
"""


def output_of(program: str, *arguments: str) -> int:
    """What a program prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_freed_buffers_are_used_again() -> None:
    """Without the setting the system would clear every page of the second 48 MiB anew."""
    assert output_of(_COUNT_FAULTS, "kept") * 2 < output_of(_COUNT_FAULTS, "given back")


def test_a_request_leaves_no_hole_among_what_stays() -> None:
    """48 MiB with something behind them: kept, they would be a hole for whatever is small enough."""
    assert output_of(_LEAVE_HOLE) > 40_000
