#!/usr/bin/env python3
"""Look for known vulnerabilities in locked dependencies, where the advisory service can be reached.

    python deploy/audit.py requirements.lock requirements-dev.lock

Exit code 1 if one is found; 0 if none is, or if nobody could be asked (one line says so). Runs pip-audit in an
environment of its own, ``.venv/audit``, pinned in ``audit.lock``; itself it needs the standard library only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

TOOL_LOCK = Path(__file__).with_name("audit.lock")
ENVIRONMENT = Path(__file__).parents[1] / ".venv" / "audit"


class Verdict(NamedTuple):
    """What is said of one lock file."""

    lines: list[str]
    is_bad: bool


def main(locks: list[str]) -> int:
    """Audit each of ``locks``."""
    try:
        tool = installed(ENVIRONMENT, TOOL_LOCK)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"Not audited: pip-audit cannot be installed here ({error}).")
        return 0
    verdicts = [audit(tool, Path(lock)) for lock in locks]
    for verdict in verdicts:
        print(*verdict.lines, sep="\n")
    return int(any(verdict.is_bad for verdict in verdicts))


def installed(environment: Path, lock: Path) -> Path:
    """The tool's program, installed if ``lock`` is not what is there. Raises what venv and pip may."""
    program, stamp = environment / "bin" / "pip-audit", environment / "lock"
    if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
        venv.create(environment, clear=True, with_pip=True)
        pip = [
            environment / "bin" / "python",
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
        ]
        arguments = ["--require-hashes", "--no-deps", "--requirement", lock]
        subprocess.run([*pip, *arguments], check=True, capture_output=True)
        stamp.write_bytes(lock.read_bytes())
    return program


def audit(tool: Path, lock: Path) -> Verdict:
    """Ask the advisory service about every package of ``lock``."""
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run([tool, "-r", lock, *options], capture_output=True, text=True)
    return judge(lock.name, done.stdout, done.stderr)


def judge(name: str, report: str, complaint: str) -> Verdict:
    """What pip-audit's JSON ``report`` on the lock ``name`` means; no JSON: it could not do its work."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (complaint.strip().splitlines() or ["no answer"])[-1]
        return Verdict(
            [f"{name}: not audited, the advisory service cannot be reached ({reason[:200]})."], False
        )
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return Verdict([f"{name}: not audited, no advisory service behind this package index."], False)
    holes = [(package, hole) for package in packages for hole in package.get("vulns", ())]
    lines = [
        f"{name}: {package['name']} {package['version']} has {hole['id']};"
        f" mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for package, hole in holes
    ]
    asked = len(packages) - len(unknown)
    others = f"; not known there: {', '.join(unknown)}" if unknown else ""
    lines.append(f"{name}: {asked} packages, {len(holes)} known vulnerabilities{others}")
    return Verdict(lines, bool(holes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
