"""Short, stable names for long or personal identifiers. All digests are BLAKE2b: same input, same name."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b

from attribution.acquisition import Acquisition, with_click_id


def event_hash(event_id: str) -> int:
    """64 bits of ``event_id``: deduplicates a visitor's hits and orders those of the same instant."""
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "big")


def visitor_hash(site: str, visitor_id: str) -> str:
    """16 hex digits: the first half of the ids of a visitor's sessions and touchpoints."""
    return blake2b(f"{site}\0{visitor_id}".encode(), digest_size=8).hexdigest()


def hit_id(visitor: str, event: int) -> str:
    """32 hex digits naming one hit of one visitor (``visitor_hash``, ``event_hash``)."""
    return visitor + event.to_bytes(8, "big").hex()


def seal_click_id(acquisition: Acquisition) -> Acquisition:
    """``acquisition`` with its click id replaced by an 8-character digest, and without the parameter's name.

    Sessions and touchpoints only ask whether two click ids are the same. The text itself is long, may be
    personal data, and stays in the ``hits`` table.
    """
    click_id = acquisition.click_id
    if not click_id:
        return acquisition
    digest = urlsafe_b64encode(blake2b(click_id.encode(), digest_size=6).digest()).decode()
    return with_click_id(acquisition, "", digest)
