"""The demo on the screen: a live table while it runs, and the last report. Works without a terminal too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from runtime.simulator.observer import MODELS, Amounts
from runtime.simulator.programmes import BY_NAME
from runtime.simulator.report import Check, Line, dollars, misplaced, shares
from runtime.simulator.world import Truth

REPORT_WIDTH = 120
"""Columns of the report where there is no terminal to ask."""
LIVE_MODEL = "linear"

_SHORT = {
    "first_touch": "first",
    "last_touch": "last",
    "last_non_direct_touch": "non-direct",
    "linear": "linear",
    "position_based": "position",
    "time_decay": "time decay",
}


def new_progress() -> Progress:
    """The bar of hits sent; shown inside the live view."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("hits"),
        TimeElapsedColumn(),
    )


def live_view(channels: Mapping[str, Amounts], progress: RenderableType, note: str) -> RenderableType:
    """Channel table as it stands now, below it the progress."""
    table = Table(title="By channel, live (credit: linear)", box=SIMPLE_HEAD)
    table.add_column("Channel")
    for name in ("Hits", "Sessions", "Conversions", "Revenue USD"):
        table.add_column(name, justify="right")
    total = Amounts()
    for channel, amounts in sorted(channels.items(), key=lambda item: (-item[1].revenue, item[0])):
        table.add_row(channel, *_cells(amounts))
        total += amounts
    table.add_section()
    table.add_row("All", *_cells(total))
    return Group(table, progress, note)


def one_line(channels: Mapping[str, Amounts], sent: int, total: int, age_s: float) -> str:
    """The live view where there is no terminal."""
    sums = Amounts()
    for amounts in channels.values():
        sums += amounts
    return (
        f"{sent:,} of {total:,} hits acknowledged; visible: {sums.hits:,} hits, {sums.sessions:,} sessions, "
        f"{sums.conversions:,.0f} conversions, {dollars(sums.revenue)} USD; {age_s:.1f} s behind"
    )


def print_report(console: Console, truth: Truth, lines: Sequence[Line], checks: Sequence[Check]) -> None:
    """Traffic and money by programme, each model's error, and the checks."""
    if not console.is_terminal:
        console = Console(file=console.file, width=max(console.width, REPORT_WIDTH))
    console.print(_traffic_table(lines))
    console.print(_money_table(truth, lines))
    console.print(_share_table(lines))
    console.print(_check_table(checks))


def _traffic_table(lines: Sequence[Line]) -> Table:
    table = _table("Where each programme was found")
    table.add_column("Channel")
    for name in ("Hits", "Sessions", "Conversions (linear)"):
        table.add_column(name, justify="right")
    for line in lines:
        cells = f"{line.hits:,}", f"{line.sessions:,}", f"{line.conversions:,.2f}"
        table.add_row(line.label, line.channels, *cells)
    table.add_section()
    table.add_row(
        "All",
        "",
        f"{sum(line.hits for line in lines):,}",
        f"{sum(line.sessions for line in lines):,}",
        f"{sum(line.conversions for line in lines):,.2f}",
    )
    return table


def _money_table(truth: Truth, lines: Sequence[Line]) -> Table:
    table = _table("What each programme brought, USD")
    _add_model_columns(table, "TRUE")
    for line in _with_money(lines):
        credited = (_whole(line.credited.get(model, 0)) for model in MODELS)
        table.add_row(line.label, _whole(line.caused), *credited)
    table.add_row("(bought anyway)", _whole(truth.base))
    table.add_section()
    totals = (_whole(sum(line.credited.get(model, 0) for line in lines)) for model in MODELS)
    table.add_row("All", _whole(truth.revenue), *totals)
    return table


def _share_table(lines: Sequence[Line]) -> Table:
    table = _table("Share of what marketing caused, and each model's share (error in points)")
    table.caption = "No model can see what would have been bought anyway; each shares that out as well."
    _add_model_columns(table, "TRUE %")
    true_shares = shares({line.name: line.caused for line in lines})
    model_shares = {
        model: shares({line.name: line.credited.get(model, 0) for line in lines}) for model in MODELS
    }
    for line in _with_money(lines):
        true = true_shares[line.name]
        errors = (f"{by[line.name]:.1f} ({by[line.name] - true:+.1f})" for by in model_shares.values())
        table.add_row(line.label, f"{true:.1f}", *errors)
    table.add_section()
    table.add_row("misplaced", "", *(f"{misplaced(true_shares, by):.1f} %" for by in model_shares.values()))
    return table


def _check_table(checks: Sequence[Check]) -> Table:
    table = Table(title="The books", box=SIMPLE_HEAD, title_style="bold", padding=(0, 1))
    for name in ("", "Check", "Simulated", "Measured"):
        table.add_column(name, overflow="fold")
    for check in checks:
        mark = "[green]ok[/]" if check.is_met else "[red bold]NO[/]"
        table.add_row(mark, check.name, check.expected, check.measured)
    return table


def _table(title: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_style="bold", padding=(0, 1))
    table.add_column("Programme", no_wrap=True)
    return table


def _add_model_columns(table: Table, truth: str) -> None:
    table.add_column(truth, justify="right", style="bold")
    for model in MODELS:
        table.add_column(_SHORT[model], justify="right")


def _with_money(lines: Sequence[Line]) -> list[Line]:
    """All programmes, and of the other lines those that have or take any money."""
    return [line for line in lines if line.name in BY_NAME or line.caused or any(line.credited.values())]


def _cells(amounts: Amounts) -> tuple[str, str, str, str]:
    return (
        f"{amounts.hits:,}",
        f"{amounts.sessions:,}",
        f"{amounts.conversions:,.2f}",
        dollars(amounts.revenue),
    )


def _whole(cents: int) -> str:
    return f"{round(cents / 100):,}"
