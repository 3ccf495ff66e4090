"""The funnel as text: tables for the terminal, CSV for a spreadsheet. Pure formatting."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.funnel import FunnelAnswer, StageLine
from api.report import counted, guarded, plain_text, printable

_COLUMNS = StageLine.__struct_fields__
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_ROUND_FROM = 100
"""From so many on nobody reads decimals."""


def funnel_to_csv(answer: FunnelAnswer) -> str:
    """RFC 4180: a line for each stage, then those of each channel, if asked for. Channel "" = of all."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("channel", *_COLUMNS))
    for channel, lines in (("", answer.stages), *((one.channel, one.stages) for one in answer.channels)):
        for line in lines:
            cells = (plain_text(getattr(line, name)) for name in _COLUMNS)
            writer.writerow((guarded(channel), *cells))
    return out.getvalue()


def funnel_to_table(answer: FunnelAnswer) -> RenderableType:
    """The funnel, those of the channels if asked for, and what is in none of them."""
    totals, currency = answer.totals, answer.meta.currency
    parts: list[RenderableType] = [
        Text(f"{counted(totals.persons, 'person')} entered; spend {totals.spend} {currency}"),
        _table(answer.stages, currency),
    ]
    for one in answer.channels:
        head = f"{printable(one.channel)}: {counted(one.persons, 'person')}; spend {one.spend} {currency}"
        parts += [Text(head), _table(one.stages, currency)]
    parts += [
        Text(f"{one.stage}: {counted(one.conversions, 'conversion')} of the time name nobody", style="dim")
        for one in answer.meta.without_person
    ]
    return Group(*parts)


def _table(lines: Sequence[StageLine], currency: str) -> Table:
    table = Table("stage", header_style="bold")
    for name in (
        *("persons", "of first", "of previous", "skipped previous", "before previous", "lost"),
        *("median since previous", "since first", f"cost each, {currency}"),
    ):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.stage,
            str(line.persons),
            _percent(line.share_of_first),
            _percent(line.share_of_previous),
            *(str(many or "") for many in (line.skipped_previous, line.before_previous, line.lost)),
            _span(line.median_seconds),
            _span(line.median_seconds_from_first),
            line.cost_per_person or "",
        )
    return table


def _percent(share: Decimal | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _span(seconds: Decimal | None) -> str:
    """In the largest unit of which it has one at least."""
    if seconds is None:
        return ""
    for size, unit in _UNITS:
        if seconds >= size:
            many = seconds / size
            return f"{many:.0f} {unit}" if many >= _ROUND_FROM else f"{many:.1f} {unit}"
    return f"{seconds:.0f} s"
