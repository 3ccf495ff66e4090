"""The demo on the screen: a live table while it runs, and the last report. Works without a terminal too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from runtime.simulator.observer import Amounts
from runtime.simulator.programmes import BY_NAME
from runtime.simulator.report import Check, Line, dollars, misplaced, shares
from runtime.simulator.world import Truth

REPORT_WIDTH = 120
"""Columns of the report where there is no terminal to ask."""
LIVE_MODEL = "linear"
MODELS_BESIDE = 7
"""Columns of models in ``REPORT_WIDTH``."""

_SHORT = {
    "first_touch": "first",
    "last_touch": "last",
    "last_non_direct_touch": "non-dir",
    "first_paid_touch": "1st paid",
    "last_paid_touch": "last paid",
    "position_based": "position",
    "time_decay": "decay",
    "inverse_j_shaped": "inverse J",
    "j_shaped": "J",
    "w_shaped": "W",
    "full_path": "full path",
}
"""Heads of narrow columns; other models have their own names."""


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


def print_report(
    console: Console,
    truth: Truth,
    lines: Sequence[Line],
    checks: Sequence[Check],
    more: Sequence[RenderableType] = (),
) -> None:
    """Traffic and money by programme, each model's error, ``more``, and the checks."""
    if not console.is_terminal:
        console = Console(file=console.file, width=max(console.width, REPORT_WIDTH))
    console.print(_traffic_table(lines))
    console.print(_money_table(truth, lines))
    for table in _share_tables(lines):
        console.print(table)
    console.print(_error_table(lines))
    for each in more:
        console.print(each)
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
    """Dollars: the truth, and between which two sums the models disagree."""
    table = _table("What each programme brought, USD")
    for head in ("TRUE", "linear", "lowest", "under", "highest", "under"):
        table.add_column(head, justify="left" if head == "under" else "right")
    for line in _with_money(lines):
        lowest, highest = (pick(line.credited.items(), key=_amount) for pick in (min, max))
        table.add_row(
            line.label,
            _whole(line.caused),
            _whole(line.credited.get("linear", 0)),
            _whole(lowest[1]),
            lowest[0],
            _whole(highest[1]),
            highest[0],
        )
    table.add_row("(bought anyway)", _whole(truth.base))
    table.add_section()
    total = sum(line.credited.get("linear", 0) for line in lines)
    table.add_row("All", _whole(truth.revenue), _whole(total))
    return table


def _share_tables(lines: Sequence[Line]) -> Iterator[Table]:
    """As many models beside each other as fit."""
    true_shares, model_shares = _all_shares(lines)
    models = list(model_shares)
    for first in range(0, len(models), MODELS_BESIDE):
        table = _table("Share of what marketing caused, and each model's share, in percent")
        table.add_column("TRUE", justify="right", style="bold", no_wrap=True)
        shown = models[first : first + MODELS_BESIDE]
        for model in shown:
            table.add_column(_SHORT.get(model, model), justify="right", no_wrap=True)
        for line in _with_money(lines):
            cells = (f"{model_shares[model][line.name]:.1f}" for model in shown)
            table.add_row(line.label, f"{true_shares[line.name]:.1f}", *cells)
        yield table


def _error_table(lines: Sequence[Line]) -> Table:
    """A row for each model, the nearest to the truth first."""
    table = Table(title="Each model's error", box=SIMPLE_HEAD, title_style="bold", padding=(0, 1))
    table.caption = (
        "Points: percent of all revenue too much or too little. Misplaced: what the wrong programme got."
    )
    for head in ("Model", "Misplaced", "Most over", "Points", "Most under", "Points"):
        table.add_column(head, justify="right" if head in ("Misplaced", "Points") else "left")
    true_shares, model_shares = _all_shares(lines)
    labels = {line.name: line.label for line in lines}
    ranked = sorted(model_shares.items(), key=lambda item: misplaced(true_shares, item[1]))
    for model, by in ranked:
        errors = {name: by[name] - true_shares[name] for name in by}
        over, under = (pick(errors, key=errors.__getitem__) for pick in (max, min))
        table.add_row(
            model,
            f"{misplaced(true_shares, by):.1f} %",
            labels[over],
            f"{errors[over]:+.1f}",
            labels[under],
            f"{errors[under]:+.1f}",
        )
    return table


def _all_shares(lines: Sequence[Line]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Percent by programme: the truth, and by model."""
    model_shares = {
        model: shares({line.name: line.credited[model] for line in lines}) for model in _models(lines)
    }
    return shares({line.name: line.caused for line in lines}), model_shares


def _models(lines: Sequence[Line]) -> list[str]:
    return list(lines[0].credited)


def _amount(credited: tuple[str, int]) -> int:
    return credited[1]


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
