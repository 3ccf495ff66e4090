"""The self-audit beside a system whose parts are killed: it goes on, and what is on its way never alarms it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.chaos.audit_beside import AuditBeside
from bench.kills import PARTITIONS, KillsOptions, run_kills, tell


@pytest.mark.slow
async def test_kills_under_load_raise_no_false_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pass after pass, so that many of them meet half-written batches, dead stores and take-overs."""
    monkeypatch.setenv("HEADWATER_AUDIT_SECONDS", "0")  # the workers' own would only take turns with ours
    options = KillsOptions(tmp_path / "up", kills=7, seed=21, rate=60.0, is_short=True)
    async with AuditBeside(options.data_dir, PARTITIONS) as beside:
        report = await run_kills(options)
    print(tell(report), f"\n  passes of the self-audit {beside.complete}, and {beside.incomplete} incomplete")
    assert report.faults == []
    assert beside.alarms == []
    assert beside.complete >= 10
