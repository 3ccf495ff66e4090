"""Timelines that were put away (``streams.putting_away``), made again from the hits that ClickHouse keeps.

A timeline is a function of its visitor's hits, so what is made again is what would stand in Redis if it had never gone:
touchpoints, conversions, links, and which events are known. It is judged by the rules of whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec

from attribution.enrich import enrich
from attribution.hit import Hit, Restated
from attribution.marks import Mark, mark_of
from attribution.policy import AttributionPolicy
from attribution.timeline import Timeline
from sinks.visitors import HIT_FIELDS, NOWHERE, Place
from streams import metrics
from streams.patience import patiently

Visitor = tuple[str, str]
"""(site, visitor_id)"""
AT_ONCE = 500
"""Visitors of one question: some may have thousands of hits."""


class Hits(Protocol):
    """Who has the hits: ``sinks.writer.RowWriter``, ``sinks.restate.RestateReader``."""

    def hits_of_visitors(
        self, visitors: Sequence[Visitor], but_from: Place = NOWHERE
    ) -> Sequence[tuple[Any, ...]]:
        """The stored hits of ``visitors`` by ``HIT_FIELDS``; none at ``but_from`` or behind it in its log. Blocks."""


class Recalled(NamedTuple):
    """A timeline that was made again."""

    timeline: Timeline
    instants: Sequence[tuple[int, int]]
    """(epoch ms, event hash) of all its hits."""


async def recall(
    hits: Hits, visitors: Sequence[Visitor], policy: AttributionPolicy, but_from: Place = NOWHERE
) -> dict[Visitor, Recalled]:
    """The timelines of ``visitors``, judged by ``policy``. Waits while ClickHouse is away.

    ``but_from``: the batch that is at work, which an earlier attempt may have written already.
    """
    marks: dict[Visitor, list[Mark]] = {visitor: [] for visitor in visitors}
    for start in range(0, len(visitors), AT_ONCE):
        part = visitors[start : start + AT_ONCE]
        ask = partial(asyncio.to_thread, hits.hits_of_visitors, part, but_from)
        for row in await patiently(ask, "clickhouse hits"):
            hit = hit_of(row)
            marks[hit.site, hit.visitor_id].append(mark_of(hit, enrich(hit, policy.arrival_rules), policy))
    metrics.RECALLED.inc(len(marks))
    found = {}
    for visitor, its_marks in marks.items():
        timeline = Timeline.empty(*visitor)
        # They were accepted once, whatever the limit says today.
        timeline.restate(its_marks, policy)
        found[visitor] = Recalled(timeline, [(mark.occurred_at, mark.event_hash) for mark in its_marks])
    return found


def hit_of(row: tuple[Any, ...], restated: Restated | None = None) -> Hit:
    """A stored hit as it was heard. ``restated``: it is to be judged once more."""
    fields: dict[str, Any] = dict(zip(HIT_FIELDS, row, strict=True))
    fields |= {"gpc": bool(fields["gpc"]), "dnt": bool(fields["dnt"])}
    return Hit(**fields | {"props": msgspec.Raw(fields["props"].encode()), "restated": restated})
