"""The archive of Apache Kafka's loaded classes: made once for each build of Java, it halves the CPU time of a start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from attribution.errors import HeadwaterError
from runtime.embedded.apache_kafka import STARTED, ApacheKafka, NodePorts
from runtime.embedded.apache_kafka_install import Installed, alone, install
from runtime.embedded.probes import free_port
from runtime.supervisor import die_with_parent

_START_SECONDS = 120.0
_STOP_SECONDS = 120.0
_POLL_SECONDS = 0.05


def install_to_start() -> Installed:
    """``install``, and see to it that the archive is there. Raises ``Misconfigured``.

    The first time it runs a node in a temporary folder, some ten seconds. Nothing depends on the archive: where it
    cannot be made, starts are slower.
    """
    installed = install()
    if not installed.archive.exists():
        with alone(installed.archive):
            if not installed.archive.exists():
                _make(installed)
    return installed


def _make(installed: Installed) -> None:
    print("Preparing Apache Kafka for quick starts (once) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=installed.archive.parent, prefix=".archive-") as name:
        folder = Path(name)
        draft = folder / "classes.jsa"
        taken = free_port(set())
        ports = [NodePorts(taken, free_port({taken}))]
        plain = replace(installed, archive=folder / "none")
        node = ApacheKafka(plain, folder, ports, [f"-XX:ArchiveClassesAtExit={draft}"])
        try:
            node.prepare()
            _run_once(node.command(1), folder / "output")
            draft.rename(installed.archive)
        except (OSError, HeadwaterError, subprocess.SubprocessError) as error:
            print(f"Starts of Apache Kafka will be slower: {error}", file=sys.stderr)


def _run_once(command: list[str], output: Path) -> None:
    """Start a node, let it come up, stop it. Raises ``subprocess.TimeoutExpired`` if it takes too long."""
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while STARTED not in output.read_text(errors="replace") and process.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(command[0], _START_SECONDS)
            time.sleep(_POLL_SECONDS)
        process.terminate()
        process.wait(_STOP_SECONDS)
    finally:
        process.kill()
        process.wait()
