"""What ads cost beside what they brought, on the screen: by programme, by channel, and every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from runtime.simulator.money import CostLine
from runtime.simulator.money_observer import RATIOS
from runtime.simulator.report import dollars

NOTHING = "-"
"""In place of a ratio whose base is 0."""
_METRICS_BESIDE = 2


def cost_table(lines: Sequence[CostLine]) -> Table:
    """Spend and what clicks and views cost, by programme, beside the truth."""
    heads = ["TRUE spend", "Spend", "TRUE CPC", "CPC", "TRUE CPM", "CPM", "TRUE CTR", "CTR"]
    table = _table("What each programme cost, USD", heads)
    for line in lines:
        each = line.ratios
        _add(
            table,
            line,
            line is lines[-1],
            dollars(line.true.spend),
            dollars(line.cost.spend),
            *(_cents(each[name]) for name in ("true_cpc", "cpc", "true_cpm", "cpm")),
            *(_percent(each[name]) for name in ("true_ctr", "ctr")),
        )
    return table


def return_table(lines: Sequence[CostLine]) -> Table:
    """What came of it, by programme: the truth is what it caused, beside it what ``linear`` says."""
    heads = ["TRUE CPI", "CPI", "CPA", "CPQL", "TRUE ROAS", "ROAS", "TRUE ROI", "ROI", "pipeline ROI"]
    table = _table("What each programme brought for its cost (TRUE: what it caused; else linear)", heads)
    table.caption = "ROAS 1, ROI 0: as much as was spent. Pipeline ROI: of deals that are open or won."
    for line in lines:
        each = line.ratios
        _add(
            table,
            line,
            line is lines[-1],
            *(_cents(each[name]) for name in ("true_cpi", "cpi", "cpa", "cpql")),
            *(_plain(each[name]) for name in ("true_roas", "roas", "true_roi", "roi", "pipeline_roi")),
        )
    return table


def channel_table(rows: Sequence[Sequence[Any]], metrics: Sequence[str] = RATIOS) -> Table:
    """The answer of ``POST /v1/query`` as it is: channel and ``metrics``."""
    table = _table("By channel, as POST /v1/query answers (linear, all that is here)", metrics, "Channel")
    for channel, *values in rows:
        table.add_row(channel, *(_told(value) for value in values))
    return table


def metrics_table(told: Mapping[str, Any], true: Mapping[str, Fraction]) -> Table:
    """Every metric of everything, and its truth where no model matters (and nothing else was there before)."""
    table = Table(
        title="Every metric, of all that is here", box=SIMPLE_HEAD, title_style="bold", padding=(0, 1)
    )
    for _ in range(_METRICS_BESIDE):
        table.add_column("Metric", no_wrap=True)
        table.add_column("TRUE", justify="right")
        table.add_column("Measured", justify="right")
    cells = [(name, _known(true.get(name), value), _told(value)) for name, value in told.items()]
    deep = -(-len(cells) // _METRICS_BESIDE)
    for row in range(deep):
        table.add_row(*(cell for each in cells[row::deep] for cell in each))
    return table


def _table(title: str, heads: Sequence[str], first: str = "Programme") -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_style="bold", padding=(0, 1))
    table.add_column(first, no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _add(table: Table, line: CostLine, is_sum: bool, *cells: str) -> None:
    if is_sum:
        table.add_section()
    table.add_row(line.label, *cells)


def _cents(amount: Fraction | None) -> str:
    return NOTHING if amount is None else f"{float(amount) / 100:,.2f}"


def _percent(share: Fraction | None) -> str:
    return NOTHING if share is None else f"{100 * float(share):.2f} %"


def _plain(ratio: Fraction | None) -> str:
    return NOTHING if ratio is None else f"{float(ratio):,.2f}"


def _told(value: Any) -> str:
    return NOTHING if value is None else str(value)


def _known(value: Fraction | None, told: Any) -> str:
    """With as many decimals as the system tells."""
    if value is None:
        return ""
    decimals = len(str(told).partition(".")[2])
    return f"{float(value):.{decimals}f}"
