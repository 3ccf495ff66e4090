"""What a restatement would change, computed as the credit stage would, from the same states; nothing is written.

Conversions are read while the stream goes on, a page at a time, so the answer is of about this moment.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from attribution.ledger import WEIGHT_ONE
from attribution.money import format_amount
from attribution.past import Past
from attribution.policy import AttributionPolicy
from sinks.restate import Moved, RestateReader, Span
from streams.fence import READ_AT_ONCE, FenceStore
from streams.pasts import read_pasts
from streams.people import People
from streams.policies import KeptPolicy
from streams.recredit import CreditState, Work, merged, recredit, state_of
from streams.topics import conversion_key, partition_of
from streams.triggers import Trigger

Cell = tuple[str, str, str]
"""(model, channel, currency)"""


@dataclass
class Preview:
    """What has been found so far."""

    looked_at: int = 0
    changed: int = 0
    unknown: int = 0
    """Conversions that stand in ClickHouse and are not in Redis: a restatement would pass them over."""
    entries: Counter[Cell] = field(default_factory=Counter)
    amounts: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    """Minor units."""
    weights: dict[Cell, int] = field(default_factory=lambda: defaultdict(int))
    """Billionths."""

    def moved(self) -> list[Moved]:
        """As ``RestateReader.moved`` would say it afterwards."""
        return [
            Moved(
                *cell,
                self.entries[cell],
                Decimal(format_amount(self.amounts[cell], cell[2])),
                Decimal(self.weights[cell]) / WEIGHT_ONE,
            )
            for cell in sorted(self.entries)
        ]

    def take(self, state: CreditState, trigger: Trigger, past: Past, kept: KeptPolicy) -> None:
        """Look at one conversion."""
        conversion = merged(state, [])
        if conversion is None:
            return
        corrections = recredit(Work(conversion, state, [trigger], past), lambda _: kept).corrections
        self.looked_at += 1
        self.changed += any(correction.entries for correction in corrections)
        for correction in corrections:
            for entry in correction.entries:
                cell = (entry.model, entry.touch.acquisition.channel, entry.terms.currency)
                self.entries[cell] += 1
                self.amounts[cell] += entry.amount_minor
                self.weights[cell] += entry.weight_ppb


async def preview(
    reader: RestateReader,
    store: FenceStore,
    partitions: int,
    span: Span,
    kept: KeptPolicy,
    stitched: AttributionPolicy,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> Preview:
    """What crediting the conversions of ``span`` under ``kept`` would write. ``stitched``: the workers' rules."""
    found = Preview()
    people = People(store, partitions, reader, stitched)
    site, conversion_id = "", ""
    while True:
        page = await asyncio.to_thread(reader.conversions_after, span, site, conversion_id, READ_AT_ONCE)
        keys = [conversion_key(partition_of(one, partitions), one) for _, one in page]
        states = [state_of(value) for value in await store.load(keys) if value is not None]
        found.unknown += len(page) - len(states)
        pasts = await read_pasts(people, [state.conversion for state in states], stitched.identity)
        for state, past in zip(states, pasts, strict=True):
            found.take(state, _trigger(state, kept.version), past, kept)
        on_progress(found.looked_at + found.unknown)
        if len(page) < READ_AT_ONCE:
            return found
        site, conversion_id = page[-1]


def _trigger(state: CreditState, version: str) -> Trigger:
    fact = state.conversion.winner
    return Trigger(
        conversion_id=fact.conversion_id,
        site=fact.site,
        visitor_id="",
        hits_partition=-1,
        recorded_at=0,
        nonce="",
        policy=version,
    )
