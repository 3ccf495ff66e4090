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
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.headwater import BenchFailed, Installation, until_ready
from bench.machine import Cores, cpu_seconds, cpu_seconds_with_children, start, stop
from bench.traffic import SITE
from runtime.embedded.probes import free_port

CONNECTIONS = 64
_TOOLS = {"nginx": "nginx", "wrk": "wrk"}
_SCRIPT = Path(__file__).with_name("pixel.lua")
_DONE = re.compile(r"(\d+) requests in ([0-9.]+)s")
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
    """Requests per second of both, medians of the rounds; ratios are medians of the rounds' ratios."""

    collector: float
    nginx: float
    ratio: float
    collector_per_cpu: float
    """Requests per second of processor time, of all threads and child processes."""
    nginx_per_cpu: float
    cpu_ratio: float


@dataclass(frozen=True)
class _Round:
    per_second: float
    per_cpu_second: float


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
        with house.collector(cores.measured) as (process, port), _nginx(cores) as (nginx, nginx_port):
            await until_ready(port, "/readyz", "the collector")
            await until_ready(nginx_port, "/p.gif", "nginx")
            ours: list[_Round] = []
            theirs: list[_Round] = []
            for target in (port, nginx_port):
                await asyncio.to_thread(_wrk, target, 1, cores.others)
            for _ in range(rounds):
                used = cpu_seconds_with_children(nginx.pid)
                answered, took = await asyncio.to_thread(_wrk, nginx_port, seconds, cores.others)
                used = cpu_seconds_with_children(nginx.pid) - used
                theirs.append(_Round(answered / took, answered / used))
                before, used = _accepted(port), cpu_seconds(process.pid)
                _, took = await asyncio.to_thread(_wrk, port, seconds, cores.others)
                accepted, used = _accepted(port) - before, cpu_seconds(process.pid) - used
                ours.append(_Round(accepted / took, accepted / used))
    pairs = list(zip(ours, theirs, strict=True))
    return Comparison(
        statistics.median(mine.per_second for mine in ours),
        statistics.median(other.per_second for other in theirs),
        statistics.median(mine.per_second / other.per_second for mine, other in pairs),
        statistics.median(mine.per_cpu_second for mine in ours),
        statistics.median(other.per_cpu_second for other in theirs),
        statistics.median(mine.per_cpu_second / other.per_cpu_second for mine, other in pairs),
    )


@contextmanager
def _nginx(cores: Cores) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
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
                yield process, port
            finally:
                stop(process)


def _wrk(port: int, seconds: int, core: int) -> tuple[int, float]:
    """Requests that were answered, and the seconds that took. Raises ``BenchFailed``."""
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
    found = _DONE.search(text)
    if found is None or "Non-2xx" in text:
        raise BenchFailed(f"wrk against port {port}: {text[-600:]}")
    return int(found[1]), float(found[2])


def _accepted(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = _ACCEPTED.search(answer.read().decode())
    return float(found[1]) if found else 0.0
