"""The past of a person, as far as it is known: what a path is chosen from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from attribution.conversions import ConversionFact
from attribution.stored_past import StoredPast
from attribution.timeline import TimelineConversion
from attribution.touchpoints import Touchpoint


class Past(msgspec.Struct, frozen=True, gc=False):
    """Everything that the visitors who are one person did, before and after any conversion. In no order."""

    touchpoints: Sequence[Touchpoint]
    conversions: Sequence[TimelineConversion] = ()
    """What their hits reported as conversions, this one among them. Another person's report may win over one."""


def past_of(visitors: Iterable[StoredPast]) -> Past:
    """The past of the person who is all of ``visitors``."""
    touchpoints: list[Touchpoint] = []
    conversions: list[TimelineConversion] = []
    for visitor in visitors:
        touchpoints += visitor.touchpoints
        conversions += visitor.conversions
    return Past(touchpoints, conversions)


def report_of(fact: ConversionFact) -> TimelineConversion:
    """``fact`` as its visitor's timeline has it."""
    return TimelineConversion(fact.occurred_at, fact.conversion_id, fact.type)
