"""What a journey is, in plain Python (docs/learnt-models.md): what the SQL must agree with.

Made of the oracle's world and of the rules of paths, one touch after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attribution.oracle import Visitor, World
from attribution.oracle_persons import circles
from attribution.past import Past, report_of
from attribution.paths import Why, build_path, explain_path
from attribution.policy import AttributionPolicy, SinceLast
from attribution.timeline import TimelineConversion
from attribution.touchpoints import TouchKind, Touchpoint

Journeys = Counter[tuple[str, tuple[str, ...]]]
"""How often, by (site, channels)."""
REACHED = (Why.in_window, Why.direct_not_alone, Why.view_before_click)
"""On the path, or they gave way to another touch of it."""


def converted(world: World, types: Iterable[str], from_: int, to: int) -> Journeys:
    """The paths of the conversions of these types in ``[from_, to)``."""
    found: Journeys = Counter()
    for conversion_id, fact in world.conversions.items():
        path = world.paths[conversion_id]
        if path and fact.type in types and from_ <= fact.occurred_at < to:
            found[fact.site, channels_of(path)] += 1
    return found


def lost(world: World, policy: AttributionPolicy, types: Iterable[str], from_: int, to: int) -> Journeys:
    """The journeys of ``lost_journeys`` whose last touch is in ``[from_, to)``."""
    found: Journeys = Counter()
    for ended_at, touches in lost_journeys(world, policy, types):
        if from_ <= ended_at < to:
            found[touches[0].site, channels_of(touches)] += 1
    return found


def lost_journeys(
    world: World, policy: AttributionPolicy, types: Iterable[str]
) -> list[tuple[int, tuple[Touchpoint, ...]]]:
    """When each journey that led to nothing ended, and its touches that count."""
    waited_for = max(types, key=lambda type_: (longest_window(policy, type_), type_))
    found = []
    for group in groups(world, policy):
        touches = [touch for touch in world.touchpoints if (touch.site, touch.visitor_id) in group]
        past = Past(
            touches,
            [report_of(fact) for fact in world.conversions.values() if (fact.site, fact.visitor_id) in group],
        )
        reached = {
            judged.touchpoint.touchpoint_id
            for conversion in past.conversions
            if conversion.type in types
            for judged in explain_path(past, conversion, policy)
            if judged.why in REACHED
        }
        left = [
            touch
            for touch in sorted(touches, key=lambda touch: (touch.touched_at, touch.touchpoint_id))
            if touch.touchpoint_id not in reached and may_count(touch, policy, waited_for)
        ]
        runs: list[list[Touchpoint]] = []
        for touch in left:
            if not runs or begins_another(runs[-1][-1], touch, past, policy, waited_for):
                runs.append([])
            runs[-1].append(touch)
        for run in runs:
            # As though somebody had converted at the last touch.
            ended_at = run[-1].touched_at
            path = build_path(
                Past(run, past.conversions), TimelineConversion(ended_at, "none", waited_for), policy
            )
            found.append((ended_at, path.touchpoints))
    return found


def begins_another(
    last: Touchpoint, touch: Touchpoint, past: Past, policy: AttributionPolicy, waited_for: str
) -> bool:
    """After a long pause; and where credit looks back to the last conversion only, behind one."""
    if touch.touched_at - last.touched_at > longest_window(policy, waited_for):
        return True
    since = policy.since_last_conversion
    return any(
        last.touched_at <= conversion.converted_at < touch.touched_at
        for conversion in past.conversions
        if since is SinceLast.any_type or (since is SinceLast.same_type and conversion.type == waited_for)
    )


def may_count(touch: Touchpoint, policy: AttributionPolicy, type_: str) -> bool:
    """For a conversion at its very instant."""
    conversion = TimelineConversion(touch.touched_at, "none", type_)
    return explain_path(Past([touch]), conversion, policy)[0].is_counted


def groups(world: World, policy: AttributionPolicy) -> list[set[Visitor]]:
    """The visitors whose touches and conversions belong together: persons; in the account view whoever is connected."""
    visitors = {(site, visitor_id) for site, visitor_id, _ in world.hits}
    found: list[set[Visitor]] = []
    for circle in circles(visitors, world.links, policy.identity).values():
        overlapping = [group for group in found if group & circle]
        found = [group for group in found if not group & circle]
        found.append(set(circle).union(*overlapping))
    return found


def longest_window(policy: AttributionPolicy, type_: str) -> int:
    return max(policy.lookback_ms(type_, kind) for kind in TouchKind)


def channels_of(touches: Iterable[Touchpoint]) -> tuple[str, ...]:
    return tuple(touch.acquisition.channel for touch in touches)
