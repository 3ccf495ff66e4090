"""Who runs: how each rival is started, and on how many hits it is measured."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rivals.install import NotInstalled, kafka_streams, python_with

SINGLES, ENVELOPES = "singles", "envelopes"
FORMS = (SINGLES, ENVELOPES)


@dataclass(frozen=True)
class Rival:
    """One framework with the reduced job on it."""

    name: str
    is_slow: bool
    """Measured on fewer hits, so that the whole bench stays short."""
    prepare: Callable[[Path], Sequence[str]]
    """Given a folder for its state: the command that runs the job. Raises ``NotInstalled``."""


def _faust(_: Path) -> Sequence[str]:
    return [
        str(python_with("faust")),
        "-m",
        "bench.rivals.faust_job",
        "worker",
        "--without-web",
        "-l",
        "warn",
    ]


def _quix(_: Path) -> Sequence[str]:
    return [str(python_with("quix")), "-m", "bench.rivals.quix_job"]


def _bytewax(state: Path) -> Sequence[str]:
    python = str(python_with("bytewax"))
    made = subprocess.run([python, "-m", "bytewax.recovery", str(state), "1"], capture_output=True, text=True)
    if made.returncode:
        raise NotInstalled(f"bytewax.recovery failed: {made.stderr.strip()[-200:]}")
    return [
        python,
        "-m",
        "bytewax.run",
        "bench.rivals.bytewax_job:flow",
        "-r",
        str(state),
        "-s",
        "10",
        "-b",
        "0",
    ]


def _kafka_streams(_: Path) -> Sequence[str]:
    return [
        "java",
        "-Xmx1g",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        kafka_streams(),
        "ReducedJob",
    ]


RIVALS = (
    Rival("Faust 0.15.3", True, _faust),
    Rival("Quix Streams 3.28.1", False, _quix),
    Rival("Bytewax 0.21.1", False, _bytewax),
    Rival("Kafka Streams 4.3.1", False, _kafka_streams),
)
