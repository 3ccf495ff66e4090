"""Markov: what share of the conversions would be lost if a channel did not exist.

A journey is a walk over states: the last ``order`` channels seen, after a start and before "converted" or "lost". From
the counted walks follow the probability of each step and the probability p of converting. Without channel c every step
that would lead to c leads to "lost"; what remains of p is p(c). The removal effect is 1 - p(c) / p (Anderl, Becker, von
Wangenheim, Schumann: Mapping the customer journey, 2014; ChannelAttribution).

Exact, by linear algebra: with N = (I - Q)^-1, whose entry (i, j) is the expected number of visits to j from i, and with
h = N r, the probability of converting from each state, a walk that meets the set C of states that end in c is split at
its first visit there: p - p(c) = N[start, C] N[C, C]^-1 h[C]. So one inverse serves all channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attribution.errors import Rejected
from attribution.learnt.journeys import Journey, channels_of

MAX_ORDER = 4
MAX_STATES = 4_000
"""The inverse of so many takes 130 MB and some seconds."""

_START = 0


def removal_effects(journeys: Sequence[Journey], order: int = 1) -> dict[str, float]:
    """Channel to the share of conversions that would be lost without it, from 0 to 1.

    All are 0 when nobody converted. Raises ``Rejected`` for an order outside 1..4 and for more than ``MAX_STATES``
    states.
    """
    if not 1 <= order <= MAX_ORDER:
        raise Rejected("order", f"A Markov model has an order from 1 to {MAX_ORDER}.", "order")
    states = _number_states(journeys, order)
    if len(states) > MAX_STATES:
        raise Rejected(
            "too_many_states", f"{len(states)} states, more than {MAX_STATES}: choose a lower order.", "order"
        )
    steps, conversions = _count_steps(journeys, order, states)
    leaving = steps.sum(axis=1) + conversions[:, 0] + conversions[:, 1]
    visits = np.linalg.inv(np.eye(len(states)) - steps / leaving[:, None])
    converting = visits @ (conversions[:, 0] / leaving)
    whole = float(converting[_START])
    ending = {
        channel: [n for s, n in states.items() if s and s[-1] == channel] for channel in channels_of(journeys)
    }
    return {
        channel: _lost(visits, converting, np.array(members)) / whole if whole else 0.0
        for channel, members in ending.items()
    }


def _number_states(journeys: Sequence[Journey], order: int) -> dict[tuple[str, ...], int]:
    states: dict[tuple[str, ...], int] = {(): _START}
    for journey in journeys:
        for end in range(1, len(journey.channels) + 1):
            states.setdefault(journey.channels[max(0, end - order) : end], len(states))
    return states


def _count_steps(
    journeys: Sequence[Journey], order: int, states: dict[tuple[str, ...], int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps from state to state, and from each state to (converted, lost)."""
    steps = np.zeros((len(states), len(states)))
    ends = np.zeros((len(states), 2))
    for journey in journeys:
        here = _START
        weight = journey.converted + journey.lost
        for end in range(1, len(journey.channels) + 1):
            there = states[journey.channels[max(0, end - order) : end]]
            steps[here, there] += weight
            here = there
        ends[here] += (journey.converted, journey.lost)
    return steps, ends


def _lost(visits: NDArray[np.float64], converting: NDArray[np.float64], members: NDArray[np.intp]) -> float:
    """Probability of converting by a walk that meets one of ``members``."""
    first_met = np.linalg.solve(visits[np.ix_(members, members)].T, visits[_START, members])
    return float(first_met @ converting[members])
