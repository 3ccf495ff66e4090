"""Fetching Apache Kafka: what is missing is said in one line, and nothing unchecked is ever used."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attribution.errors import Misconfigured
from runtime.embedded import apache_kafka_install as install_module
from runtime.embedded.apache_kafka_install import Artifact, find_java, install, kafka_version, locked

JAVA = """#!/bin/sh
echo 'openjdk version "{version}" 2025-04-15' >&2
"""
MAVEN = """#!/bin/sh
for word in "$@"; do case "$word" in -DoutputDirectory=*) out="${{word#*=}}";; esac; done
/bin/mkdir -p "$out/org/example/thing/1.0" && printf '%s' '{content}' > "$out/org/example/thing/1.0/thing-1.0.jar"
echo call >> "{calls}"
exit {code}
"""
CONTENT = b"the real jar"
THING = Artifact("org.example", "thing", "1.0", hashlib.sha256(CONTENT).hexdigest())


class Machine:
    """A path of its own with stand-ins for ``java`` and ``mvn``, and an empty cache."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.cache, self.calls = folder / "bin", folder / "cache", folder / "calls"
        self.bin.mkdir()

    def java(self, version: str = "17.0.15") -> None:
        self._program("java", JAVA.format(version=version))

    def maven(self, content: bytes = CONTENT, code: int = 0) -> None:
        self._program("mvn", MAVEN.format(content=content.decode(), calls=self.calls, code=code))

    def fetches(self) -> int:
        return len(self.calls.read_text().split()) if self.calls.exists() else 0

    def _program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(machine.bin))
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.cache))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(install_module, "locked", lambda: [THING])
    monkeypatch.setattr(install_module, "kafka_version", lambda: "1.0")
    return machine


def test_it_is_fetched_once(machine: Machine) -> None:
    """The second time neither Maven nor the network is needed."""
    machine.java()
    machine.maven()
    first = install()
    assert [jar.read_bytes() for jar in first.jars] == [CONTENT]
    (machine.bin / "mvn").unlink()
    assert install() == first
    assert machine.fetches() == 1


def test_another_lock_is_another_installation(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.java()
    machine.maven()
    first = install()
    machine.maven(b"a newer jar")
    newer = THING._replace(sha256=hashlib.sha256(b"a newer jar").hexdigest())
    monkeypatch.setattr(install_module, "locked", lambda: [newer])
    assert install().jars != first.jars
    assert first.jars[0].read_bytes() == CONTENT


def test_a_jar_that_is_not_the_locked_one_is_refused(machine: Machine) -> None:
    """Nothing of it stays, so the next try fetches again."""
    machine.java()
    machine.maven(b"something else")
    with pytest.raises(Misconfigured, match=r"thing-1\.0\.jar is not what apache_kafka\.lock says"):
        install()
    assert not list(machine.cache.rglob("*.jar"))
    machine.maven()
    assert install().jars[0].read_bytes() == CONTENT


def test_a_maven_that_fails_is_reported(machine: Machine) -> None:
    machine.java()
    machine.maven(code=1)
    with pytest.raises(Misconfigured, match=r"Maven could not fetch Apache Kafka: exit code 1.*network"):
        install()
    assert not list(machine.cache.rglob("*.jar"))


def test_no_maven_is_no_matter_but_for_the_first_time(machine: Machine) -> None:
    machine.java()
    with pytest.raises(Misconfigured, match="apt-get install maven"):
        install()


@pytest.mark.parametrize("version", [None, "11.0.2", "1.8.0_392"])
def test_no_java_or_an_old_one(machine: Machine, version: str | None) -> None:
    machine.maven()
    if version is not None:
        machine.java(version)
    with pytest.raises(Misconfigured, match=r"needs Java.*Install Java 17 or newer.*--kafka embedded"):
        install()
    assert machine.fetches() == 0


def test_java_home_comes_first(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.java("11.0.2")
    home = tmp_path / "java"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(JAVA.format(version="21"))
    (home / "bin" / "java").chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java().binary == str(home / "bin" / "java")


def test_a_cache_that_cannot_be_written(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.java()
    machine.cache.write_text("a file is in the way")
    with pytest.raises(Misconfigured, match="Set XDG_CACHE_HOME"):
        install()


def test_up_says_it_in_one_line_and_leaves_with_2(tmp_path: Path) -> None:
    """As a person without Java sees it."""
    done = subprocess.run(
        [sys.executable, "-m", "runtime.cli", "up", "--kafka", "apache", "--data-dir", str(tmp_path)],
        env={**os.environ, "PATH": str(tmp_path), "JAVA_HOME": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Apache Kafka needs Java, which is not here. Install Java 17 or newer (or correct JAVA_HOME),"
        " or use the embedded broker (--kafka embedded).\n"
    )


def test_the_lock_names_the_broker_and_its_log() -> None:
    artifacts = locked()
    assert len(set(artifacts)) == len(artifacts)
    assert {"kafka_2.13", "kafka-clients", "log4j-slf4j-impl"} <= {artifact.name for artifact in artifacts}
    assert {len(artifact.sha256) for artifact in artifacts} == {64}
    assert kafka_version().startswith("4.")
