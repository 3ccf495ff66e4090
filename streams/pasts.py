"""The pasts of conversions as Redis has them: what a path is chosen from."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.conversions import ConversionFact
from attribution.past import Past, past_of
from attribution.persons import IdentityRules
from streams.people import People


async def read_pasts(people: People, facts: Sequence[ConversionFact], rules: IdentityRules) -> list[Past]:
    """What the timelines of each person say as they stand: stitch wrote them before it sent the trigger.

    ``rules``: who a person is is one thing in an installation, whatever policy a conversion was credited under.
    """
    timelines = await people.timelines(((fact.site, fact.visitor_id) for fact in facts), rules)
    return [past_of(timelines[fact.site, fact.visitor_id]) for fact in facts]
