"""Models by position: ends and middle of a path, and the moments at which it became a lead and an opportunity.

Rules where the sources are silent or disagree (docs/architecture.md, "Models"): a touchpoint that holds two key moments
gets both shares; a moment without a touchpoint leaves its share to the other moments; without touchpoints in between,
the moments have their share, too.
"""

from __future__ import annotations

from collections import Counter

from attribution.models.registry import Parts, model
from attribution.paths import Path
from attribution.policy import AttributionPolicy


@model
def linear(path: Path, policy: AttributionPolicy, /) -> Parts:
    """The same to each."""
    return (1,) * len(path.touchpoints)


@model
def position_based(path: Path, policy: AttributionPolicy, /) -> Parts:
    """40 % to the first, 40 % to the last, 20 % shared by those between; two: half each; one: all."""
    return _by_ends(len(path.touchpoints), 2, 2)


@model
def j_shaped(path: Path, policy: AttributionPolicy, /) -> Parts:
    """20 % to the first, 60 % to the last, 20 % shared by those between; two: 25 and 75 %; one: all (Adobe)."""
    return _by_ends(len(path.touchpoints), 1, 3)


@model
def inverse_j_shaped(path: Path, policy: AttributionPolicy, /) -> Parts:
    """60 % to the first, 20 % to the last, 20 % shared by those between; two: 75 and 25 %; one: all (Adobe)."""
    return _by_ends(len(path.touchpoints), 3, 1)


@model
def w_shaped(path: Path, policy: AttributionPolicy, /) -> Parts:
    """30 % each to the first touchpoint, that of the lead and that of the opportunity; 10 % shared by the rest."""
    return _by_moments(
        len(path.touchpoints), 0, _of_moment(path, path.lead_at), _of_moment(path, path.opportunity_at)
    )


@model
def full_path(path: Path, policy: AttributionPolicy, /) -> Parts:
    """22.5 % each to the first touchpoint, that of the lead, that of the opportunity and the last one before the
    conversion; 10 % shared by the rest."""
    count = len(path.touchpoints)
    lead, opportunity = _of_moment(path, path.lead_at), _of_moment(path, path.opportunity_at)
    return _by_moments(count, 0, lead, opportunity, count - 1)


def _by_ends(count: int, first: int, last: int) -> Parts:
    """Fifths to the ends, one fifth to all between; two touchpoints share everything in the proportion of the ends."""
    if count <= 2:
        return (first, last)[:count]
    between = count - 2
    return (first * between, *(1,) * between, last * between)


def _of_moment(path: Path, moment: int | None) -> int | None:
    """The last touchpoint at or before ``moment`` (epoch milliseconds); None without one."""
    if moment is None:
        return None
    found = None
    for index, touch in enumerate(path.touchpoints):
        if touch.touched_at > moment:
            break
        found = index
    return found


def _by_moments(count: int, *moments: int | None) -> Parts:
    """Nine tenths evenly to the moments that have a touchpoint, one tenth evenly to the others."""
    held = Counter(index for index in moments if index is not None)
    between = count - len(held)
    each, middle = (9 * between, held.total()) if between else (1, 0)
    return tuple([held[index] * each if index in held else middle for index in range(count)])
