"""What sessions and touchpoints are: the values that the timeline derives and the tables keep."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from attribution.acquisition import Acquisition


class TouchKind(StrEnum):
    """What a touchpoint was to the person."""

    click = "click"
    """His arrival proves that he followed an advertisement or a tagged link (``Acquisition.is_click``)."""
    view = "view"
    """An advertisement was shown to him; he need not have seen it."""
    visit = "visit"
    """Everything else: search results, plain links, Direct."""


class Session(msgspec.Struct, frozen=True, gc=False):
    """Hits of one visitor that belong together. Instants are epoch milliseconds, UTC."""

    session_id: str
    visitor_id: str
    site: str
    started_at: int
    ended_at: int
    """Instant of the last hit."""
    acquisition: Acquisition
    """That of the first hit which has one, else ``DIRECT``; its click id is sealed."""
    landing_page: str
    """Path of the first hit."""
    referrer_host: str
    """The foreign host that sent the visitor (the acquisition's), "" if none."""
    hits: int
    page_views: int
    hours: tuple[int, ...]
    """Hours in which hits happened, as epoch seconds, ascending; the first is that of ``started_at``."""
    hour_hits: tuple[int, ...]
    hour_page_views: tuple[int, ...]
    scene: int = 0
    """Device and country of the first hit (``attribution.scenes``)."""


class Touchpoint(msgspec.Struct, frozen=True, gc=False):
    """A contact that may earn credit. Every attribute is a function of its own hit alone."""

    touchpoint_id: str
    visitor_id: str
    site: str
    touched_at: int
    """Epoch milliseconds, UTC."""
    acquisition: Acquisition
    """That of the hit, ``DIRECT`` if it has none; its click id is sealed."""
    landing_page: str
    """Path of the hit."""
    is_view: bool = False
    """Made by an impression or the like, outside sessions."""
    scene: int = 0
    """Device and country of the hit (``attribution.scenes``)."""

    @property
    def kind(self) -> TouchKind:
        """``view`` if it was one, ``click`` if its acquisition proves one, else ``visit``."""
        if self.is_view:
            return TouchKind.view
        return TouchKind.click if self.acquisition.is_click else TouchKind.visit
