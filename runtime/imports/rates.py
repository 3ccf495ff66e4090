"""``headwater import rates``: own exchange rates, all of the files' or none."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from attribution.errors import Misconfigured
from attribution.rates import Rate, own_rates
from runtime.settings import Settings
from sinks.client import connect
from sinks.rates import write_own_rates
from sinks.writer import RowWriter

_SHOWN_PROBLEMS = 20


def import_rates(settings: Settings, files: Sequence[Path], console: Console) -> int:
    """Write the rates of ``files``; 0, or 1 if a line is no rate: then nothing is written and the lines are named.

    Raises ``Misconfigured`` (a file cannot be read), ``Transient`` when ClickHouse is away.
    """
    rates: list[Rate] = []
    wrong = 0
    for path in files:
        try:
            found, problems = own_rates(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"{path} cannot be read: {error}.", "Write it as CSV in UTF-8.") from error
        rates += found
        for one in problems[: max(_SHOWN_PROBLEMS - wrong, 0)]:
            console.print(Text(f"{path}:{one.line}: {one.field}: {one.message}"))
        wrong += len(problems)
    if wrong:
        console.print(f"{wrong} lines are no rates, so nothing was written. Correct them and repeat.")
        return 1
    client = connect(settings.clickhouse, settings.database)
    write_own_rates(RowWriter(client, settings.database), rates, time.time_ns() // 1_000_000)
    days = sorted({rate.day for rate in rates})
    of_days = f" from {days[0]} to {days[-1]}" if days else ""
    console.print(
        f"{len(rates)} rates of {len({rate.currency for rate in rates})} currencies written{of_days}."
    )
    return 0
