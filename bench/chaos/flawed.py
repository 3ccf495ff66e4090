"""The command ``headwater`` with two flaws that a test can use: a bug in its rules, and a wall clock that can jump.

- Hits with one title raise where a hit is enriched. No input is known that makes the stage raise (each would be a bug,
  and mended), so the poison that the worker must isolate and keep as a dead letter is a bug that only this program has.
- The wall clock (not the monotonic one) is off by the milliseconds in the file that ``CLOCK_VARIABLE`` names. (Debian's
  libfaketime 0.9.10 would fake any program's clock, but with it ``time.sleep`` of Python 3.11 fails.)
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

from attribution import enrich as rules
from attribution.channel_rules import ArrivalRules
from attribution.enrich import Enriched, enrich
from attribution.hit import Hit
from bench.chaos.tasks import tell_on_signal
from bench.chaos.traffic import FLAW

CLOCK_VARIABLE = "CHAOS_CLOCK"
_OFFSET = struct.Struct("q")


def set_clock(path: Path, offset_ms: int) -> None:
    """Let the wall clock of whoever runs with ``path`` be off by so much, from now on."""
    if path.exists():
        with open(path, "r+b") as file:
            file.write(_OFFSET.pack(offset_ms))
    else:
        path.write_bytes(_OFFSET.pack(offset_ms))


def _enrich(hit: Hit, rules: ArrivalRules | None) -> Enriched:
    if hit.title == FLAW:
        raise ArithmeticError("a rule that cannot cope with this hit")
    return enrich(hit, rules)


def follow_clock(path: Path) -> None:
    """Let the wall clock of this process be off by what the file says at each moment."""
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    true_ns = time.time_ns

    def time_ns() -> int:
        return true_ns() + int(_OFFSET.unpack_from(offset)[0]) * 1_000_000

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


if __name__ == "__main__":
    rules.enrich = _enrich  # before anybody imports it from there
    if clock := os.environ.get(CLOCK_VARIABLE):
        follow_clock(Path(clock))
    tell_on_signal()
    from runtime.cli import main

    main()
