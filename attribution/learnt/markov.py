"""Markov: what share of the conversions would be lost if a channel did not exist.

A journey is a walk over states: the last ``order`` channels seen, after a start and before "converted" or "lost". From
the counted walks follow the probability of each step and the probability p of converting. Without channel c every step
that would lead to c leads to "lost"; what remains of p is p(c). The removal effect is 1 - p(c) / p (Anderl, Becker, von
Wangenheim, Schumann: Mapping the customer journey, 2014; ChannelAttribution).

Exact, by linear algebra: with N = (I - Q)^-1, whose entry (i, j) is the expected number of visits to j from i, and with
h = N r, the probability of converting from each state, a walk that meets the set C of states that end in c is split at
its first visit there: p - p(c) = N[start, C] N[C, C]^-1 h[C]. So one inverse serves all channels.

An interval asks hundreds of times and needs no twelve digits: with many states ``nearly`` sums the series
h = r + Q r + Q Q r + ... for all channels at once instead, over the steps that occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attribution.errors import Rejected
from attribution.learnt.journeys import Counts, Journey, JourneySet, journey_set
from attribution.learnt.tables import MAX_ORDER

Numbers = NDArray[np.floating[Any]]

MAX_STATES = 2_000
"""The inverse of so many takes a second and 100 MB."""
_FEW_STATES = 150
"""Up to so many the inverse is quicker than the series."""
_NEAR = 1e-7
"""Of the series: a last term that is smaller ends it."""
_MOST_TERMS = 10_000
_MAX_CODE = 1 << 62

_START = 0


class MarkovChain:
    """The states and steps of some sequences, numbered once; ``removal_effects`` may be asked for many counts."""

    def __init__(self, journeys: JourneySet, order: int = 1) -> None:
        """Raises ``Rejected`` for an order outside 1..4 and for more than ``MAX_STATES`` states."""
        if not 1 <= order <= MAX_ORDER:
            raise Rejected("order", f"A Markov model has an order from 1 to {MAX_ORDER}.", "order")
        if (len(journeys.channels) + 1) ** order >= _MAX_CODE:
            raise Rejected(
                "too_many_states", f"{len(journeys.channels)} channels: choose a lower order.", "order"
            )
        self.channels = journeys.channels
        ends = np.cumsum(journeys.lengths, dtype=np.int64)
        is_first = np.zeros(len(journeys.steps), dtype=bool)
        is_first[ends - journeys.lengths] = True
        codes, here = np.unique(_codes_of(journeys, order, is_first), return_inverse=True)
        self.states = len(codes) + 1
        if self.states > MAX_STATES:
            raise Rejected(
                "too_many_states",
                f"{self.states} states at order {order}, more than {MAX_STATES}: choose a lower order.",
                "order",
            )
        here = here.astype(np.int64) + 1
        before = np.where(is_first, _START, np.roll(here, 1))
        self._edges, self._edge_of_step = np.unique(before * self.states + here, return_inverse=True)
        self._sequence_of_step = np.repeat(np.arange(len(journeys.lengths)), journeys.lengths)
        self._last_states = here[ends - 1]
        self._channel_of_state = np.concatenate(([-1], codes % (len(self.channels) + 1) - 1))
        self._ending_in = [np.flatnonzero(self._channel_of_state == c) for c in range(len(self.channels))]

    def removal_effects(self, converted: Counts, lost: Counts) -> NDArray[np.float64]:
        """By channel, from 0 to 1, when the sequences were seen so often. All are 0 when nobody converted."""
        n = self.states
        steps, converting = self._chances(converted, lost)
        matrix = np.zeros((n, n))
        matrix[np.divmod(self._edges, n)] = steps
        return exact_effects(matrix, converting, self._ending_in)

    def nearly(self, converted: Counts, lost: Counts) -> NDArray[np.float64]:
        """As ``removal_effects``, to about six digits."""
        if self.states <= _FEW_STATES:
            return self.removal_effects(converted, lost)
        steps, converting = self._chances(converted, lost)
        origins, targets = np.divmod(self._edges, self.states)
        rows, first_edges = np.unique(origins, return_index=True)
        # A column for each channel that is gone, and one for none.
        kept = self._channel_of_state[targets][:, None] != np.arange(len(self.channels) + 1)
        steps_without = np.where(kept, steps[:, None], 0.0)
        sums = np.repeat(converting[:, None], len(self.channels) + 1, axis=1)
        term = sums
        for _ in range(_MOST_TERMS):
            reached = np.zeros_like(sums)
            reached[rows] = np.add.reduceat(steps_without * term[targets], first_edges, axis=0)
            sums = sums + reached
            term = reached
            if term.max() < _NEAR:
                break
        return _effects(float(sums[_START, -1]), sums[_START, :-1])

    def _chances(self, converted: Counts, lost: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The probability of each step, and by state that of converting next."""
        n = self.states
        steps = np.bincount(
            self._edge_of_step,
            weights=(converted + lost)[self._sequence_of_step],
            minlength=len(self._edges),
        )
        converting = np.bincount(self._last_states, weights=converted, minlength=n)
        losing = np.bincount(self._last_states, weights=lost, minlength=n)
        leaving = np.bincount(self._edges // n, weights=steps, minlength=n) + converting + losing
        leaving[leaving == 0] = 1  # a state that no journey of these counts meets
        return steps / leaving[self._edges // n], converting / leaving


def removal_effects(journeys: Iterable[Journey], order: int = 1) -> dict[str, float]:
    """Channel to the share of conversions that would be lost without it, from 0 to 1; raises as ``MarkovChain``."""
    counted = journey_set(journeys)
    chain = MarkovChain(counted, order)
    return dict(
        zip(counted.channels, chain.removal_effects(counted.converted, counted.lost).tolist(), strict=True)
    )


def exact_effects(
    steps: NDArray[np.float64], converting: NDArray[np.float64], ending_in: Sequence[NDArray[np.intp]]
) -> NDArray[np.float64]:
    """Removal effects of groups of states. State 0 is the start.

    ``steps``: probability of each step from state to state; ``converting``: by state, that of converting next;
    ``ending_in``: for each channel the states that end in it.
    """
    visits = np.linalg.inv(np.eye(len(steps)) - steps)
    chances = visits @ converting
    without = [chances[_START] - _lost(visits, chances, members) for members in ending_in]
    return _effects(float(chances[_START]), np.array(without))


def _codes_of(journeys: JourneySet, order: int, is_first: NDArray[np.bool_]) -> Counts:
    """A number for the state after each step: its last ``order`` channels as digits, the newest last."""
    base = len(journeys.channels) + 1
    digits = journeys.steps.astype(np.int64) + 1
    codes = digits.copy()
    older, worth = digits, base
    for _ in range(order - 1):
        older = np.where(is_first, 0, np.roll(older, 1))
        codes += older * worth
        worth *= base
    return codes


def _lost(visits: Numbers, chances: Numbers, members: NDArray[np.intp]) -> float:
    """Probability of converting by a walk that meets one of ``members``."""
    first_met = np.linalg.solve(visits[np.ix_(members, members)].T, visits[_START, members])
    return float(first_met @ chances[members])


def _effects(whole: float, without: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(1 - without / whole, 0.0, 1.0) if whole else np.zeros(len(without))
