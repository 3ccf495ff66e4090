"""Paths: which touchpoints count for a conversion, and why the others do not. Rules: docs/policies.md.

First each touchpoint is judged alone (windows, exclusions), then views give way to clicks among those that are left,
then Direct gives way to anything that is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from operator import attrgetter

import msgspec

from attribution.acquisition import DIRECT
from attribution.channel_rules import is_brand
from attribution.conversions import ConversionFact
from attribution.past import Past, report_of
from attribution.policy import (
    AttributionPolicy,
    BrandHandling,
    DirectHandling,
    SinceLast,
    ViewHandling,
)
from attribution.timeline import TimelineConversion
from attribution.touchpoints import TouchKind, Touchpoint

_in_time = attrgetter("touched_at", "touchpoint_id")


class Path(msgspec.Struct, frozen=True):
    """The touchpoints that count for one conversion, in time order."""

    touchpoints: tuple[Touchpoint, ...]
    """Sorted by (``touched_at``, ``touchpoint_id``)."""
    converted_at: int
    """Epoch milliseconds, UTC."""
    type: str
    lead_at: int | None = None
    """When the person became a lead: the first of ``lead_events`` in the window, epoch milliseconds, UTC."""
    opportunity_at: int | None = None
    """When the deal was opened: the last of ``opportunity_events`` in the window, epoch milliseconds, UTC."""
    is_known: bool = True
    """The person had been seen by then: there are touchpoints at or before the conversion, be it that none counts."""


def path_of(past: Past, fact: ConversionFact, policy: AttributionPolicy) -> Path:
    """The path before the conversion of ``fact``. Moments that a sender told win over those of the person's hits."""
    path = build_path(past, report_of(fact), policy)
    if fact.lead_at is None and fact.opportunity_at is None:
        return path
    return msgspec.structs.replace(
        path,
        lead_at=path.lead_at if fact.lead_at is None else fact.lead_at,
        opportunity_at=path.opportunity_at if fact.opportunity_at is None else fact.opportunity_at,
    )


class Why(StrEnum):
    """Why a touchpoint counts for a conversion or does not."""

    in_window = "in_window"
    after_conversion = "after_conversion"
    before_window = "before_window"
    no_window = "no_window"
    """The policy has no lookback window for this type of conversion (any more): nothing counts."""
    before_last_conversion = "before_last_conversion"
    """At or before the person's previous conversion, and the policy credits only what came after it."""
    excluded_channel = "excluded_channel"
    brand_excluded = "brand_excluded"
    """Search for the brand itself, which the policy does not credit."""
    direct_excluded = "direct_excluded"
    """Direct never counts."""
    direct_not_alone = "direct_not_alone"
    """Direct counts only on a path that has nothing else, and there is something."""
    views_excluded = "views_excluded"
    """Views do not count (any more)."""
    view_before_click = "view_before_click"
    """A view gives way to a click at the same instant or later."""


class Considered(msgspec.Struct, frozen=True):
    """One touchpoint and the judgement on it."""

    touchpoint: Touchpoint
    is_counted: bool
    why: Why


def build_path(past: Past, conversion: TimelineConversion, policy: AttributionPolicy) -> Path:
    """The path before ``conversion``, chosen from what its person did.

    A touchpoint counts when it is at or before the conversion and not older than its lookback window, both edges
    included, and no other rule of ``policy`` speaks against it. A type without window has an empty path.
    """
    converted_at, _, type_ = conversion
    lookback = policy.conversion_lookbacks_ms.get(type_)
    if lookback is None:
        return Path((), converted_at, type_, is_known=_is_known(past, converted_at))
    if policy.counts_all_in_window:
        earliest = converted_at - lookback
        counted = [
            touch
            for touch in past.touchpoints
            if earliest <= touch.touched_at <= converted_at and not touch.is_view
        ]
        counted.sort(key=_in_time)
    else:
        counted = [
            judged.touchpoint for judged in explain_path(past, conversion, policy) if judged.is_counted
        ]
    is_known = bool(counted) or _is_known(past, converted_at)
    reports = past.conversions
    is_alone = not reports or (len(reports) == 1 and reports[0].conversion_id == conversion.conversion_id)
    if is_alone and type_ not in policy.stage_events:
        return Path(tuple(counted), converted_at, type_, is_known=is_known)
    lead_at = min(_moments(reports, conversion, policy.lead_events, lookback), default=None)
    opportunity_at = max(_moments(reports, conversion, policy.opportunity_events, lookback), default=None)
    return Path(tuple(counted), converted_at, type_, lead_at, opportunity_at, is_known)


