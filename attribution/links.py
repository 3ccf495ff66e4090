"""The links of one visitor: per id the latest of what was said, asserted or withdrawn.

A function of the set of what was said: the latest (instant, event hash) holds, in whatever order it arrives, and saying
it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MAX_LINKS = 64
"""Ids that one visitor can ever have been linked with. Those that arrive after them are not kept: a visitor with so
many names is a shared device or a program."""

PackedLink = tuple[str, int, int, bool]
"""(id, instant, event hash, is held)."""


class LinkFact(NamedTuple):
    """The latest that was said of the link between a visitor and an id."""

    said_at: int
    """Epoch milliseconds, UTC: when the hit occurred that said so."""
    event_hash: int
    is_held: bool
    """False: withdrawn."""

    @property
    def rank(self) -> tuple[int, int, bool]:
        """The highest holds. Total: of a double claim in one instant by one event the withdrawal holds."""
        return (self.said_at, self.event_hash, not self.is_held)


class LinkChange(NamedTuple):
    """A link that a batch of hits made, unmade, or named for the first time only to deny it."""

    id: str
    fact: LinkFact
    """What holds now: its event is the evidence."""
    is_flipped: bool
    """False: the link did not hold before either."""


Links = Mapping[str, LinkFact]
"""By id."""


def tell(links: dict[str, LinkFact], id_: str, fact: LinkFact) -> bool:
    """Add one statement to ``links``. False when there is no room for another id."""
    known = links.get(id_)
    if known is None:
        if len(links) >= MAX_LINKS:
            return False
        links[id_] = fact
    elif fact.rank > known.rank:
        links[id_] = fact
    return True


def held_ids(links: Links) -> list[str]:
    """The ids that the visitor is linked with, in order."""
    return sorted(id_ for id_, fact in links.items() if fact.is_held)


def changes(before: Links, after: Links) -> list[LinkChange]:
    """The links that came or went from ``before`` to ``after``, and ids that were not known before, in their order."""
    changed = []
    for id_, fact in sorted(after.items()):
        known = before.get(id_)
        is_flipped = fact.is_held != (known is not None and known.is_held)
        if is_flipped or known is None:
            changed.append(LinkChange(id_, fact, is_flipped))
    return changed


def pack_links(links: Links) -> list[PackedLink]:
    """The stored form: equal for equal sets of statements."""
    return [(id_, *fact) for id_, fact in sorted(links.items())]


def unpack_links(packed: list[PackedLink]) -> dict[str, LinkFact]:
    """Inverse of ``pack_links``."""
    return {id_: LinkFact(said_at, event_hash, is_held) for id_, said_at, event_hash, is_held in packed}
