"""Every built-in model over many paths: the very parts that ``attribution.models`` gives for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from attribution.bulk.decay import halved
from attribution.bulk.paths import NEVER, Ints, Parts, Paths
from attribution.models import division_of
from attribution.policy import AttributionPolicy

BulkDivision = Callable[[Paths, AttributionPolicy], Parts]


def parts_of(name: str, paths: Paths, policy: AttributionPolicy) -> Parts:
    """``division_of(name, policy)`` of each of ``paths``, one after the other.

    A model that has no vectorised form (a plug-in, weights of one's own) is asked path by path: its parts must fit 64
    bits, and ``paths.sources`` be there, else ``ValueError``. Raises ``Misconfigured`` for an unknown model.
    """
    divide = division_of(name, policy)
    if name in BULK_DIVISIONS:
        return BULK_DIVISIONS[name](paths, policy)
    if len(paths.sources) != len(paths):
        raise ValueError(f"{name} is asked path by path, and only arrays are known")
    return np.array([part for path in paths.sources for part in divide(path, policy)], dtype=np.uint64)


def _first_touch(paths: Paths, policy: AttributionPolicy) -> Parts:
    return _only(paths, paths.first)


def _last_touch(paths: Paths, policy: AttributionPolicy) -> Parts:
    return _only(paths, paths.last)


def _last_non_direct_touch(paths: Paths, policy: AttributionPolicy) -> Parts:
    found = _last_of(paths, ~_is_in(paths, ("Direct",)))
    return _only(paths, np.where(found == NEVER, paths.last, found))


def _first_paid_touch(paths: Paths, policy: AttributionPolicy) -> Parts:
    paid, before = _counted(paths, _is_in(paths, policy.all_paid_channels))
    has_any = before[paths.offsets[1:]] > before[paths.first]
    return _only(paths, paid[before[paths.first][has_any]])


def _last_paid_touch(paths: Paths, policy: AttributionPolicy) -> Parts:
    found = _last_of(paths, _is_in(paths, policy.all_paid_channels))
    return _only(paths, found[found != NEVER])


def _linear(paths: Paths, policy: AttributionPolicy) -> Parts:
    return np.ones(len(paths.channels), dtype=np.uint64)


def _by_ends(first: int, last: int) -> BulkDivision:
    def divide(paths: Paths, policy: AttributionPolicy) -> Parts:
        between = np.maximum(paths.counts - 2, 1).astype(np.uint64)
        parts = np.ones(len(paths.channels), dtype=np.uint64)
        parts[paths.last] = last * between
        parts[paths.first] = first * between
        return parts

    return divide


def _w_shaped(paths: Paths, policy: AttributionPolicy) -> Parts:
    return _by_moments(
        paths, paths.first, _of_moment(paths, paths.lead_at), _of_moment(paths, paths.opportunity_at)
    )


def _full_path(paths: Paths, policy: AttributionPolicy) -> Parts:
    lead, opportunity = _of_moment(paths, paths.lead_at), _of_moment(paths, paths.opportunity_at)
    return _by_moments(paths, paths.first, lead, opportunity, paths.last)


def _time_decay(paths: Paths, policy: AttributionPolicy) -> Parts:
    latest = paths.touched_at[paths.last]
    return halved(paths.spread(latest) - paths.touched_at, policy.time_decay_half_life_ms)


BULK_DIVISIONS: dict[str, BulkDivision] = {
    "first_touch": _first_touch,
    "last_touch": _last_touch,
    "last_non_direct_touch": _last_non_direct_touch,
    "first_paid_touch": _first_paid_touch,
    "last_paid_touch": _last_paid_touch,
    "linear": _linear,
    "position_based": _by_ends(2, 2),
    "j_shaped": _by_ends(1, 3),
    "inverse_j_shaped": _by_ends(3, 1),
    "w_shaped": _w_shaped,
    "full_path": _full_path,
    "time_decay": _time_decay,
}
"""Vectorised model by its public name."""


def _only(paths: Paths, touches: Ints) -> Parts:
    parts = np.zeros(len(paths.channels), dtype=np.uint64)
    parts[touches] = 1
    return parts


def _is_in(paths: Paths, channels: Iterable[str]) -> NDArray[np.bool_]:
    """For each touchpoint whether its channel is one of ``channels``."""
    wanted = frozenset(channels)
    return np.array([name in wanted for name in paths.names], dtype=np.bool_)[paths.channels]


def _counted(paths: Paths, chosen: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """The chosen touchpoints, and how many of them lie before each touchpoint (and before the end)."""
    before = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum(chosen, out=before[1:])
    return np.flatnonzero(chosen), before


def _last_of(paths: Paths, chosen: NDArray[np.bool_]) -> Ints:
    """Each path's last chosen touchpoint; ``NEVER`` without one."""
    found, before = _counted(paths, chosen)
    until = before[paths.offsets[1:]]
    has_any = until > before[paths.first]
    last = np.full(len(paths), NEVER)
    last[has_any] = found[until[has_any] - 1]
    return last


def _of_moment(paths: Paths, moments: Ints) -> Ints:
    """Each path's last touchpoint at or before its moment; ``NEVER`` without one."""
    return _last_of(paths, paths.touched_at <= paths.spread(moments))


def _by_moments(paths: Paths, *moments: Ints) -> Parts:
    """Nine tenths evenly to the moments that have a touchpoint, one tenth evenly to the others."""
    held = np.zeros(len(paths.channels), dtype=np.int64)
    for touches in moments:
        held[touches[touches != NEVER]] += 1  # at most one of a path
    total = np.add.reduceat(held, paths.first)
    between = paths.counts - np.add.reduceat(held > 0, paths.first, dtype=np.int64)
    each = np.where(between > 0, 9 * between, 1)
    return np.where(held > 0, held * paths.spread(each), paths.spread(total)).astype(np.uint64)
