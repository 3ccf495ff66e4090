"""The pasts of conversions as Redis has them: what a path is chosen from."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.conversions import ConversionFact
from attribution.past import Past, past_of
from attribution.timeline import Timeline
from streams.fence import FenceStore
from streams.topics import partition_of, timeline_key


async def read_pasts(store: FenceStore, facts: Sequence[ConversionFact], partitions: int) -> list[Past]:
    """What the visitors' timelines say as they stand: stitch wrote them before it sent the trigger."""
    keys = [timeline_key(partition_of(f.visitor_id, partitions), f.site, f.visitor_id) for f in facts]
    values = await store.load(keys)
    return [
        past_of([Timeline.from_bytes(value, f.site, f.visitor_id)] if value is not None else [])
        for f, value in zip(facts, values, strict=True)
    ]
