"""Short, stable names for long or personal identifiers. All digests are BLAKE2b: same input, same name."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import blake2b

from attribution.acquisition import Acquisition, with_click_id

# A digest of so many bytes, begun: to copy it takes half the time of beginning another.
_of_8 = blake2b(digest_size=8).copy
_of_6 = blake2b(digest_size=6).copy
_number = int.from_bytes


def event_hash(event_id: str) -> int:
    """64 bits of ``event_id``: deduplicates a visitor's hits and orders those of the same instant."""
    digest = _of_8()
    digest.update(event_id.encode())
    return _number(digest.digest(), "big")


def visitor_hash(site: str, visitor_id: str) -> str:
    """16 hex digits: the first half of the ids of a visitor's sessions and touchpoints."""
    digest = _of_8()
    digest.update(f"{site}\0{visitor_id}".encode())
    return digest.hexdigest()


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
    digest = _of_6()
    digest.update(click_id.encode())
    return with_click_id(acquisition, "", urlsafe_b64encode(digest.digest()).decode())
