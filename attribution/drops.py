"""Why an input was refused on purpose. A closed list: every reason is counted under its name."""

from __future__ import annotations

from enum import StrEnum


class DropReason(StrEnum):
    """Reasons that a well-formed hit is not kept. Malformed input is dead-lettered instead."""

    bot = "bot"
    """The user agent names a robot, a monitor or a preview fetcher."""
    duplicate = "duplicate"
    """The same visitor already sent this ``event_id``."""
    visitor_over_limit = "visitor_over_limit"
    """The visitor already has the maximum number of hits (``AttributionPolicy.max_hits_per_visitor``)."""
