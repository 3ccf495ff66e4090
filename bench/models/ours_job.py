"""Headwater: twelve models in exact units, exact Markov of order 1, exact Shapley.

python -m bench.models.ours_job FILE
"""

from __future__ import annotations

from itertools import chain

import numpy as np

from attribution.bulk import (
    BULK_DIVISIONS,
    NEVER,
    JourneySums,
    Paths,
    parts_of,
    share_by_parts,
    sum_by_channel,
)
from attribution.ledger import WEIGHT_ONE
from attribution.policy import AttributionPolicy
from bench.models.rows import SEPARATOR, Rows
from bench.models.stages import CONVERSIONS, VALUE, Stages, Sums, main, shares_of

ENDED_AT = 1_700_000_000_000
"""When every journey ended, epoch milliseconds: models look at differences only."""
POLICY = AttributionPolicy()


def moments(ages: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Instants of what happened so long before the end of its journey; negative ages: never."""
    return np.where(ages < 0, NEVER, ENDED_AT - ages)


def read(texts: list[str], ages: list[list[int]], rows: Rows) -> Paths:
    """Journeys as the other packages get them, and the ages of their touchpoints, as arrays."""
    touches = SEPARATOR.join(texts).split(SEPARATOR)
    names = tuple(sorted(set(touches)))
    code = {name: number for number, name in enumerate(names)}
    return Paths(
        names,
        np.fromiter(map(code.__getitem__, touches), np.int64, len(touches)),
        ENDED_AT - np.fromiter(chain.from_iterable(ages), np.int64, len(touches)),
        np.cumsum([0, *map(len, ages)]),
        moments(rows.lead_ages),
        moments(rows.opportunity_ages),
    )


def credit(paths: Paths, rows: Rows) -> Sums:
    """Conversions and money (major units) by channel under every model; journeys without one have nothing to divide."""
    sums: Sums = {}
    has_converted = rows.converted > 0
    paths, cents = paths.only(has_converted), rows.cents[has_converted]
    totals = {CONVERSIONS: (np.full(len(paths), WEIGHT_ONE), WEIGHT_ONE), VALUE: (cents, 100)}
    for name in BULK_DIVISIONS:
        parts = parts_of(name, paths, POLICY)
        for what, (whole, unit) in totals.items():
            found = sum_by_channel(paths, share_by_parts(whole, parts, paths.offsets))
            sums[f"{name} {what}"] = {channel: amount / unit for channel, amount in found.items()}
    return sums


def _run(rows: Rows) -> None:
    texts, ages = rows.paths(), rows.path_ages()
    stages = Stages()
    with stages.stage("read"):
        paths = read(texts, ages, rows)
    with stages.stage("heuristic"):
        sums = credit(paths, rows)
    with stages.stage("Markov"):
        journeys = JourneySums(paths.names)
        journeys.add(paths, rows.converted, 1 - rows.converted)
        sums["markov"] = shares_of(journeys.removal_effects())
    with stages.stage("Shapley"):
        sums["shapley"] = journeys.shapley_values()
    stages.tell(sums)


if __name__ == "__main__":
    main(_run)
