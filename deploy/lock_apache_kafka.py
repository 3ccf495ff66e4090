#!/usr/bin/env python3
"""Pin Apache Kafka's broker: every artifact that Maven finds for it, with its SHA-256.

    python deploy/lock_apache_kafka.py 4.3.1

writes ``runtime/embedded/apache_kafka.lock``. Needs Maven; standard library only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path(__file__).parents[1] / "runtime" / "embedded" / "apache_kafka.lock"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headwater</groupId><artifactId>lock</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{log4j}</version>
    </dependency>
  </dependencies>
</project>
"""
LOG4J = "2.25.4"
"""Kafka's distribution adds this binding of slf4j to the log4j-core that Kafka depends on: keep them equal."""


def main(version: str) -> None:
    """Resolve, hash and write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pom.xml").write_text(POM.format(version=version, log4j=LOG4J))
        jars = folder / "jars"
        subprocess.run(
            ["mvn", "-q", "-B", "-C", "-f", folder / "pom.xml", PLUGIN, f"-DoutputDirectory={jars}",
             "-DincludeScope=runtime", "-Dmdep.useRepositoryLayout=true"],
            check=True,
        )  # fmt: skip
        lines = sorted(line_of(jar.relative_to(jars), jar.read_bytes()) for jar in jars.rglob("*.jar"))
    head = [
        "# Apache Kafka's broker on Maven Central: group:artifact:version sha256",
        f"# Written by: python deploy/lock_apache_kafka.py {version}",
    ]
    LOCK.write_text("\n".join([*head, *lines, ""]))
    print(f"{LOCK.name}: {len(lines)} artifacts")


def line_of(path: Path, content: bytes) -> str:
    """One line of the lock; ``path`` as in a Maven repository: group/as/folders/artifact/version/file."""
    *group, artifact, version, file = path.parts
    if file != f"{artifact}-{version}.jar":
        raise SystemExit(f"{path} has a classifier, and the lock cannot tell it.")
    return f"{'.'.join(group)}:{artifact}:{version} {hashlib.sha256(content).hexdigest()}"


if __name__ == "__main__":
    main(*sys.argv[1:])
