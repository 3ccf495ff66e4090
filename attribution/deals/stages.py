"""Stages: what the customers' own names of steps mean. Defaults are what a fresh account of each sender has.

Sources of the defaults: HubSpot's default sales pipeline and lifecycle stages
(https://knowledge.hubspot.com/object-settings/set-up-and-customize-pipelines,
https://knowledge.hubspot.com/records/use-lifecycle-stages), Salesforce's standard opportunity stages and lead statuses
(https://help.salesforce.com/s/articleView?id=sf.sales_core_opportunity_stages.htm). Pipedrive's stages are numbers that
every account numbers anew, and its outcome is a status: there is nothing to be mapped until somebody does.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from attribution.deals.facts import ObjectType


class Stage(StrEnum):
    """A step on the way to revenue, in order; the last two are ends."""

    lead = "lead"
    mql = "mql"
    sql = "sql"
    opportunity = "opportunity"
    won = "won"
    lost = "lost"


NOT_A_STEP: Final = "none"
"""Written in a mapping for a stage that is none of these, such as a newsletter's subscriber."""

Steps = dict[str, str]
"""Stage as the sender writes it, in lower case, alone or as ``pipeline/stage``, to a ``Stage`` or ``NOT_A_STEP``."""

DEFAULTS: MappingProxyType[str, Steps] = MappingProxyType(
    {
        "hubspot/deal": {
            **dict.fromkeys(
                (
                    *("appointmentscheduled", "qualifiedtobuy", "presentationscheduled"),
                    *("decisionmakerboughtin", "contractsent"),
                ),
                Stage.opportunity,
            ),
            "closedwon": Stage.won,
            "closedlost": Stage.lost,
        },
        "hubspot/contact": {
            "subscriber": NOT_A_STEP,
            "lead": Stage.lead,
            "marketingqualifiedlead": Stage.mql,
            "salesqualifiedlead": Stage.sql,
            # What comes after that is told by deals.
            **dict.fromkeys(("opportunity", "customer", "evangelist", "other"), NOT_A_STEP),
        },
        "salesforce/deal": {
            **dict.fromkeys(
                (
                    *("prospecting", "qualification", "needs analysis", "value proposition"),
                    *("id. decision makers", "perception analysis", "proposal/price quote"),
                    "negotiation/review",
                ),
                Stage.opportunity,
            ),
            "closed won": Stage.won,
            "closed lost": Stage.lost,
        },
        "salesforce/lead": {
            "open - not contacted": Stage.lead,
            "working - contacted": Stage.lead,
            "closed - converted": Stage.sql,
            "closed - not converted": Stage.lost,
        },
    }
)
"""By source and object type."""

_START = {ObjectType.deal: Stage.opportunity, ObjectType.lead: Stage.lead}
"""What an object is as long as nobody says more: a deal is open, a lead is a lead."""


class StageMap(msgspec.Struct, frozen=True):
    """The installation's own mapping, before the defaults."""

    own: dict[str, Steps] = {}
    """By source and object type, as ``DEFAULTS``."""

    def stage_of(
        self, source: str, object_type: ObjectType, pipeline: object, stage: object
    ) -> tuple[Stage | None, bool]:
        """(what that stage is, None = no step; whether the mapping knows it).

        A stage that it does not know leaves a deal open and a lead a lead.
        """
        start = _START.get(object_type)
        if stage is None or stage == "":
            return start, True
        name = str(stage).strip().lower()
        wanted = (f"{pipeline}/{name}".lower(), name)
        place = f"{source}/{object_type}"
        for steps in (self.own.get(place, {}), DEFAULTS.get(place, {}), _ITSELF):
            for key in wanted:
                if (found := steps.get(key)) is not None:
                    return (None if found == NOT_A_STEP else Stage(found)), True
        return start, False


_ITSELF: Steps = {str(stage): str(stage) for stage in Stage}
"""A sender may use our own words."""
