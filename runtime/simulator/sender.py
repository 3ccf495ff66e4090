"""Plays a simulated world to a collector: pixels one by one, the rest in batches, many at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from attribution.errors import HeadwaterError
from runtime.collector_client import Intake, carry_all
from runtime.simulator.world import SimulatedHit

BATCH = 60
"""Hits of one simulated upload."""


class HitRefused(HeadwaterError):
    """The collector did not take a hit of the simulator, all of which are well-formed."""


def parcels(hits: Iterable[SimulatedHit]) -> Iterator[Sequence[SimulatedHit]]:
    """What is sent in one request each, in the order of sending: one pixel, or a batch."""
    waiting: list[SimulatedHit] = []
    for hit in hits:
        if hit.is_pixel:
            yield (hit,)
            continue
        waiting.append(hit)
        if len(waiting) == BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


async def send(
    intake: Intake, hits: Iterable[SimulatedHit], on_acknowledged: Callable[[int], None], *, at_once: int = 16
) -> None:
    """Send all ``hits``, at most ``at_once`` requests at a time, and call back with every number acknowledged.

    Raises ``Transient`` when the collector stays away and ``HitRefused`` when it does not take a hit.
    """
    source = parcels(hits)

    async def carry() -> None:
        # All carriers draw from the one iterator: asyncio switches only at an await.
        for parcel in source:
            await _deliver(intake, parcel)
            on_acknowledged(len(parcel))

    await carry_all(carry() for _ in range(at_once))


async def _deliver(intake: Intake, parcel: Sequence[SimulatedHit]) -> None:
    if len(parcel) == 1 and parcel[0].is_pixel:
        await intake.pixel(parcel[0].fields, parcel[0].user_agent)
        return
    refusals = await intake.batch([{**hit.fields, "user_agent": hit.user_agent} for hit in parcel])
    reasons: dict[str, int] = defaultdict(int)
    for refusal in refusals:
        if refusal is not None:
            reasons[f"{refusal.field} {refusal.code}: {refusal.message}"] += 1
    if reasons:
        raise HitRefused(f"The collector refused simulated hits: {dict(reasons)}.")
