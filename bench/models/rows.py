"""The journeys that all jobs are measured on: made from a seed, handed over in one file. Needs numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHANNELS = (
    "Affiliates",
    "Direct",
    "Display",
    "Email",
    "Organic Search",
    "Organic Social",
    "Paid Search",
    "Paid Social",
    "Referral",
)
"""In lexical order."""
_OFTEN = np.array([4, 16, 9, 10, 20, 6, 18, 10, 7]) / 100
_CONVERTS = np.array([30, 55, 35, 60, 50, 35, 60, 40, 45]) / 100
"""Chance of a journey that ends with the channel."""
SEPARATOR = " > "
WINDOW_MS = 90 * 86_400_000
_LONGEST = 40

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Journeys of at least one touchpoint, in flat arrays; ages are milliseconds before the end of the journey."""

    channels: Ints
    """Index into ``CHANNELS``, journey after journey, oldest touchpoint first."""
    ages: Ints
    offsets: Ints
    """Where each journey begins, and how many touchpoints there are."""
    converted: Ints
    """1 or 0."""
    cents: Ints
    """Value of the conversion; 0 without one."""
    lead_ages: Ints
    """-1 without a lead."""
    opportunity_ages: Ints
    """-1 without an opportunity."""

    def save(self, path: Path) -> None:
        """For the jobs."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Rows:
        """What ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})

    def paths(self) -> list[str]:
        """Each journey as packages want it: ``Paid Search > Direct``."""
        names = [CHANNELS[code] for code in self.channels.tolist()]
        return [SEPARATOR.join(names[start:end]) for start, end in self._spans()]

    def path_ages(self) -> list[list[int]]:
        """The ages of each journey's touchpoints."""
        ages = self.ages.tolist()
        return [ages[start:end] for start, end in self._spans()]

    def _spans(self) -> list[tuple[int, int]]:
        offsets = self.offsets.tolist()
        return list(pairwise(offsets))


def make_rows(count: int, seed: int) -> Rows:
    """``count`` journeys of 1 to 40 touchpoints, 4.5 on average, about half of them with a conversion."""
    random = np.random.default_rng(seed)
    lengths = np.minimum(1 + random.exponential(4, count).astype(np.int64), _LONGEST)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    journey = np.repeat(np.arange(count), lengths)
    channels = random.choice(len(CHANNELS), len(journey), p=_OFTEN)
    placed = np.sort(journey * WINDOW_MS + random.integers(0, WINDOW_MS, len(journey)))
    converted = (random.random(count) < _CONVERTS[channels[offsets[1:] - 1]]).astype(np.int64)
    cents = np.maximum(np.exp(random.normal(8.5, 1, count)).astype(np.int64), 1) * converted
    lead_ages, opportunity_ages = (
        np.where(random.random(count) < often, random.integers(0, WINDOW_MS, count), -1)
        for often in (0.6, 0.3)
    )
    ages = (journey + 1) * WINDOW_MS - 1 - placed
    return Rows(channels, ages, offsets, converted, cents, lead_ages, opportunity_ages)
