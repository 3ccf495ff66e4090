"""Learning: counted journeys in, a frozen table out, with an interval for each channel.

The interval is a bootstrap: each round draws as many journeys anew as were seen, each sequence as often as chance would
have it (Poisson in place of the multinomial: Chamandy, Muralidharan, Najmi, Naidu: Estimating uncertainty for massive
data streams, 2012), and learns again. The interval holds the middle 90 % of the shares. Where Shapley's orders are
sampled it is widened by their error bound. The same seed draws the same journeys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from attribution.errors import Rejected
from attribution.learnt.journeys import Counts, JourneySet
from attribution.learnt.markov import MarkovChain
from attribution.learnt.shapley import Estimate, ShapleyGame
from attribution.learnt.tables import MARKOV, ONE, SHAPLEY, ChannelEffect, LearntTable, SiteEffects, Worth

MIN_JOURNEYS = 100
MIN_CONVERSIONS = 30
MIN_CHANNELS = 2
"""With less there is nothing to learn; how sure more makes the model the interval says."""
ROUNDS = 200
CONFIDENCE = 0.9

Sites = Mapping[str, JourneySet]
"""Journeys by site, or under ``EVERY_SITE``."""
Values = NDArray[np.float64]


class Facts(msgspec.Struct, frozen=True):
    """What the journeys are and how they are drawn anew. Instants are epoch milliseconds, UTC."""

    from_ms: int
    to_ms: int
    types: tuple[str, ...]
    seed: int = 0
    rounds: int = ROUNDS


def is_enough(journeys: JourneySet) -> bool:
    """Whether something can be learnt from them."""
    return not _lacks(journeys)


def learn_markov(
    sites: Sites, facts: Facts, order: int = 1, tick: Callable[[], None] = lambda: None
) -> LearntTable:
    """Removal effects at ``order``; ``tick`` is called after each round. Raises ``Rejected`` and says why."""

    def learn(journeys: JourneySet, site: str) -> SiteEffects:
        chain = MarkovChain(journeys, order)
        estimate = Estimate(chain.removal_effects(journeys.converted, journeys.lost), 0.0)
        draw = _Draw(journeys.converted, journeys.lost, facts.seed)
        rounds = []
        for _ in range(facts.rounds):
            rounds.append(chain.nearly(*draw.again()))
            tick()
        return _site_effects(site, journeys, estimate, rounds)

    return _table(sites, facts, learn, MARKOV, order=order)


def learn_shapley(
    sites: Sites,
    facts: Facts,
    worth: Worth = Worth.conversion_rate,
    tick: Callable[[], None] = lambda: None,
) -> LearntTable:
    """Shapley values for ``worth``; otherwise as ``learn_markov``."""

    def learn(journeys: JourneySet, site: str) -> SiteEffects:
        if worth is Worth.conversion_rate and not journeys.lost.any():
            raise Rejected("too_few_journeys", "No journey was lost: every conversion rate is 1.", "journeys")
        game = ShapleyGame(journeys, worth, facts.seed)
        converted, lost = game.set_counts(journeys.converted), game.set_counts(journeys.lost)
        estimate = game.values(converted, lost)
        compared = estimate.values - game.resampled(converted, lost)
        draw = _Draw(converted, lost, facts.seed)
        rounds = []
        for _ in range(facts.rounds):
            rounds.append(game.resampled(*draw.again()) + compared)
            tick()
        scale = 1.0 if worth is Worth.conversion_rate else 1.0 / max(1, journeys.conversions)
        scaled = Estimate(estimate.values * scale, estimate.bound * scale)
        return _site_effects(site, journeys, scaled, [values * scale for values in rounds])

    return _table(sites, facts, learn, SHAPLEY, worth=worth.value)


def _table(
    sites: Sites,
    facts: Facts,
    learn: Callable[[JourneySet, str], SiteEffects],
    model: str,
    *,
    order: int = 0,
    worth: str = "",
) -> LearntTable:
    learnt = []
    for site, journeys in sorted(sites.items()):
        if lack := _lacks(journeys):
            raise Rejected("too_few_journeys", f"{lack}{f' at {site}' if site else ''}.", "journeys")
        learnt.append(learn(journeys, site))
    if not learnt:
        raise Rejected("too_few_journeys", "There are no journeys in this period.", "journeys")
    return LearntTable(
        model=model,
        order=order,
        worth=worth,
        from_ms=facts.from_ms,
        to_ms=facts.to_ms,
        types=facts.types,
        seed=facts.seed,
        rounds=facts.rounds,
        sites=tuple(learnt),
    )


def _lacks(journeys: JourneySet) -> str:
    """What is missing; "" = nothing."""
    if journeys.journeys < MIN_JOURNEYS or journeys.conversions < MIN_CONVERSIONS:
        return (
            f"{journeys.journeys} journeys with {journeys.conversions} conversions are too few to learn from"
            f" (at least {MIN_JOURNEYS} and {MIN_CONVERSIONS}; choose a longer period)"
        )
    if len(journeys.channels) < MIN_CHANNELS:
        return f"All journeys are of one channel, {journeys.channels[0]}: there is nothing to compare"
    return ""


class _Draw:
    """Counts drawn anew."""

    def __init__(self, converted: Counts, lost: Counts, seed: int) -> None:
        self._counts = (converted, lost)
        self._seen = tuple(np.flatnonzero(counts) for counts in self._counts)
        self._random = np.random.default_rng(seed)

    def again(self) -> tuple[Counts, Counts]:
        """(converted, lost) of one round."""
        drawn = []
        for counts, seen in zip(self._counts, self._seen, strict=True):
            anew = np.zeros_like(counts)
            anew[seen] = self._random.poisson(counts[seen])
            drawn.append(anew)
        return drawn[0], drawn[1]


def _site_effects(site: str, journeys: JourneySet, estimate: Estimate, rounds: list[Values]) -> SiteEffects:
    shares = _shares(estimate.values)
    low, high = shares, shares
    if rounds:
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile([_shares(values) for values in rounds], [tail, 1 - tail], axis=0)
        off = estimate.bound / max(float(np.maximum(estimate.values, 0).sum()), 1e-12)
        # The estimate itself always lies within: with few journeys the rounds may all miss it by a little.
        low = np.clip(np.minimum(low, shares) - off, 0, 1)
        high = np.clip(np.maximum(high, shares) + off, 0, 1)
    return SiteEffects(
        site,
        journeys.journeys,
        journeys.conversions,
        tuple(
            ChannelEffect(channel, *(round(float(part) * ONE) for part in parts))
            for channel, *parts in zip(journeys.channels, estimate.values, shares, low, high, strict=True)
        ),
        round(estimate.bound * ONE),
    )


def _shares(values: Values) -> Values:
    """Positive effects as shares of their sum; all 0 when there are none."""
    positive = np.maximum(values, 0)
    whole = float(positive.sum())
    return positive / whole if whole else positive
