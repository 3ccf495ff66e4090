"""Models that the policy itself describes: an installation's own weights, half-life or window."""

from __future__ import annotations

from bisect import bisect_left

import msgspec

from attribution.models.decay import by_age
from attribution.models.registry import DIVISIONS, Parts
from attribution.paths import Path
from attribution.policy import AttributionPolicy, CustomKind, CustomModel


def divide_custom(custom: CustomModel, path: Path, policy: AttributionPolicy) -> Parts:
    """One whole number per touchpoint of ``path``, which is not empty.

    With a window of its own the model sees the touches that are not older, its edge included; all others get 0, and
    when none is left nobody is credited.
    """
    if custom.window_ms is None:
        return _divide(custom, path, policy)
    touches = path.touchpoints
    earliest = path.converted_at - custom.window_ms
    older = bisect_left(touches, earliest, key=lambda touch: touch.touched_at)
    if older == len(touches):
        return (0,) * older
    nearer = msgspec.structs.replace(path, touchpoints=touches[older:])
    return (*(0,) * older, *_divide(custom, nearer, policy))


def _divide(custom: CustomModel, path: Path, policy: AttributionPolicy) -> Parts:
    count = len(path.touchpoints)
    match custom.kind:
        case CustomKind.weights:
            return _by_ends(count, custom.first, custom.middle, custom.last)
        case CustomKind.positions:
            parts = custom.positions[:count] + (custom.rest,) * (count - len(custom.positions))
            return parts[::-1] if custom.from_end else parts
        case CustomKind.time_decay:
            return by_age(path, custom.half_life_ms)
        case CustomKind.model:
            return DIVISIONS[custom.model](path, policy)


def _by_ends(count: int, first: int, middle: int, last: int) -> Parts:
    """``middle`` is shared by all between. One touch takes all; two share as the ends do, evenly if both ends are 0."""
    if count == 1:
        return (1,)
    if count == 2:
        return (first, last) if first or last else (1, 1)
    between = count - 2
    return (first * between, *(middle,) * between, last * between)
