"""Learnt tables as rows of ``learnt_models``, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any

from attribution.learnt.tables import ONE, ChannelEffect, LearntTable, SiteEffects
from sinks.tables import LEARNT_MODELS_COLUMNS


def rows_of(table: LearntTable) -> list[tuple[Any, ...]]:
    """A row for each site and channel, in table order."""
    return [
        (
            *(table.version, table.model, site.site, channel.channel),
            *(_text(part) for part in (channel.effect, channel.share, channel.low, channel.high, site.error)),
            *(table.order, table.worth, list(table.types), table.from_ms, table.to_ms),
            *(site.journeys, site.conversions, table.seed, table.rounds, table.learnt_at),
        )
        for site in table.sites
        for channel in site.channels
    ]


def table_from(rows: Iterable[Sequence[Any]]) -> LearntTable | None:
    """The table of ``rows_of``, in whatever order; None for no rows."""
    named = (dict(zip(LEARNT_MODELS_COLUMNS, row, strict=True)) for row in rows)
    found = sorted(named, key=itemgetter("site", "channel"))
    if not found:
        return None
    sites = []
    for site, members in groupby(found, key=itemgetter("site")):
        channels = list(members)
        effects = [
            ChannelEffect(
                row["channel"],
                *(_billionths(part) for part in (row["effect"], row["share"], row["low"], row["high"])),
            )
            for row in channels
        ]
        first = channels[0]
        error = _billionths(first["error"])
        sites.append(SiteEffects(site, first["journeys"], first["conversions"], tuple(effects), error))
    first = found[0]
    return LearntTable(
        model=first["model"],
        order=first["markov_order"],
        worth=first["worth"],
        from_ms=first["from_at"],
        to_ms=first["to_at"],
        types=tuple(first["conversion_types"]),
        seed=first["seed"],
        rounds=first["rounds"],
        sites=tuple(sites),
        learnt_at=first["learnt_at"],
    )


def _text(billionths: int) -> str:
    return f"{Decimal(billionths) / ONE:f}"


def _billionths(text: str) -> int:
    return int(Decimal(text) * ONE)
