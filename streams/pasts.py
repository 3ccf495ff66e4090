"""The pasts of conversions as Redis has them: what a path is chosen from."""

from __future__ import annotations

from collections.abc import Sequence

from attribution.conversions import Conversion
from attribution.past import Past, past_of
from attribution.persons import IdentityRules
from streams.people import People


async def read_pasts(people: People, conversions: Sequence[Conversion], rules: IdentityRules) -> list[Past]:
    """What the timelines of each person say as they stand: stitch wrote them before it sent the trigger.

    A conversion that a sender told is credited with the pasts of all whom it names, and of those who report it.
    ``rules``: who a person is is one thing in an installation, whatever policy a conversion was credited under.
    """
    told = [one for one in conversions if one.winner.is_told]
    pasts_of_told = iter(await people.named_by(told, rules) if told else ())
    timelines = await people.timelines(
        ((one.winner.site, one.winner.visitor_id) for one in conversions if not one.winner.is_told), rules
    )
    return [
        past_of(
            next(pasts_of_told) if one.winner.is_told else timelines[one.winner.site, one.winner.visitor_id]
        )
        for one in conversions
    ]
