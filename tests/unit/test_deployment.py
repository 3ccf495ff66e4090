"""What is shipped: locked dependencies without known holes of old, a container without rights, logs line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements-dev.lock", "deploy/audit.lock"]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_its_hash(name: str) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text())
    pinned = [entry for entry in entries if re.match(r"[a-z0-9._-]+(\[.*\])?==", entry)]
    assert len(pinned) > 20
    assert [entry.splitlines()[0] for entry in pinned if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize(
    ("package", "least"),
    [
        ("aiohttp", (3, 14, 1)),  # CVE-2025-69223 to 69230, CVE-2026-34993, CVE-2026-47265
        ("urllib3", (2, 6, 3)),  # CVE-2025-66418, CVE-2025-66471: decompression bombs in answers
        ("faust-streaming", (0, 15, 3)),  # every rebalance failed without opentracing
    ],
)
def test_what_runs_is_newer_than_known_holes(package: str, least: tuple[int, ...]) -> None:
    found = re.search(rf"^{package}==([0-9.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert found is not None
    assert tuple(int(part) for part in found[1].split(".")) >= least


def test_numbers_are_installed_and_data_frames_are_not() -> None:
    """Learnt models need numpy; pandas and pyarrow would only fill the disk."""
    pinned = set(re.findall(r"^([a-z0-9_-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert "numpy" in pinned
    assert not {"pandas", "pyarrow"} & pinned


def test_the_container_runs_without_rights() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    user, entry = lines.index("USER headwater"), lines.index('ENTRYPOINT ["headwater"]')
    assert user < entry
    assert not [line for line in lines[user:] if line.startswith(("USER root", "RUN"))]
    assert any("--require-hashes" in line for line in lines)


def test_compose_has_no_password_of_its_own_and_no_rights_to_spare() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for secret in ("HEADWATER_SITES", "HEADWATER_READ_KEYS", "CLICKHOUSE_PASSWORD"):
        assert set(re.findall(rf"\$\{{{secret}(.)", text)) == {":"}
        assert f"${{{secret}:-" not in text, "a default would be a password that everybody knows"
    ours = text.partition("x-headwater:")[2].partition("\nservices:")[0]
    assert all(line in ours for line in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"))
    published = re.findall(r"ports: \[(.*)\]", text)
    assert published == ['"8080:8080"', '"127.0.0.1:8081:8081"'], (
        "the collector to all, the API to this machine"
    )


def test_a_text_with_line_breaks_is_one_line_of_the_log() -> None:
    """Nobody can write a line of their own into it (OWASP ASVS 5.0, 16.4.1)."""
    text = 'a\r\nb\u2028{"event": "forged"}'
    code = (
        "import sys, structlog; from runtime.cli import _configure_logs; _configure_logs();"
        "log = structlog.get_logger();"
        "log.info('heard', text=sys.argv[1])\n"
        "try: raise ValueError(sys.argv[1])\n"
        "except ValueError: log.exception('failed')"
    )
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, check=True, cwd=ROOT)
    first, second = done.stderr.decode().splitlines()
    assert json.loads(first)["text"] == text
    assert text in json.loads(second)["exception"]
