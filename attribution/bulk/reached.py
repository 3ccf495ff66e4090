"""Which stages of a funnel people reached when, all of them at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attribution.bulk.persons import Flags, Names, Numbers

NEVER = np.iinfo(np.int64).max
"""The instant at which somebody reached a stage that he did not reach."""


class Steps(NamedTuple):
    """That somebody reached a stage, as often as anything says so. One row each, in any order."""

    persons: Names
    stages: Numbers
    """Their places, from 0."""
    at: Numbers
    """Epoch milliseconds."""
    are_lost: Flags
    """It was reached, and is lost by now."""


class Reached(NamedTuple):
    """What each person reached."""

    persons: Names
    """Each once, in order."""
    firsts: Numbers
    """By person and stage: when first; ``NEVER``."""
    are_standing: NDArray[np.bool_]
    """By person and stage: something that reached it is not lost."""

    @property
    def entered(self) -> Numbers:
        """When each person reached any stage first."""
        entered: Numbers = self.firsts.min(axis=1)
        return entered

    def of(self, which: Flags) -> Reached:
        """Only some of the people."""
        return Reached(self.persons[which], self.firsts[which], self.are_standing[which])


class StageCount(NamedTuple):
    """How many people a stage has."""

    persons: int
    of_first: int
    """Of them: who reached the first stage, too."""
    of_previous: int
    """Of them: who reached the stage before, too."""
    before_previous: int
    """Of these: who reached it earlier than the stage before."""
    lost: int
    """Of them: of whom nothing stands there any more."""
    median_ms: float | None
    """Time since the stage before, of those who reached it afterwards (or at the same instant)."""
    median_of_first_ms: float | None
    """The same since the first stage."""


def reached_by(steps: Steps, stages: int) -> Reached:
    """The first step of each person to each of so many stages."""
    persons, person_of = np.unique(steps.persons, return_inverse=True)
    firsts = np.full((len(persons), stages), NEVER, dtype=np.int64)
    np.minimum.at(firsts, (person_of, steps.stages), steps.at)
    are_standing = np.zeros((len(persons), stages), dtype=np.bool_)
    stands = ~steps.are_lost
    are_standing[person_of[stands], steps.stages[stands]] = True
    return Reached(persons, firsts, are_standing)


def count_stages(reached: Reached, *, in_order: bool) -> list[StageCount]:
    """How many people each stage has. ``in_order``: only who reached all stages before, none later than the next."""
    have = reached.firsts != NEVER
    if in_order:
        for stage in range(1, have.shape[1]):
            in_time = reached.firsts[:, stage] >= reached.firsts[:, stage - 1]
            have[:, stage] &= have[:, stage - 1] & in_time
    counts = []
    for stage in range(have.shape[1]):
        here, before, first = have[:, stage], have[:, max(stage - 1, 0)], have[:, 0]
        since_before = _between(reached.firsts, max(stage - 1, 0), stage, here & before)
        since_first = _between(reached.firsts, 0, stage, here & first)
        counts.append(
            StageCount(
                persons=int(here.sum()),
                of_first=len(since_first),
                of_previous=len(since_before),
                before_previous=int((since_before < 0).sum()),
                lost=int((here & ~reached.are_standing[:, stage]).sum()),
                median_ms=_median(since_before) if stage else None,
                median_of_first_ms=_median(since_first) if stage else None,
            )
        )
    return counts


def _between(firsts: Numbers, before: int, after: int, which: Flags) -> Numbers:
    took: Numbers = firsts[which, after] - firsts[which, before]
    return took


def _median(took: Numbers) -> float | None:
    """Of those who came to the one stage no earlier than to the other."""
    in_time = took[took >= 0]
    return float(np.median(in_time)) if len(in_time) else None
