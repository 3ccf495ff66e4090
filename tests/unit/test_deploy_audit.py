"""The audit of dependencies: what is found fails the check, what cannot be asked does not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    """deploy/ is no package."""
    spec = importlib.util.spec_from_file_location("deploy_audit", ROOT / "deploy" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def package(name: str, *holes: str) -> dict[str, Any]:
    vulns = [{"id": hole, "fix_versions": ["2.0"], "aliases": [], "description": ""} for hole in holes]
    return {"name": name, "version": "1.0", "vulns": vulns}


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


SKIPPED = {"name": "own", "skip_reason": "Dependency not found on PyPI"}


def fake(directory: Path, answer: str, complaint: str = "", code: int = 0) -> Path:
    """A pip-audit that says ``answer``."""
    (directory / "answer").write_text(answer)
    program = directory / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat '{directory}/answer'\necho '{complaint}' >&2\nexit {code}\n")
    program.chmod(0o755)
    return program


def run(tool: Any, monkeypatch: pytest.MonkeyPatch, program: Path) -> int:
    monkeypatch.setattr(tool, "installed", lambda *_: program)
    return int(tool.main(["requirements.lock"]))


def test_a_known_vulnerability_fails_the_check_and_says_what_mends_it(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = fake(tmp_path, report(package("good"), package("bad", "PYSEC-1", "CVE-2")), code=1)
    assert run(tool, monkeypatch, program) == 1
    said = capsys.readouterr().out
    assert "bad 1.0 has PYSEC-1; mended in 2.0" in said
    assert "CVE-2" in said
    assert "good 1.0" not in said


def test_without_a_finding_the_check_goes_on_and_names_what_was_not_known(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tool, monkeypatch, fake(tmp_path, report(package("good"), SKIPPED))) == 0
    assert capsys.readouterr().out == (
        "requirements.lock: 1 packages, 0 known vulnerabilities; not known there: own\n"
    )


@pytest.mark.parametrize(
    ("answer", "complaint", "code"),
    [
        ("", "requests.exceptions.ConnectionError: no such host", 1),
        ("", "", 1),
        (report(SKIPPED, SKIPPED), "", 0),
    ],
)
def test_who_cannot_be_asked_is_told_in_one_line_and_fails_nothing(
    tool: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    complaint: str,
    code: int,
) -> None:
    assert run(tool, monkeypatch, fake(tmp_path, answer, complaint, code)) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("requirements.lock: not audited, ")


def test_a_tool_that_cannot_be_installed_is_told_too(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "audit.lock"
    lock.write_text("no-such-package==1 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(tool, "TOOL_LOCK", lock)
    monkeypatch.setattr(tool, "ENVIRONMENT", tmp_path / "environment")
    assert tool.main(["requirements.lock"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Not audited: pip-audit cannot be installed here")


def test_the_tools_own_lock_has_hashes() -> None:
    assert "pip-audit==" in (ROOT / "deploy" / "audit.lock").read_text()
    assert "--hash=sha256:" in (ROOT / "deploy" / "audit.lock").read_text()
