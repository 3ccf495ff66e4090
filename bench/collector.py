"""Durable pixel requests per second of one collector, beside nginx's ``empty_gif`` with one worker process.

Both are pinned to the same core, wrk with the same settings to the other one. nginx keeps nothing; the collector
answers when the hit is fsynced, and counts what it accepted: that count is the figure.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.headwater import BenchFailed, Installation, until_ready
from bench.machine import Cores, cpu_seconds, start, stop
from bench.traffic import SITE
from runtime.embedded.probes import free_port

CONNECTIONS = 64
_TOOLS = {"nginx": "nginx", "wrk": "wrk"}
_SCRIPT = Path(__file__).with_name("pixel.lua")
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_ACCEPTED = re.compile(r'headwater_collector_accepted_total\{endpoint="p.gif"\} ([0-9.e+]+)')
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location = /p.gif {{ empty_gif; }}
  }}
}}
"""


@dataclass(frozen=True)
class Comparison:
    """Requests per second of both, medians of the rounds; the ratio is the median of the rounds' ratios."""

    collector: float
    nginx: float
    ratio: float
    rounds: int
    cpu_ms_per_1000: float
    """Processor milliseconds of the collector per 1,000 accepted hits."""


def missing_tools() -> str:
    """Why the comparison cannot be made, "" if it can. Installs Debian's packages when this process may."""
    missing = [package for program, package in _TOOLS.items() if find_tool(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "--yes", "--no-install-recommends", *missing],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
        missing = [package for program, package in _TOOLS.items() if find_tool(program) is None]
    return f"not installed: {', '.join(missing)} (Debian packages)" if missing else ""


def find_tool(program: str) -> str | None:
    """Path of ``program``; Debian keeps nginx where only root's search path looks."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


async def measure_collector(cores: Cores, *, seconds: int, rounds: int) -> Comparison:
    """Alternate rounds against both servers, each after a second of warm-up."""
    async with Installation.open(4) as house:
        with house.collector(cores.measured) as (process, port), _nginx(cores) as nginx_port:
            await until_ready(port, "/readyz", "the collector")
            await until_ready(nginx_port, "/p.gif", "nginx")
            ours: list[float] = []
            theirs: list[float] = []
            cpu: list[float] = []
            for target in (port, nginx_port):
                await asyncio.to_thread(_wrk, target, 1, cores.others)
            for _ in range(rounds):
                theirs.append(await asyncio.to_thread(_wrk, nginx_port, seconds, cores.others))
                before, began, used = _accepted(port), time.monotonic(), cpu_seconds(process.pid)
                await asyncio.to_thread(_wrk, port, seconds, cores.others)
                accepted = _accepted(port) - before
                ours.append(accepted / (time.monotonic() - began))
                cpu.append(1e6 * (cpu_seconds(process.pid) - used) / max(accepted, 1))
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return Comparison(
        statistics.median(ours), statistics.median(theirs), ratio, rounds, statistics.median(cpu)
    )


@contextmanager
def _nginx(cores: Cores) -> Iterator[int]:
    port = free_port(set())
    with tempfile.TemporaryDirectory(prefix="hw-bench-nginx-") as folder:
        # Its worker process gives up root's rights and must still reach the folder.
        os.chmod(folder, 0o755)  # noqa: S103
        config = Path(folder) / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=port))
        program = find_tool("nginx") or "nginx"
        with open(Path(folder) / "nginx.log", "wb") as log:
            process = start([program, "-p", folder, "-c", str(config)], cores.measured, {}, log)
            try:
                yield port
            finally:
                stop(process)


def _wrk(port: int, seconds: int, core: int) -> float:
    """Requests per second that wrk counts. Raises ``BenchFailed``."""
    program = find_tool("wrk") or "wrk"
    command = [
        program,
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{seconds}s",
        "-s",
        str(_SCRIPT),
        f"http://127.0.0.1:{port}",
    ]
    with tempfile.TemporaryFile() as output:
        process = start(command, core, {"BENCH_SITE": SITE}, output)
        process.wait(seconds + 60)
        output.seek(0)
        text = output.read().decode(errors="replace")
    found = _RATE.search(text)
    if found is None or "Non-2xx" in text:
        raise BenchFailed(f"wrk against port {port}: {text[-600:]}")
    return float(found[1])


def _accepted(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = _ACCEPTED.search(answer.read().decode())
    return float(found[1]) if found else 0.0
