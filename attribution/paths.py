"""Paths: which touchpoints count for a conversion, and why the others do not."""

from __future__ import annotations

from enum import StrEnum
from operator import attrgetter

import msgspec

from attribution.past import Past
from attribution.policy import AttributionPolicy
from attribution.timeline import TimelineConversion
from attribution.touchpoints import Touchpoint

_in_time = attrgetter("touched_at", "touchpoint_id")


class Path(msgspec.Struct, frozen=True):
    """The touchpoints that count for one conversion, in time order."""

    touchpoints: tuple[Touchpoint, ...]
    """Sorted by (``touched_at``, ``touchpoint_id``)."""
    converted_at: int
    """Epoch milliseconds, UTC."""
    type: str
    lead_at: int | None = None
    """When the person became a lead, epoch milliseconds, UTC; None = not before this conversion."""
    opportunity_at: int | None = None
    """When a deal was opened, epoch milliseconds, UTC; None = not before this conversion."""
    is_known: bool = True
    """The person had been seen by then: there are touchpoints at or before the conversion, be it that none counts."""


class Why(StrEnum):
    """Why a touchpoint counts for a conversion or does not."""

    in_window = "in_window"
    after_conversion = "after_conversion"
    before_window = "before_window"
    no_window = "no_window"
    """The policy has no lookback window for this type of conversion (any more): nothing counts."""


class Considered(msgspec.Struct, frozen=True):
    """One touchpoint and the judgement on it."""

    touchpoint: Touchpoint
    is_counted: bool
    why: Why


def build_path(past: Past, conversion: TimelineConversion, policy: AttributionPolicy) -> Path:
    """The path before ``conversion``, chosen from what its person did.

    A touchpoint counts when it is at or before the conversion and not older than the type's lookback window,
    both edges included. A type without window has an empty path.
    """
    converted_at, _, type_ = conversion
    lookback = policy.conversion_lookbacks_ms.get(type_)
    if lookback is None:
        return Path((), converted_at, type_, is_known=_is_known(past, converted_at))
    earliest = converted_at - lookback
    counted = [touch for touch in past.touchpoints if earliest <= touch.touched_at <= converted_at]
    counted.sort(key=_in_time)
    return Path(tuple(counted), converted_at, type_, is_known=bool(counted) or _is_known(past, converted_at))


def _is_known(past: Past, converted_at: int) -> bool:
    return any(touch.touched_at <= converted_at for touch in past.touchpoints)


def explain_path(past: Past, conversion: TimelineConversion, policy: AttributionPolicy) -> list[Considered]:
    """Every touchpoint, in time order, with the reason why it counts or not; agrees with ``build_path``."""
    converted_at, _, type_ = conversion
    lookback = policy.conversion_lookbacks_ms.get(type_)
    considered = []
    for touch in sorted(past.touchpoints, key=_in_time):
        if lookback is None:
            why = Why.no_window
        elif touch.touched_at > converted_at:
            why = Why.after_conversion
        elif touch.touched_at < converted_at - lookback:
            why = Why.before_window
        else:
            why = Why.in_window
        considered.append(Considered(touch, why is Why.in_window, why))
    return considered
