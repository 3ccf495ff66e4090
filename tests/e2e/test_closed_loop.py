"""The story of ``bench.closed_loop`` as a test: every figure at every step."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.closed_loop.__main__ import run_story


@pytest.mark.slow
async def test_from_an_ad_click_to_closed_revenue_and_back(tmp_path: Path) -> None:
    """All models, what stands, spend and what follows from it, refund, lost and won again; by day of both views."""
    console = Console(file=io.StringIO(), width=200)
    is_right = await run_story(tmp_path, console)
    assert isinstance(console.file, io.StringIO)
    assert is_right, console.file.getvalue()
