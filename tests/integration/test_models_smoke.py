"""``python -m bench --only models``: our models are measured, and the packages beside them, or a line says why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.headwater import BenchFailed
from bench.machine import pick_cores
from bench.models import section
from bench.models.section import (
    PACKAGES,
    ModelSizes,
    Package,
    Runs,
    compare,
    measure_models,
)
from bench.models.stages import CONVERSIONS
from bench.rivals.install import NotInstalled

SMALL = ModelSizes(300, 1, (1_000, 2_000))
BESIDE = Package("Other", "1 model", "other", "other")


def _runs(**linear: float) -> Runs:
    return Runs([], {f"linear {CONVERSIONS}": linear, "markov": {"a": 0.5, "b": 0.5}})


def test_our_models_and_their_growth_are_measured() -> None:
    """Without the packages: nothing is installed."""
    found = measure_models(SMALL, pick_cores(), print, packages=())
    assert found.notes == []
    measured = {row[0]: row[1] for row in found.rows}
    for what in ("read", "heuristic", "Markov", "Shapley"):
        assert float(measured[f"models over 300 journeys, {what}: CPU"].removesuffix(" ms")) > 0
    assert "MiB" in measured["all models over 2,000 journeys: CPU, memory at most"]


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("HEADWATER_TEST_RIVALS") != "1",
    reason="installs three other packages (minutes, 500 MB): HEADWATER_TEST_RIVALS=1 runs it, and so does `make bench`",
)
def test_every_package_is_measured_or_a_line_says_why() -> None:
    """And says the same: another result of a heuristic model would end the bench."""
    found = measure_models(SMALL, pick_cores(), print)
    beside = " ".join(row[2] for row in found.rows)
    for package in PACKAGES:
        assert package.name in beside or any(package.name in note for note in found.notes)
    assert [note for note in found.notes if note.startswith("Not measured")] == []


def test_a_package_that_cannot_be_had_becomes_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is measured all the same."""

    def refuse(name: str) -> Path:
        raise NotInstalled(f"no {name} here")

    monkeypatch.setattr(section, "python_with", refuse)
    found = measure_models(ModelSizes(50, 1, (100,)), pick_cores(), print, PACKAGES[:1])
    assert found.notes == [f"Not installed: {PACKAGES[0].name}: no channel_attribution here"]
    assert found.rows


def test_results_that_differ_by_rounding_only_are_the_same() -> None:
    """A billionth per conversion."""
    rows = compare(_runs(a=3.0, b=1.0), BESIDE, _runs(a=3.000000003, b=0.999999997))
    assert rows[0][1] == "3e-09 of 4"


def test_a_heuristic_model_that_says_something_else_ends_the_bench() -> None:
    """One of both is wrong, and no figure of it is worth printing."""
    with pytest.raises(BenchFailed, match="linear conversions"):
        compare(_runs(a=3.0, b=1.0), BESIDE, _runs(a=3.001, b=0.999))
