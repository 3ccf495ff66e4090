"""Shapley: what each channel adds to the worth of a set of channels, on average over all orders of joining.

Two worths, both of the journeys that used no channel outside the set S:

``conversion_rate``: the share of them that converted (0 when there are none). What a channel adds is measured against
journeys that did without it, the lost ones included; a channel that lowers the rate has a negative value. The values
add up to the rate of all journeys. Exact up to ``EXACT_CHANNELS`` channels, all subsets at once; beyond that by sampled
orders (Castro, Gomez, Tejada 2009), with an error bound that holds for all channels together with probability 0.95:
empirical Bernstein (Maurer, Pontil 2009, theorem 4) for each, and a union over the channels.

``conversions``: how many converted. Then the sum over subsets has a closed form: each journey's conversions are shared
evenly by its distinct channels (Zhao, Mahboobi, Bagheri 2018, arXiv 1804.05327). Exact for any number of channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import factorial, log, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from attribution.learnt.journeys import Counts, Journey, JourneySet
from attribution.learnt.tables import Worth

EXACT_CHANNELS = 16
"""65,536 subsets: some milliseconds. Each further channel doubles them, and an interval asks hundreds of times."""
SAMPLED_ORDERS = 4_000
"""Orders of joining that are drawn beyond ``EXACT_CHANNELS``."""
RESAMPLED_ORDERS = 200
"""Of those, how many each round of an interval uses: there only the difference between rounds matters."""
_RISK = 0.05

Values = NDArray[np.float64]


class Estimate(NamedTuple):
    """Values by channel, and how far any of them may be off: 0 when exact."""

    values: Values
    bound: float


def shapley_values(journeys: Iterable[Journey]) -> dict[str, Fraction]:
    """Channel to its conversions, by the closed form; together all conversions of journeys that have a touchpoint."""
    values: dict[str, Fraction] = {}
    for journey in journeys:
        met = set(journey.channels)
        for channel in sorted(met):
            values[channel] = values.get(channel, Fraction(0)) + Fraction(journey.converted, len(met))
    return dict(sorted(values.items()))


class ShapleyGame:
    """The distinct sets of channels of some sequences, numbered once; values may be asked for many counts."""

    def __init__(self, journeys: JourneySet, worth: Worth = Worth.conversion_rate, seed: int = 0) -> None:
        """``seed`` draws the orders of joining where they are sampled."""
        self.channels = journeys.channels
        self._worth = worth
        numbers: dict[tuple[int, ...], int] = {}
        steps, ends = journeys.steps.tolist(), np.cumsum(journeys.lengths, dtype=np.int64).tolist()
        start = 0
        of_sequence: list[int] = []
        for end in ends:
            of_sequence.append(numbers.setdefault(tuple(sorted(set(steps[start:end]))), len(numbers)))
            start = end
        self._sets: list[tuple[int, ...]] = list(numbers)
        self._of_sequence = np.array(of_sequence, dtype=np.int64)
        self.is_exact = worth is Worth.conversions or len(self.channels) <= EXACT_CHANNELS
        self._seed = seed
        self._few_orders = [] if self.is_exact else list(self._draw_orders(RESAMPLED_ORDERS))

    def set_counts(self, by_sequence: Counts) -> Counts:
        """Journeys by set of channels."""
        sums = np.bincount(self._of_sequence, weights=by_sequence, minlength=len(self._sets))
        return sums.astype(np.int64)

    def values(self, converted: Counts, lost: Counts) -> Estimate:
        """By channel, when the sets were seen so often (``set_counts``)."""
        if not self.is_exact:
            return self._sampled(self._draw_orders(SAMPLED_ORDERS), converted, lost)
        if self._worth is Worth.conversions:
            return Estimate(self._closed(converted), 0.0)
        return Estimate(self._exact(converted, lost), 0.0)

    def resampled(self, converted: Counts, lost: Counts) -> Values:
        """As ``values``, for comparing rounds with each other: quicker where orders are sampled."""
        if not self.is_exact:
            return self._sampled(self._few_orders, converted, lost).values
        return self.values(converted, lost).values

    def _closed(self, converted: Counts) -> Values:
        values = np.zeros(len(self.channels))
        for members, count in zip(self._sets, converted.tolist(), strict=True):
            values[list(members)] += count / len(members)
        return values

    def _exact(self, converted: Counts, lost: Counts) -> Values:
        n = len(self.channels)
        masks = np.array([sum(1 << member for member in members) for members in self._sets], dtype=np.int64)
        worth = _rate(
            _over_subsets(_sum_by(masks, converted, 1 << n), n),
            _over_subsets(_sum_by(masks, converted + lost, 1 << n), n),
        )
        sizes = np.bitwise_count(np.arange(1 << n, dtype=np.uint32))
        chances = np.array([factorial(s) * factorial(n - s - 1) / factorial(n) for s in range(n)] + [0.0])[
            sizes
        ]
        values = np.zeros(n)
        for channel in range(n):
            with_and_without = worth.reshape(-1, 2, 1 << channel)
            joining = chances.reshape(-1, 2, 1 << channel)[:, 0]
            values[channel] = (joining * (with_and_without[:, 1] - with_and_without[:, 0])).sum()
        return values

    def _draw_orders(self, count: int) -> Iterator[_Order]:
        """The first ``count`` of the seed's orders: always the same ones."""
        longest = max(map(len, self._sets), default=1)
        # The last member repeated, so that all sets have equally many.
        padded = [members + members[-1:] * (longest - len(members)) for members in self._sets]
        members = np.array(padded, dtype=np.int32).reshape(len(padded), longest)
        random = np.random.default_rng(self._seed)
        place = np.empty(len(self.channels), dtype=np.int32)
        for _ in range(count):
            joining = random.permutation(len(self.channels))
            place[joining] = np.arange(len(self.channels))
            yield _Order(joining, place[members].max(axis=1))

    def _sampled(self, orders: Iterable[_Order], converted: Counts, lost: Counts) -> Estimate:
        n, drawn = len(self.channels), 0
        journeys = converted + lost
        sums, squares = np.zeros(n), np.zeros(n)
        for order in orders:
            drawn += 1
            complete = np.cumsum(_sum_by(order.complete_at, converted, n))
            reached = np.cumsum(_sum_by(order.complete_at, journeys, n))
            worth = _rate(complete, reached)
            added = np.diff(worth, prepend=0.0)
            sums[order.channels] += added
            squares[order.channels] += added * added
        rates = _rate(converted.astype(np.float64), journeys.astype(np.float64))
        highest = float(rates.max(initial=0.0))  # no union of sets has a higher rate than the best of them
        means = sums / drawn
        spread = max(float((squares / drawn - means * means).max()), 0.0) * drawn / (drawn - 1)
        risk = log(4 * n / _RISK)
        bound = sqrt(2 * spread * risk / drawn) + 7 * 2 * highest * risk / (3 * (drawn - 1))
        return Estimate(means, bound)


class _Order(NamedTuple):
    """One order of joining."""

    channels: NDArray[np.int64]
    """First the one that joins first."""
    complete_at: NDArray[np.int32]
    """By set: the place in the order at which its last member joins."""


def _sum_by(numbers: Counts | NDArray[np.int32], counts: Counts, many: int) -> Values:
    return np.bincount(numbers, weights=counts, minlength=many).astype(np.float64, copy=False)


def _over_subsets(by_mask: Values, n: int) -> Values:
    """The sum over all subsets of each set."""
    for channel in range(n):
        halves = by_mask.reshape(-1, 2, 1 << channel)
        halves[:, 1] += halves[:, 0]
    return by_mask


def _rate(converted: Values, journeys: Values) -> Values:
    return np.divide(converted, journeys, out=np.zeros_like(converted), where=journeys > 0)
