"""The worker's allocator: memory that was freed serves the next batch."""

from __future__ import annotations

import subprocess
import sys

_COUNT_FAULTS = """
import resource, sys
from runtime.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
size = 48 << 20
buffer = b"x" * size
del buffer
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
buffer = b"x" * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of_a_second_buffer(how: str) -> int:
    """Page faults of a buffer as large as one that was freed just before, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT_FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_freed_buffer_is_used_again() -> None:
    """Without the setting the system would clear every page of the second buffer anew."""
    assert faults_of_a_second_buffer("kept") * 2 < faults_of_a_second_buffer("given back")
