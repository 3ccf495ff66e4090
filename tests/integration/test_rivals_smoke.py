"""``python -m bench --only rivals``: every rival does the reduced job rightly, or a line says why it cannot run."""

from __future__ import annotations

import os

import pytest

from bench.machine import pick_cores
from bench.rivals.entrants import ENVELOPES, RIVALS
from bench.rivals.section import RivalSizes, measure_rivals


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.skipif(
    os.environ.get("HEADWATER_TEST_RIVALS") != "1",
    reason="installs three other systems (minutes, 500 MB): HEADWATER_TEST_RIVALS=1 runs it, and so does `make bench`",
)
async def test_every_rival_is_measured_or_a_line_says_why() -> None:
    """Small sizes. A rival whose sums differ from the reference would be a line, not a figure."""
    found = await measure_rivals(RivalSizes(1_000, 3_000, 500, 1_000), pick_cores(), print, [ENVELOPES])
    if not found.ours:
        assert "Apache Kafka" in found.notes[0]
        return
    measured = [race.name for race in found.rivals]
    noted = [note.split(": ")[1] for note in found.notes]
    assert sorted(measured + noted) == sorted(rival.name for rival in RIVALS)
    assert [note for note in found.notes if note.startswith("Not measured")] == []
    assert all(
        race.per_cpu_second > 0 and race.per_second > 0 for race in [*found.ours.values(), *found.rivals]
    )
