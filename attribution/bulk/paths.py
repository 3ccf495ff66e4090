"""Many paths as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attribution.paths import Path

Ints = NDArray[np.int64]
Parts = NDArray[np.uint64]
"""``attribution.models.Parts`` of all paths, one after the other."""

NEVER = np.iinfo(np.int64).min
"""A moment that a path does not have: before every touchpoint."""


@dataclass(frozen=True)
class Paths:
    """What models look at, of paths that have at least one touchpoint each. Instants are epoch milliseconds, UTC."""

    names: tuple[str, ...]
    """Channels, in lexical order."""
    channels: Ints
    """Of each touchpoint, path after path: index into ``names``."""
    touched_at: Ints
    """Of each touchpoint; within a path in time order."""
    offsets: Ints
    """Where each path begins, and at the end how many touchpoints there are: one more than paths."""
    lead_at: Ints
    """Of each path; ``NEVER`` without."""
    opportunity_at: Ints
    """Of each path; ``NEVER`` without."""
    sources: Sequence[Path] = field(default=(), repr=False)
    """The paths themselves, for models that have no vectorised form; empty when only the arrays are known."""

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for a path without a touchpoint: nobody is credited for it, under any model."""
        if np.any(self.counts < 1):
            raise ValueError("a path without touchpoints")

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Paths:
        """The arrays of ``paths``, and the paths. Raises ``ValueError`` if one has no touchpoint."""
        touches = [touch for path in paths for touch in path.touchpoints]
        names = sorted({touch.acquisition.channel for touch in touches})
        code = {name: number for number, name in enumerate(names)}

        def moments(found: Sequence[int | None]) -> Ints:
            return np.array([NEVER if moment is None else moment for moment in found], dtype=np.int64)

        return cls(
            tuple(names),
            np.array([code[touch.acquisition.channel] for touch in touches], dtype=np.int64),
            np.array([touch.touched_at for touch in touches], dtype=np.int64),
            np.cumsum([0, *(len(path.touchpoints) for path in paths)], dtype=np.int64),
            moments([path.lead_at for path in paths]),
            moments([path.opportunity_at for path in paths]),
            paths,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def first(self) -> Ints:
        """Index of each path's first touchpoint."""
        return self.offsets[:-1]

    @property
    def last(self) -> Ints:
        """Index of each path's last touchpoint."""
        return self.offsets[1:] - 1

    @cached_property
    def counts(self) -> Ints:
        """Touchpoints of each path."""
        return np.diff(self.offsets)

    def only(self, chosen: NDArray[np.bool_]) -> Paths:
        """Some of them, by a truth value for each."""
        kept = chosen[self._owner]
        return Paths(
            self.names,
            self.channels[kept],
            self.touched_at[kept],
            np.concatenate([[0], np.cumsum(self.counts[chosen])]),
            self.lead_at[chosen],
            self.opportunity_at[chosen],
            [path for path, is_chosen in zip(self.sources, chosen.tolist(), strict=False) if is_chosen],
        )

    def spread(self, values: Ints) -> Ints:
        """One value of each path, for each of its touchpoints."""
        return values[self._owner]

    @cached_property
    def _owner(self) -> Ints:
        return owners(self.offsets)


def owners(offsets: Ints) -> Ints:
    """The path of each touchpoint, by where the paths begin and the last one ends."""
    begins = np.zeros(offsets[-1], dtype=np.int64)
    begins[offsets[1:-1]] = 1  # no two paths begin at the same touchpoint
    return np.cumsum(begins)
