"""What sessions and touchpoints are: the values that the timeline derives and the tables keep."""

from __future__ import annotations

import msgspec

from attribution.acquisition import Acquisition


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
