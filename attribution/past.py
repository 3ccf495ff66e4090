"""The past of a person, as far as it is known: what a path is chosen from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from attribution.conversions import ConversionFact
from attribution.timeline import Timeline, TimelineConversion
from attribution.touchpoints import Touchpoint


class Past(msgspec.Struct, frozen=True, gc=False):
    """Everything that the visitors who are one person did, before and after any conversion. In no order."""

    touchpoints: Sequence[Touchpoint]
    conversions: Sequence[TimelineConversion] = ()
    """What their hits reported as conversions, this one among them. Another person's report may win over one."""


def past_of(timelines: Iterable[Timeline]) -> Past:
    """The past of the person whose visitors have ``timelines``."""
    touchpoints: list[Touchpoint] = []
    conversions: list[TimelineConversion] = []
    for timeline in timelines:
        touchpoints += timeline.touchpoints()
        conversions += timeline.conversions
    return Past(touchpoints, conversions)


def report_of(fact: ConversionFact) -> TimelineConversion:
    """``fact`` as its visitor's timeline has it."""
    return TimelineConversion(fact.occurred_at, fact.conversion_id, fact.type)