def _is_known(past: Past, converted_at: int) -> bool:
    return any(touch.touched_at <= converted_at for touch in past.touchpoints)


def explain_path(past: Past, conversion: TimelineConversion, policy: AttributionPolicy) -> list[Considered]:
    """Every touchpoint, in time order, with the reason why it counts or not; agrees with ``build_path``."""
    touches = sorted(past.touchpoints, key=_in_time)
    if conversion.type not in policy.conversion_lookbacks_ms:
        return [Considered(touch, False, Why.no_window) for touch in touches]
    previous_at = _previous_at(past, conversion, policy)
    whys = [_judge_alone(touch, conversion, previous_at, policy) for touch in touches]
    if policy.views is ViewHandling.unless_clicked:
        _prefer_clicks(touches, whys)
    if policy.direct is DirectHandling.only_if_alone:
        _prefer_others(touches, whys)
    return [Considered(touch, why is Why.in_window, why) for touch, why in zip(touches, whys, strict=True)]


def _judge_alone(
    touch: Touchpoint, conversion: TimelineConversion, previous_at: int | None, policy: AttributionPolicy
) -> Why:
    """What can be said of a touchpoint without a look at the others."""
    if touch.touched_at > conversion.converted_at:
        return Why.after_conversion
    if touch.is_view and policy.views is ViewHandling.never:
        return Why.views_excluded
    if touch.touched_at < conversion.converted_at - policy.lookback_ms(conversion.type, touch.kind):
        return Why.before_window
    if previous_at is not None and touch.touched_at <= previous_at:
        return Why.before_last_conversion
    channel = touch.acquisition.channel
    if channel in policy.excluded_channels:
        return Why.excluded_channel
    if policy.brand is BrandHandling.exclude and is_brand(touch.acquisition, policy.brand_words):
        return Why.brand_excluded
    if channel == DIRECT.channel and policy.direct is DirectHandling.never:
        return Why.direct_excluded
    return Why.in_window


def _prefer_clicks(touches: list[Touchpoint], whys: list[Why]) -> None:
    """A view that counts so far gives way to a click that does, if that is not earlier."""
    last_click = max(
        (
            touch.touched_at
            for touch, why in zip(touches, whys, strict=True)
            if why is Why.in_window and touch.kind is TouchKind.click
        ),
        default=None,
    )
    if last_click is None:
        return
    for index, touch in enumerate(touches):
        if whys[index] is Why.in_window and touch.is_view and touch.touched_at <= last_click:
            whys[index] = Why.view_before_click


def _prefer_others(touches: list[Touchpoint], whys: list[Why]) -> None:
    """Direct gives way as soon as anything else counts."""
    counted = [index for index, why in enumerate(whys) if why is Why.in_window]
    direct = [index for index in counted if touches[index].acquisition.channel == DIRECT.channel]
    if len(direct) < len(counted):
        for index in direct:
            whys[index] = Why.direct_not_alone


def _previous_at(past: Past, conversion: TimelineConversion, policy: AttributionPolicy) -> int | None:
    """The instant of the person's last other conversion that is strictly earlier; None if it is of no account."""
    if policy.since_last_conversion is SinceLast.off:
        return None
    is_any = policy.since_last_conversion is SinceLast.any_type
    types = policy.conversion_lookbacks_ms if is_any else (conversion.type,)
    earlier = (
        report.converted_at
        for report in _first_reports(past.conversions)
        if report.type in types
        and report.conversion_id != conversion.conversion_id
        and report.converted_at < conversion.converted_at
    )
    return max(earlier, default=None)


def _moments(
    reports: Iterable[TimelineConversion],
    conversion: TimelineConversion,
    events: tuple[str, ...],
    lookback: int,
) -> Iterator[int]:
    """When conversions of these types happened, this one too, in the window of ``conversion``, edges included."""
    if conversion.type in events:
        yield conversion.converted_at
    for report in _first_reports(reports):
        if (
            report.type in events
            and report.conversion_id != conversion.conversion_id
            and 0 <= conversion.converted_at - report.converted_at <= lookback
        ):
            yield report.converted_at


def _first_reports(reports: Iterable[TimelineConversion]) -> Iterable[TimelineConversion]:
    """The earliest report of each conversion: an order told by a page and by a server happened once."""
    first: dict[str, TimelineConversion] = {}
    for report in sorted(reports):
        first.setdefault(report.conversion_id, report)
    return first.values()
