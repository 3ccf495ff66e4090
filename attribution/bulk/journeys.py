"""What learnt models need of many paths, added up chunk by chunk: first-order steps, and sets of channels.

Both are as many numbers as there are channels squared or sets of channels met, however many paths were added.
"""

from __future__ import annotations

import numpy as np

from attribution.bulk.paths import Ints, Paths
from attribution.learnt.journeys import JourneySet
from attribution.learnt.markov import exact_effects
from attribution.learnt.shapley import ShapleyGame
from attribution.learnt.tables import Worth

MAX_CHANNELS = 62
"""A set of channels is a number with a bit for each."""


class JourneySums:
    """Journeys of which the order is forgotten beyond one step (Markov) and altogether (Shapley)."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """``names``: the channels, in lexical order. Raises ``ValueError`` for more than ``MAX_CHANNELS``."""
        if len(names) > MAX_CHANNELS:
            raise ValueError(f"{len(names)} channels, more than {MAX_CHANNELS}")
        self._names = names
        states = len(names) + 1  # the first is the start
        self._steps = np.zeros((states, states))
        self._ends = np.zeros((2, states))
        self._sets: dict[int, tuple[int, int]] = {}

    def add(self, paths: Paths, converted: Ints, lost: Ints) -> None:
        """``paths``, of which so many were converted and lost. Raises ``ValueError`` if they name other channels."""
        if paths.names != self._names:
            raise ValueError("other channels")
        states = len(self._names) + 1
        here = paths.channels + 1
        before = np.empty_like(here)
        before[1:] = here[:-1]
        before[paths.first] = 0
        seen = np.bincount(before * states + here, paths.spread(converted + lost), states * states)
        self._steps += seen.reshape(states, states)
        for ends, counts in zip(self._ends, (converted, lost), strict=True):
            ends += np.bincount(here[paths.last], counts, states)
        met, numbers = np.unique(
            np.bitwise_or.reduceat(np.left_shift(1, paths.channels), paths.first), return_inverse=True
        )
        sums = [
            np.bincount(numbers, counts, len(met)).astype(np.int64).tolist() for counts in (converted, lost)
        ]
        for members, more_converted, more_lost in zip(met.tolist(), *sums, strict=True):
            was = self._sets.get(members, (0, 0))
            self._sets[members] = (was[0] + more_converted, was[1] + more_lost)

    def removal_effects(self) -> dict[str, float]:
        """Of a Markov model of order 1: ``MarkovChain.removal_effects`` of the same journeys."""
        leaving = np.maximum(self._steps.sum(axis=1) + self._ends.sum(axis=0), 1)
        ending_in = [np.array([state]) for state in range(1, len(self._names) + 1)]
        effects = exact_effects(self._steps / leaving[:, None], self._ends[0] / leaving, ending_in)
        return dict(zip(self._names, effects.tolist(), strict=True))

    def shapley_values(self, worth: Worth = Worth.conversion_rate) -> dict[str, float]:
        """``ShapleyGame.values`` of the same journeys."""
        sets = self._as_journeys()
        game = ShapleyGame(sets, worth)
        found = game.values(game.set_counts(sets.converted), game.set_counts(sets.lost))
        return dict(zip(self._names, found.values.tolist(), strict=True))

    def _as_journeys(self) -> JourneySet:
        """Each set of channels as one sequence."""
        members = [[c for c in range(len(self._names)) if number >> c & 1] for number in self._sets]
        counts = np.array(list(self._sets.values()), dtype=np.int64).reshape(-1, 2)
        return JourneySet(
            self._names,
            np.array([channel for one in members for channel in one], dtype=np.int32),
            np.array([len(one) for one in members], dtype=np.int32),
            counts[:, 0],
            counts[:, 1],
        )
