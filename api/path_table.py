"""The paths before conversions as text: tables for the terminal, CSV for a spreadsheet. Pure formatting."""

from __future__ import annotations

import csv
import io

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.path_report import LagLine, PathsAnswer
from api.report import guarded, plain_text, printable

_ARROW = " > "
_DAYS = (0, 1, 2, 3, 7, 14, 30, 60, 90)
"""Where the lines of a table of days begin."""


def paths_to_csv(answer: PathsAnswer) -> str:
    """RFC 4180: the listed paths."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("path", "conversions", "revenue", "share"))
    for line in answer.paths:
        path = guarded(_ARROW.join(line.channels))
        writer.writerow((path, line.conversions, line.revenue, plain_text(line.share)))
    return out.getvalue()


def paths_to_table(answer: PathsAnswer) -> RenderableType:
    """Paths, the parts that channels play, lengths and days; participation is said not to add up."""
    totals, currency = answer.totals, answer.meta.currency
    as_of = f", as of {answer.meta.as_of}" if answer.meta.as_of else ""
    head = (
        f"{totals.conversions} conversions, {totals.revenue} {currency}{as_of};"
        f" {totals.unattributed_conversions} of them, {totals.unattributed_revenue} {currency}, without a touchpoint"
    )
    paths = _table("path", "conversions", "revenue", "share")
    for line in answer.paths:
        text = Text(printable(_ARROW.join(line.channels)))
        paths.add_row(text, str(line.conversions), line.revenue, f"{100 * line.share:.1f} %")
    roles = _table(
        "channel", "last", "assisted", "assisted / last", "takes part in", "revenue it takes part in"
    )
    for one in answer.channels:
        roles.add_row(
            Text(printable(one.channel)),
            str(one.last_conversions),
            str(one.assisted_conversions),
            "" if one.assist_ratio is None else f"{one.assist_ratio:.2f}",
            str(one.participation_conversions),
            one.participation_revenue,
        )
    lengths = _table("touchpoints", "conversions", "revenue")
    for length in answer.lengths:
        lengths.add_row(str(length.touchpoints), str(length.conversions), length.revenue)
    days = _table("days", "since the first touchpoint", "since the last")
    for number, low in enumerate(_DAYS):
        high = _DAYS[number + 1] if number + 1 < len(_DAYS) else None
        name = f"{low} and more" if high is None else str(low) if high == low + 1 else f"{low} to {high - 1}"
        counts = (_within(answer.days_from_first, low, high), _within(answer.days_from_last, low, high))
        days.add_row(name, *(str(count) for count in counts))
    note = "Takes part in: each channel of a path counts the whole conversion, so this does not add up."
    note += f"\nRevenue: what was billed in {currency}; nothing is converted, and open deals are left out."
    return Group(Text(head), paths, roles, Text(note, style="dim"), lengths, days)


def _table(first: str, *others: str) -> Table:
    table = Table(first, header_style="bold")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _within(lines: list[LagLine], low: int, high: int | None) -> int:
    return sum(line.conversions for line in lines if low <= line.days and (high is None or line.days < high))
