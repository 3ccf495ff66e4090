"""The links of one visitor: per id the latest of what was said, asserted or withdrawn.

A function of the set of what was said: the latest (instant, event hash) holds, in whatever order it arrives, and saying
it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def tell(
    links: dict[str, LinkFact], ids: Iterable[str], fact: LinkFact, before: dict[str, LinkFact | None]
) -> int:
    """Add what one hit says of ``ids`` to ``links``. Returns for how many of them there was no room.

    ``before`` takes what was known (``None`` = nothing) of those that are new, or no longer what they were.
    """
    lost = 0
    for id_ in ids:
        known = links.get(id_)
        if known is None:
            if len(links) >= MAX_LINKS:
                lost += 1
                continue
            before[id_] = None
        elif fact.rank < known.rank:
            continue
        elif fact.is_held != known.is_held:
            before.setdefault(id_, known)
        links[id_] = fact
    return lost


def held_ids(links: Links) -> list[str]:
    """The ids that the visitor is linked with, in order."""
    return sorted(id_ for id_, fact in links.items() if fact.is_held)


def changes(before: Mapping[str, LinkFact | None], after: Links) -> list[LinkChange]:
    """The links that came or went, and ids that were not known before, in their order. ``before``: as ``tell`` left
    it."""
    changed = []
    for id_ in sorted(before):
        known, fact = before[id_], after[id_]
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
