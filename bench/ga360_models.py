"""The real day under every model: who is credited with how much, and one of its purchases explained."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import date
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from runtime.answers import print_explanation
from runtime.learn import LearnOptions, learn
from runtime.restate import RestateOptions, restate_command
from runtime.settings import Settings
from sinks.client import connect

_DAY = date(2017, 8, 1)
_REVENUE = (
    "SELECT model, channel, sum(amount) FROM credits WHERE conversion_type = 'purchase'"
    " GROUP BY model, channel ORDER BY model, channel"
)
_LONGEST = (
    "SELECT any(order_id), count() AS touches FROM conversions INNER JOIN"
    " (SELECT conversion_id, touchpoint_id FROM credits WHERE model = 'linear'"
    " GROUP BY conversion_id, touchpoint_id HAVING sum(weight) > 0) AS path USING conversion_id"
    " WHERE type = 'purchase' GROUP BY conversion_id ORDER BY touches DESC, conversion_id LIMIT 1"
)


async def show_models(settings: Settings, console: Console) -> None:
    """Let the learnt models learn from the day and restate it, then print it under every model."""
    options = LearnOptions(types=("purchase",), since=_DAY, until=_DAY)
    if await asyncio.to_thread(learn, settings, options, console) == 0:
        await asyncio.to_thread(restate_command, settings, RestateOptions(), console)
    client = await asyncio.to_thread(connect, settings.clickhouse, settings.database)
    revenue: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for model, channel, amount in client.query(_REVENUE).result_rows:
        if amount:
            revenue[model][channel] = amount
    channels = sorted({channel for by in revenue.values() for channel in by})
    table = Table(title="Revenue of the day's purchases by model and channel, USD", box=SIMPLE_HEAD)
    table.add_column("Model", no_wrap=True)
    for name in (*channels, "All"):
        table.add_column(name, justify="right")
    for model, by in revenue.items():
        amounts = [by.get(channel, Decimal(0)) for channel in channels]
        table.add_row(model, *(f"{amount:,.2f}" for amount in (*amounts, sum(amounts, Decimal(0)))))
    console.print(table)
    ((order_id, _),) = client.query(_LONGEST).result_rows
    await asyncio.to_thread(print_explanation, settings, str(order_id), "table")
