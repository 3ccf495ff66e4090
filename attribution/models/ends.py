"""Models that give everything to one touchpoint."""

from __future__ import annotations

from collections.abc import Iterable

from attribution.models.registry import Parts, model, only
from attribution.paths import Path
from attribution.policy import AttributionPolicy
from attribution.touchpoints import Touchpoint


@model
def first_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the first touchpoint."""
    return only(0, len(path.touchpoints))


@model
def last_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the last touchpoint."""
    count = len(path.touchpoints)
    return only(count - 1, count)


@model
def last_non_direct_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the last touchpoint whose channel is not Direct; if all are Direct, to the last."""
    touches = path.touchpoints
    for index in range(len(touches) - 1, -1, -1):
        if touches[index].acquisition.channel != "Direct":
            return only(index, len(touches))
    return only(len(touches) - 1, len(touches))


@model
def first_paid_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the first touchpoint of a paid channel (the policy's); if there is none, unattributed."""
    return _only_paid(path.touchpoints, range(len(path.touchpoints)), policy.all_paid_channels)


@model
def last_paid_touch(path: Path, policy: AttributionPolicy, /) -> Parts:
    """Everything to the last touchpoint of a paid channel (the policy's); if there is none, unattributed."""
    return _only_paid(path.touchpoints, range(len(path.touchpoints) - 1, -1, -1), policy.all_paid_channels)


def _only_paid(touches: tuple[Touchpoint, ...], order: Iterable[int], paid: frozenset[str]) -> Parts:
    for index in order:
        if touches[index].acquisition.channel in paid:
            return only(index, len(touches))
    return (0,) * len(touches)
