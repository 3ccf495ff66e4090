"""How a job measures itself and what it tells."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.models.rows import Rows

CONVERSIONS, VALUE = "conversions", "value"

Sums = dict[str, dict[str, float]]
"""``<model> <conversions or value>``, or ``markov``, to channel to what it is credited with."""


class Stages:
    """Processor time (all threads) and time by the clock of each stage, in seconds."""

    def __init__(self) -> None:
        self._took: dict[str, tuple[float, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is inside."""
        cpu, clock = time.process_time(), time.perf_counter()
        yield
        self._took[name] = (time.process_time() - cpu, time.perf_counter() - clock)

    def tell(self, sums: Mapping[str, Mapping[str, float]]) -> None:
        """One line of JSON on standard output."""
        print(json.dumps({"took": self._took, "sums": sums}))


def shares_of(effects: Mapping[str, float]) -> dict[str, float]:
    """What channels have of all conversions, in proportion to their removal effects."""
    whole = sum(effects.values())
    return {channel: effect / whole for channel, effect in effects.items()}


def main(run: Callable[[Rows], None]) -> None:
    """Run over the file that the command line names, twice: what the first run loads and compiles is not measured."""
    rows = Rows.load(Path(sys.argv[1]))
    run(rows)
    run(rows)  # the last line counts
