"""Funnels: the stages that people go through, and which hits and conversions reach them."""

from __future__ import annotations

import msgspec

NO_STAGE = "(no stage)"
"""The stage of conversions whose type is in none, so that a report by stage leaves out no conversion."""


class FunnelStage(msgspec.Struct, frozen=True):
    """A step of the way from a stranger to a customer."""

    name: str
    reached_by: tuple[str, ...]
    """Names of events and types of conversions: a hit of that event, or a conversion of that type, reaches it."""


class Funnel(msgspec.Struct, frozen=True):
    """Stages in order. Raises ``ValueError`` when two have one name, or are reached by one event."""

    stages: tuple[FunnelStage, ...]

    def __post_init__(self) -> None:
        """See that every event belongs to one stage: its cost would count in both."""
        seen: dict[str, str] = {}
        names = [stage.name for stage in self.stages]
        for stage in self.stages:
            if names.count(stage.name) > 1:
                raise ValueError(f"two stages are called {stage.name!r}")
            for event in stage.reached_by:
                if event in seen:
                    raise ValueError(f"{event!r} reaches both {seen[event]!r} and {stage.name!r}: choose one")
                seen[event] = stage.name

    @property
    def names(self) -> tuple[str, ...]:
        """Of the stages, in order."""
        return tuple(stage.name for stage in self.stages)

    @property
    def places(self) -> dict[str, int]:
        """By event or type the place of its stage, from 0."""
        return {event: place for place, stage in enumerate(self.stages) for event in stage.reached_by}


DEFAULT_FUNNEL = Funnel(
    (
        FunnelStage("visit", ("page_view", "screen_view")),
        FunnelStage("add_to_cart", ("add_to_cart",)),
        FunnelStage("sign_up", ("sign_up",)),
        FunnelStage("lead", ("lead",)),
        FunnelStage("mql", ("mql",)),
        FunnelStage("qualified_lead", ("qualified_lead", "sql")),
        FunnelStage("opportunity", ("opportunity",)),
        FunnelStage("customer", ("purchase", "deal_won")),
    )
)
"""Of an installation that says nothing. No impressions: ad networks tell how many, not whom. No renewals: who renews is
a customer already."""
