"""Does the consumer of a Faust app belong to its group? One that was idle for long may leave it for good.

(robinhood/faust #517; ``create_app`` makes that long a million seconds.) Reads what the pinned Faust and aiokafka keep.
"""

from __future__ import annotations

import faust

_NO_GENERATION = -1
"""aiokafka's ``DEFAULT_GENERATION_ID``: what a coordinator has while it is in no group."""


def is_member(app: faust.App) -> bool:
    """True between a join and the moment at which the consumer leaves, or is told that it was put out."""
    thread = getattr(app.consumer, "_thread", None)
    coordinator = getattr(getattr(thread, "_consumer", None), "_coordinator", None)
    return coordinator is not None and coordinator.generation != _NO_GENERATION
