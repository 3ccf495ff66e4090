"""Shapley: what each channel adds, on average over all orders in which channels could have joined.

The worth of a set S of channels is what was converted by journeys that used no channel outside S. A channel's value is
the mean of what it adds to the worth over all orders. For this worth the sum over subsets has a closed form: each
journey's conversions are shared evenly by its distinct channels (Zhao, Mahboobi, Bagheri: Shapley value methods for
attribution modeling in online advertising, 2018). So it is exact for any number of channels, and nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from attribution.learnt.journeys import Journey


def shapley_values(journeys: Iterable[Journey]) -> dict[str, Fraction]:
    """Channel to its conversions; together all conversions of journeys that have a touchpoint."""
    values: dict[str, Fraction] = {}
    for journey in journeys:
        met = set(journey.channels)
        for channel in sorted(met):
            values[channel] = values.get(channel, Fraction(0)) + Fraction(journey.converted, len(met))
    return dict(sorted(values.items()))
