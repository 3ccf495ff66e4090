"""All races of ``python -m bench --only rivals``: Headwater and every rival, on both forms of the same events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from attribution.errors import Misconfigured
from bench.headwater import BenchFailed, Installation
from bench.machine import Cores
from bench.rivals.entrants import ENVELOPES, FORMS, RIVALS, Rival
from bench.rivals.install import NotInstalled
from bench.rivals.race import Course, Race, run_ours, run_rival
from bench.traffic import build_traffic
from bench.worker import PARTITIONS

TARGETS = {"Faust": "20 x", "Quix": "5 x"}
"""Headwater in envelopes, as its collector sends them, to the rival on the same events, per CPU second."""
_ATTEMPTS = 2


@dataclass(frozen=True)
class RivalSizes:
    """Events of a race: its first part (start and warming up), and all of it."""

    cold: int = 25_000
    all: int = 100_000
    slow_cold: int = 3_000
    slow_all: int = 12_000


@dataclass
class Found:
    """The races that were run, Headwater's first in each form, and why others were not."""

    ours: dict[str, Race] = field(default_factory=dict)
    """By form."""
    rivals: list[Race] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


async def measure_rivals(
    sizes: RivalSizes, cores: Cores, say: Callable[[str], None], forms: Sequence[str] = FORMS
) -> Found:
    """One race after the other on the measured core, all on Apache Kafka.

    Raises ``BenchFailed`` if Headwater itself is wrong; what is wrong with a rival becomes a note.
    """
    found = Found()
    many, few = build_traffic(sizes.all), build_traffic(sizes.slow_all)
    for form in forms:
        course, short = Course(many, sizes.cold, form), Course(few, sizes.slow_cold, form)
        try:
            async with Installation.open(PARTITIONS, apache=True) as house:
                say(f"Headwater, {len(many.hits):,} hits in {form}")
                found.ours[form] = await run_ours(house, course, cores.measured)
                for rival in RIVALS:
                    taken = short if rival.is_slow else course
                    say(f"{rival.name}, {len(taken.traffic.hits):,} hits in {form}")
                    await _race(found, rival, house, taken, cores.measured)
        except Misconfigured as why:
            found.notes.append(f"No rivals: they are measured on Apache Kafka. {why}")
            return found
    return found


async def _race(found: Found, rival: Rival, house: Installation, course: Course, core: int) -> None:
    """One rival; a second time if the first fails: plain Faust counts nothing when a topic's leader is only elected."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            found.rivals.append(await run_rival(rival, house, course, core, attempt))
            return
        except NotInstalled as why:
            found.notes.append(f"Not installed: {rival.name}: {why}")
            return
        except BenchFailed as why:
            found.notes.append(f"Not measured in {course.form}, attempt {attempt}: {rival.name}: {why}")


def print_races(console: Console, found: Found) -> None:
    """One line for each race."""
    table = Table(box=SIMPLE_HEAD, title="The same events, one core, Apache Kafka", title_justify="left")
    for column in ("form", "who"):
        table.add_column(column, no_wrap=True)
    for column in (
        "events/CPU s",
        "cold",
        "events/s",
        "servers us/event",
        "ours to it",
        "our envelopes to it",
    ):
        table.add_column(column, justify="right")
    table.add_column("target", justify="right")
    best = found.ours.get(ENVELOPES)
    for form, ours in found.ours.items():
        table.add_row(form, ours.name, *_figures(ours), "", "", "")
        for race in found.rivals:
            if race.form == form:
                table.add_row(
                    "",
                    race.name,
                    *_figures(race),
                    f"{ours.per_cpu_second / race.per_cpu_second:.2f} x",
                    f"{best.per_cpu_second / race.per_cpu_second:.2f} x" if best else "",
                    TARGETS.get(race.name.split()[0], ""),
                )
    console.print(table)


def _figures(race: Race) -> tuple[str, str, str, str]:
    return (
        f"{race.per_cpu_second:,.0f}",
        f"{race.per_cpu_second_cold:,.0f}",
        f"{race.per_second:,.0f}",
        f"{race.servers_us:,.1f}",
    )
