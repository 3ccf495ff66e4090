"""Throwaway environments for the rivals, made by the bench itself in a cache folder, never in our own.

The cache is ``$HEADWATER_BENCH_CACHE``, else ``headwater-bench`` in the user's cache folder. An environment's folder
carries a digest of what it was made from, so a changed pin makes a new one; deleting the folder is always safe.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
_JAVA = HERE / "kafka_streams"


class NotInstalled(Exception):
    """A rival cannot be had on this machine; the text says why, in one line."""


def python_with(name: str) -> Path:
    """The interpreter of a virtual environment with ``requirements/<name>.txt``. Raises ``NotInstalled``.

    What must be there to compile one of them is in ``requirements/<name>_build.txt``.
    """
    build, requirements = (HERE / "requirements" / f"{name}{part}.txt" for part in ("_build", ""))
    sources = [build, requirements] if build.exists() else [requirements]

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        options = ["--disable-pip-version-check", "--quiet", "--require-hashes", "--no-deps"]
        for source in sources:
            if source is requirements and build.exists():
                options.append("--no-build-isolation")
            _run([str(folder / "bin/python"), "-m", "pip", "install", *options, "-r", str(source)])

    return _made(name, sources, make) / "bin/python"


def kafka_streams() -> str:
    """The class path of the compiled Java program with its libraries. Raises ``NotInstalled``."""
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    if missing:
        raise NotInstalled(f"{', '.join(missing)} not found")

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        shutil.copyfile(_JAVA / "pom.xml", folder / "pom.xml")
        options = ["-q", "-B", "-f", str(folder / "pom.xml"), f"-DoutputDirectory={folder / 'lib'}"]
        _run(["mvn", *options, "dependency:copy-dependencies"])
        _run(
            ["javac", "-cp", f"{folder}/lib/*", "-d", str(folder / "classes"), str(_JAVA / "ReducedJob.java")]
        )

    folder = _made("kafka-streams", [_JAVA / "pom.xml", _JAVA / "ReducedJob.java"], make)
    return f"{folder}/classes:{folder}/lib/*"


def _made(name: str, sources: Sequence[Path], make: Callable[[Path], None]) -> Path:
    """The folder that ``make`` fills, unless an earlier run has."""
    digest = hashlib.blake2b(sys.version.encode(), digest_size=6)
    for source in sources:
        digest.update(source.read_bytes())
    folder = _cache() / f"{name}-{digest.hexdigest()}"
    done = folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        make(folder)
        done.touch()
    return folder


def _cache() -> Path:
    if chosen := os.environ.get("HEADWATER_BENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater-bench"


def _run(command: Sequence[str]) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{Path(command[0]).name}: {error}") from error
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["no message"]
        raise NotInstalled(f"{Path(command[0]).name} failed: {said[-1][:200]}")
