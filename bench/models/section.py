"""``python -m bench --only models``: times in turns, and whether all say the same."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.headwater import BenchFailed
from bench.machine import Cores
from bench.models.rows import make_rows
from bench.models.stages import CONVERSIONS, VALUE
from bench.rivals.install import NotInstalled, python_with

_ROOT = Path(__file__).resolve().parents[2]
OURS = "Headwater"
_UNITS = {CONVERSIONS: 1e-9, VALUE: 0.01}
"""What we divide into: billionths of a conversion, cents. Packages add up doubles, so sums differ by rounding."""

Row = tuple[str, str, str, str, str]
"""A line of the bench's table: what, ours, beside, ratio, target."""


@dataclass(frozen=True)
class ModelSizes:
    """How much is measured."""

    journeys: int = 10_000
    rounds: int = 5
    growth: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)


@dataclass(frozen=True)
class Package:
    """What a user would pick instead."""

    name: str
    does: str
    requirements: str
    module: str
    target: str = ""


PACKAGES = (
    Package(
        "ChannelAttribution 2.2.5 (C++)",
        "3 models, simulated Markov",
        "channel_attribution",
        "bench.models.channel_attribution_job",
        "3 x",
    ),
    Package(
        "marketing-attribution-models 1.0.10 (pandas)",
        "7 models, Markov, Shapley of 4",
        "mam_pandas",
        "bench.models.mam_pandas_job",
        "50 x",
    ),
    Package(
        "marketing-attribution-models 2.1.1 (Polars)",
        "5 models, Markov, Shapley of 4",
        "mam",
        "bench.models.mam_job",
        "50 x",
    ),
)


@dataclass
class Runs:
    """All rounds of one package."""

    took: list[dict[str, tuple[float, float]]] = field(default_factory=list)
    """Stage to (processor time, time by the clock), by round."""
    sums: dict[str, dict[str, float]] = field(default_factory=dict)

    def ms(self, clock: bool = False, stage: str = "") -> float:
        """Median over the rounds, of all stages or one, in milliseconds."""
        return 1e3 * statistics.median(
            sum(times[clock] for name, times in one.items() if stage in ("", name)) for one in self.took
        )


@dataclass
class FoundModels:
    """What was measured, and why other things were not."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure_models(
    sizes: ModelSizes,
    cores: Cores,
    say: Callable[[str], None],
    packages: Sequence[Package] = PACKAGES,
) -> FoundModels:
    """Every package on the measured core, one after the other, several times over; then the growth.

    Raises ``BenchFailed`` if Headwater fails or a heuristic model gives another result than a package.
    """
    found = FoundModels()
    pythons: dict[Package, Path] = {}
    for package in packages:
        say(f"environment of {package.name}")
        try:
            pythons[package] = python_with(package.requirements)
        except NotInstalled as why:
            found.notes.append(f"Not installed: {package.name}: {why}")
    ours = Runs()
    theirs = {package: Runs() for package in pythons}
    with tempfile.TemporaryDirectory(prefix="hw-models-") as folder:
        file = Path(folder) / "rows.npz"
        make_rows(sizes.journeys, seed=4).save(file)
        for number in range(1, sizes.rounds + 1):
            say(f"models, round {number} of {sizes.rounds}, {sizes.journeys:,} journeys")
            _once(ours, sys.executable, "bench.models.ours_job", str(file), cores)
            for package in list(theirs):
                try:
                    _once(theirs[package], pythons[package], package.module, str(file), cores)
                except BenchFailed as why:
                    found.notes.append(f"Not measured: {package.name}: {why}")
                    del theirs[package]
    found.rows += _speed(sizes, ours, theirs)
    for package, runs in theirs.items():
        found.rows += compare(ours, package, runs)
    found.rows += _growth(sizes, cores, say)
    return found


def _once(runs: Runs, python: Path | str, module: str, argument: str, cores: Cores) -> None:
    told = _told(python, module, argument, cores)
    runs.took.append(told["took"])
    runs.sums = told["sums"]


def _told(python: Path | str, module: str, argument: str, cores: Cores) -> dict[str, Any]:
    ended = subprocess.run(
        [str(python), "-m", module, argument],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores.measured}),
    )
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["no message"]
        raise BenchFailed(f"{module} failed: {said[-1][:300]}")
    told: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return told


def _speed(sizes: ModelSizes, ours: Runs, theirs: Mapping[Package, Runs]) -> list[Row]:
    what = f"models over {sizes.journeys:,} journeys"
    rows: list[Row] = [
        (f"{what}, {stage}: CPU", f"{ours.ms(stage=stage):.1f} ms", "", "", "") for stage in ours.took[0]
    ]
    for is_clock, unit in ((False, "CPU"), (True, "by the clock")):
        own = ours.ms(is_clock)
        for package, runs in theirs.items():
            other = runs.ms(is_clock)
            beside = f"{package.name}, {package.does}: {other:,.1f} ms"
            target = "" if is_clock else package.target
            rows.append((f"{what}: {unit}", f"{own:.1f} ms", beside, f"{other / own:.1f} x", target))
    return rows


def compare(ours: Runs, package: Package, runs: Runs) -> list[Row]:
    """By how much results differ. Raises ``BenchFailed`` if it is more than a unit per conversion (Markov aside)."""
    rows: list[Row] = []
    for what, unit in _UNITS.items():
        sums = {name: sums for name, sums in runs.sums.items() if name.endswith(f" {what}")}
        if not sums:
            continue
        worst = max(sums, key=lambda name: _difference(ours.sums[name], sums[name]))
        difference = _difference(ours.sums[worst], sums[worst])
        if difference > unit * sum(ours.sums[f"linear {CONVERSIONS}"].values()):
            raise BenchFailed(f"{worst}: {package.name} says {sums[worst]}, ours are {ours.sums[worst]}")
        whole = sum(ours.sums[worst].values())
        rows.append(
            (
                f"{what}: largest difference of a channel",
                f"{difference:.1g} of {whole:,.0f}",
                f"{package.name}, {len(sums)} models",
                "",
                "",
            )
        )
    markov = 100 * _difference(ours.sums["markov"], runs.sums["markov"])
    beside = f"{package.name}: {markov:.1g} percentage points"
    return [*rows, ("Markov: largest difference of a channel's share", "exact", beside, "", "")]


def _difference(ours: Mapping[str, float], theirs: Mapping[str, float]) -> float:
    return max(abs(ours.get(name, 0.0) - theirs.get(name, 0.0)) for name in {*ours, *theirs})


def _growth(sizes: ModelSizes, cores: Cores, say: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    smallest = 0.0
    for count in sizes.growth:
        say(f"models, {count:,} journeys")
        told = _told(sys.executable, "bench.models.growth_job", str(count), cores)
        each = 1e6 * told["cpu"] / count
        smallest = smallest or each
        rows.append(
            (
                f"all models over {count:,} journeys: CPU, memory at most",
                f"{told['cpu']:.2f} s, {told['peak_mib']:.0f} MiB",
                f"{each:.2f} us a journey",
                f"{each / smallest:.2f} x",
                "",
            )
        )
    return rows
