"""Apache Kafka's broker from Maven Central: fetched once by Maven, checked against the lock, then only Java is needed.

``apache_kafka.lock`` names every artifact and its SHA-256; ``deploy/lock_apache_kafka.py`` writes it. They are kept in
the user's cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from attribution.errors import Misconfigured

OLDEST_JAVA = 17
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_SECONDS = 900.0
_JAVA_SECONDS = 60.0
_OR_ELSE = "or use the embedded broker (--kafka embedded)."


class Artifact(NamedTuple):
    """One line of the lock."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Its jar in a folder laid out as a Maven repository."""
        return Path(*self.group.split("."), self.name, self.version, f"{self.name}-{self.version}.jar")


@dataclass(frozen=True)
class Java:
    """A Java that can run the broker."""

    binary: str
    version: str
    """What it says of itself: an archive of classes is of use to exactly this build."""


@dataclass(frozen=True)
class Installed:
    """An Apache Kafka that can be started."""

    java: Java
    jars: tuple[Path, ...]
    archive: Path
    """Where ``apache_kafka_archive`` keeps the loaded classes for this Java; it is no loss if the file is not there."""

    @property
    def class_path(self) -> str:
        """The value of Java's ``-cp``."""
        return os.pathsep.join(str(jar) for jar in self.jars)


def locked() -> list[Artifact]:
    """The artifacts; their order is that of the class path."""
    text = resources.files("runtime.embedded").joinpath("apache_kafka.lock").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [Artifact(*line.replace(":", " ").split()) for line in lines]


def kafka_version() -> str:
    """The version of Apache Kafka that is locked."""
    return next(artifact.version for artifact in locked() if artifact.name == "kafka_2.13")


def find_java() -> Java:
    """Java 17 or newer, from ``JAVA_HOME`` or the path. Raises ``Misconfigured``."""
    home = os.environ.get("JAVA_HOME")
    binary = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    remedy = f"Install Java {OLDEST_JAVA} or newer (or correct JAVA_HOME), {_OR_ELSE}"
    if binary is None:
        raise Misconfigured("Apache Kafka needs Java, which is not here.", remedy)
    try:
        said = subprocess.run(
            [binary, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=True
        ).stderr
    except (OSError, subprocess.SubprocessError) as error:
        raise Misconfigured(f"{binary} does not run: {error}.", remedy) from error
    found = re.search(r'version "(\d+)', said)
    if found is None or int(found[1]) < OLDEST_JAVA:
        raise Misconfigured(f"Apache Kafka needs Java {OLDEST_JAVA}; {binary} is older.", remedy)
    return Java(binary, said)


def cache_folder() -> Path:
    """Where Apache Kafka is kept for every data folder of this user. Raises ``Misconfigured``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    folder = Path(base) / "headwater"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            f"{folder}: {error.strerror}.", "Set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    return folder


def install() -> Installed:
    """Apache Kafka, fetched if it is not there yet (45 MB, once). Raises ``Misconfigured``."""
    java = find_java()
    artifacts = locked()
    folder = cache_folder() / f"apache-kafka-{kafka_version()}-{_digest(artifacts)}"
    if not folder.is_dir():
        with alone(folder):
            if not folder.is_dir():
                _fetch(artifacts, folder)
    key = hashlib.sha256(java.version.encode()).hexdigest()[:12]
    jars = tuple(folder / artifact.path for artifact in artifacts)
    return Installed(java, jars, folder / f"classes-{key}.jsa")


def _digest(artifacts: list[Artifact]) -> str:
    return hashlib.sha256(repr(artifacts).encode()).hexdigest()[:12]


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """One process at a time makes ``target``."""
    with open(target.with_name(f".{target.name}.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(artifacts: list[Artifact], folder: Path) -> None:
    """Have Maven copy ``artifacts``, check them, and only then let them be seen as ``folder``."""
    maven = shutil.which("mvn")
    if maven is None:
        raise Misconfigured(
            "Apache Kafka was not fetched yet, and Maven, which fetches it, is not here.",
            f"Install Maven (Debian: apt-get install maven), {_OR_ELSE}",
        )
    print(f"Fetching Apache Kafka {kafka_version()} with Maven (45 MB, once) ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as name:
        draft = Path(name)
        (draft / "pom.xml").write_text(_pom(artifacts))
        command = [maven, "-q", "-B", "-C", "-f", str(draft / "pom.xml"), _PLUGIN, "-DincludeScope=runtime"]
        command += [f"-DoutputDirectory={draft / 'jars'}", "-Dmdep.useRepositoryLayout=true"]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_FETCH_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _not_fetched(repr(error)) from error
        if done.returncode != 0:
            errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
            raise _not_fetched(errors[0][:300] if errors else f"exit code {done.returncode}")
        for artifact in artifacts:
            _check(draft / "jars", artifact)
        (draft / "jars").rename(folder)


def _not_fetched(why: str) -> Misconfigured:
    return Misconfigured(
        f"Maven could not fetch Apache Kafka: {why}.",
        f"Check the network and Maven's settings.xml, {_OR_ELSE}",
    )


def _check(repository: Path, artifact: Artifact) -> None:
    try:
        content = (repository / artifact.path).read_bytes()
    except OSError as error:
        raise _not_fetched(f"{artifact.path.name} did not come") from error
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        raise Misconfigured(
            f"{artifact.path.name} is not what apache_kafka.lock says.",
            "Delete it from Maven's local repository, and do not trust where it came from.",
        )


def _pom(artifacts: list[Artifact]) -> str:
    """A project that depends on each artifact in exactly the locked version."""
    dependencies = "\n".join(
        f"<dependency><groupId>{a.group}</groupId><artifactId>{a.name}</artifactId>"
        f"<version>{a.version}</version></dependency>"
        for a in artifacts
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>headwater</groupId><artifactId>fetch</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>\n{dependencies}\n</dependencies></project>\n"
    )
