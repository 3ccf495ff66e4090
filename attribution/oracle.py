"""The oracle: what the stream must equal once every event has arrived (invariant I1).

One slow pass over all hits in order of time, written as plainly as the rules read, and apart from the
stream's code: it shares the enrichment of a hit, the models, the division of money and the names of things,
but neither the timeline, nor the cutting of sessions, nor the choice of a path, nor the ledger.

Hits that one visitor sends twice under one ``event_id`` count once: the copy that comes first in ``hits``, as
in the stream the copy that comes first in the log. When copies are identical the order of ``hits`` does not
matter. When they differ (the collector's clock correction can move a retry by some milliseconds), or when a
visitor has more hits than the policy keeps, the oracle must be given the hits in the order of the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from attribution.acquisition import DIRECT, Acquisition
from attribution.channel_rules import is_brand
from attribution.conversions import BookedValue, ConversionFact, conversion_fact
from attribution.enrich import Enriched, enrich
from attribution.hit import Hit
from attribution.ids import event_hash, hit_id, seal_click_id, visitor_hash
from attribution.learnt.tables import LearntTable
from attribution.missing import Missing
from attribution.models import model_named, weights_of
from attribution.money import share
from attribution.oracle_persons import Link, circles, links_of, named
from attribution.paths import Path
from attribution.policy import AttributionPolicy, SessionSwitch
from attribution.refund_hits import is_refund, refund_fact
from attribution.refunds import MAX_REFUNDS
from attribution.touchpoints import Session, Touchpoint

Visitor = tuple[str, str]
"""(site, visitor_id)."""


class World(NamedTuple):
    """Everything that must stand in the end."""

    hits: dict[tuple[str, str, str], Hit]
    """By (site, visitor_id, event_id): the accepted hits."""
    sessions: set[Session]
    touchpoints: set[Touchpoint]
    conversions: dict[str, ConversionFact]
    """By conversion id: the report that counts, of those that stand."""
    credits: dict[tuple[str, str, str], tuple[int, int]]
    """By (conversion id, model, touchpoint id, "" = unattributed): billionths and minor units, as of now."""
    missing: dict[tuple[str, str], Missing]
    """By (conversion id, model): why it is unattributed."""
    paths: dict[str, tuple[Touchpoint, ...]] = {}
    """By conversion id: the touchpoints that count, in order of (touched_at, touchpoint_id)."""
    links: dict[Link, bool] = {}
    """By (site, visitor_id, id): True if the visitor is linked with the id, False if he was."""
    booked: dict[tuple[str, int], dict[tuple[str, str], tuple[int, int]]] = {}
    """By (conversion id, instant) what was credited then, as ``credits``; of every instant at which that changed."""


class _Seen(NamedTuple):
    """A hit with its judgement, so that a list of them sorts by time and event hash."""

    at: int
    event: int
    hit: Hit
    enriched: Enriched
    acquisition: Acquisition | None


def oracle(
    hits: Iterable[Hit],
    policy: AttributionPolicy,
    default_currency: str,
    tables: Mapping[str, LearntTable] | None = None,
    told: Iterable[ConversionFact] = (),
) -> World:
    """The final state of the world after ``hits``. ``tables``: those of ``policy.learnt``, by version.

    ``told``: what senders of deals tell, no two of one conversion under the same revision.
    """
    accepted: dict[tuple[str, str, str], Hit] = {}
    by_visitor: dict[Visitor, list[_Seen]] = {}
    for hit in hits:
        enriched = enrich(hit, policy.arrival_rules)
        if enriched.agent.is_bot or (hit.site, hit.visitor_id, hit.event_id) in accepted:
            continue
        known = by_visitor.setdefault((hit.site, hit.visitor_id), [])
        if len(known) >= policy.max_hits_per_visitor:
            continue
        accepted[hit.site, hit.visitor_id, hit.event_id] = hit
        acquisition = seal_click_id(enriched.acquisition) if enriched.acquisition else None
        known.append(_Seen(hit.occurred_at, event_hash(hit.event_id), hit, enriched, acquisition))

    sessions: set[Session] = set()
    touchpoints: dict[Visitor, list[Touchpoint]] = {}
    for visitor, known in by_visitor.items():
        touchpoints[visitor] = []
        in_time = sorted(
            (seen for seen in known if seen.enriched.in_session), key=lambda seen: (seen.at, seen.event)
        )
        for members in _sessions_of(in_time, policy):
            sessions.add(_session(visitor, members))
            touchpoints[visitor].extend(_touchpoint(visitor, seen) for seen in _touches_of(members))
        touchpoints[visitor].extend(_touchpoint(visitor, seen) for seen in known if seen.enriched.is_view)

    facts = [
        fact
        for hit in accepted.values()
        if (fact := conversion_fact(hit, policy, default_currency)) is not None
    ]
    reported = _conversions(facts)
    paid_back = _refunds(accepted.values(), policy, default_currency)
    latest = _latest(told)
    conversions: dict[str, ConversionFact] = {}
    credits: dict[tuple[str, str, str], tuple[int, int]] = {}
    missing: dict[tuple[str, str], Missing] = {}
    paths: dict[str, tuple[Touchpoint, ...]] = {}
    booked: dict[tuple[str, int], dict[tuple[str, str], tuple[int, int]]] = {}
    links = links_of(accepted.values())
    circle_of = circles(by_visitor, links, policy.identity)
    for conversion_id in {**reported, **latest}:
        told_by_hit, told_by_sender = reported.get(conversion_id), latest.get(conversion_id)
        if told_by_hit is not None and (told_by_sender is None or not told_by_sender.bookings):
            winner = told_by_hit
            own = circle_of[winner.site, winner.visitor_id]
            worths = _worths(told_by_hit, paid_back.get(conversion_id, []))
            if len(worths) > 1:
                bookings = tuple(
                    BookedValue(at, "refund" if number else "conversion", value, 1)
                    for number, (at, value, _) in enumerate(worths)
                )
                winner = msgspec.structs.replace(winner, bookings=bookings)
        elif told_by_sender is not None:
            winner = _with_visitor(told_by_sender, told_by_hit)
            names = [told_by_sender.visitor_id, told_by_hit.visitor_id if told_by_hit else ""]
            own = named(winner.site, names, winner.ids, circle_of, links, policy.identity)
            worths = [(one.booked_at, one.value_minor, one.number) for one in winner.bookings]
        known_touches = [touch for visitor in own for touch in touchpoints.get(visitor, [])]
        reports = [report for report in facts if (report.site, report.visitor_id) in own]
        for at, value, number in worths:
            booked[conversion_id, at] = _credits(
                winner, value, number, known_touches, reports, policy, tables or {}
            )
        if not worths or worths[-1][2] == 0:
            continue
        conversions[conversion_id] = winner
        paths[conversion_id] = tuple(_counted(winner, known_touches, reports, policy))
        for (model, touchpoint_id), amounts in booked[conversion_id, worths[-1][0]].items():
            credits[conversion_id, model, touchpoint_id] = amounts
            if not touchpoint_id:
                missing[conversion_id, model] = _missing(winner, known_touches, reports, policy)
    return World(
        accepted,
        sessions,
        {touch for all_ in touchpoints.values() for touch in all_},
        conversions,
        credits,
        missing,
        paths,
        links,
        booked,
    )


def _latest(told: Iterable[ConversionFact]) -> dict[str, ConversionFact]:
    """By conversion what its senders told last."""
    latest: dict[str, ConversionFact] = {}
    for fact in told:
        if fact.conversion_id not in latest or fact.revision > latest[fact.conversion_id].revision:
            latest[fact.conversion_id] = fact
    return latest


def _refunds(
    hits: Iterable[Hit], policy: AttributionPolicy, default_currency: str
) -> dict[str, list[ConversionFact]]:
    """By conversion what hits pay back of it, in order of time; of one event id the earliest counts."""
    found: dict[str, dict[str, ConversionFact]] = {}
    for hit in hits:
        fact = refund_fact(hit, policy, default_currency) if is_refund(hit.event, policy) else None
        if isinstance(fact, ConversionFact):
            of_order = found.setdefault(fact.conversion_id, {})
            known = of_order.get(fact.event_id)
            if known is None or _refund_order(fact) < _refund_order(known):
                of_order[fact.event_id] = fact
    return {
        conversion_id: sorted(of_order.values(), key=_refund_order)[:MAX_REFUNDS]
        for conversion_id, of_order in found.items()
    }


def _refund_order(fact: ConversionFact) -> tuple[int, str, bool, int, str]:
    """By time, then by name; of two copies the one without a value, then the lower value."""
    return fact.occurred_at, fact.event_id, fact.value_minor is not None, fact.value_minor or 0, fact.currency


def _worths(order: ConversionFact, refunds: list[ConversionFact]) -> list[tuple[int, int, int]]:
    """(instant, value, 1): of the order, and of each refund that takes something; none takes more than there is."""
    worths = [(order.occurred_at, order.value_minor or 0, 1)]
    for refund in refunds:
        at, value, _ = worths[-1]
        if refund.value_minor is None:
            rest = 0
        elif refund.currency == order.currency:
            rest = max(0, value - refund.value_minor)
        else:
            rest = value
        if rest < value:
            worths.append((max(at, refund.occurred_at), rest, 1))
    return worths


def _with_visitor(deal: ConversionFact, report: ConversionFact | None) -> ConversionFact:
    """``deal`` with the visitor who reported it, if it names none."""
    if deal.visitor_id or report is None:
        return deal
    return msgspec.structs.replace(deal, visitor_id=report.visitor_id, has_consent=report.has_consent)


def _missing(
    fact: ConversionFact,
    touchpoints: list[Touchpoint],
    reports: list[ConversionFact],
    policy: AttributionPolicy,
) -> Missing:
    if not fact.has_consent:
        return Missing.no_consent
    if not any(touch.touched_at <= fact.occurred_at for touch in touchpoints):
        return Missing.no_person
    if _counted(fact, touchpoints, reports, policy):
        return Missing.no_touch_of_model
    return Missing.no_touch_in_window


def _sessions_of(in_time: list[_Seen], policy: AttributionPolicy) -> list[list[_Seen]]:
    sessions: list[list[_Seen]] = []
    for seen in in_time:
        if not sessions or _starts_session(sessions[-1], seen, policy):
            sessions.append([])
        sessions[-1].append(seen)
    return sessions


def _starts_session(session: list[_Seen], seen: _Seen, policy: AttributionPolicy) -> bool:
    if seen.at - session[-1].at > policy.session_gap_ms:
        return True
    if seen.at - session[0].at > policy.session_cap_ms:
        return True
    if seen.acquisition is None or policy.session_switch is SessionSwitch.nothing:
        return False
    if policy.session_switch is SessionSwitch.tagged_or_paid and not seen.acquisition.is_tagged_or_paid:
        return False
    return not _says_again(_last_acquisition(session), seen.acquisition)


def _says_again(last: Acquisition, acquisition: Acquisition) -> bool:
    """The same key; or, untagged, no more than the same referring host."""
    is_same_referrer = acquisition.referrer_host != "" and acquisition.referrer_host == last.referrer_host
    return acquisition.key == last.key or (is_same_referrer and not acquisition.is_tagged_or_paid)


def _last_acquisition(session: list[_Seen]) -> Acquisition:
    """The last news that any hit of the session brought; Direct when none did."""
    last: Acquisition | None = None
    for seen in session:
        if seen.acquisition is not None and (last is None or not _says_again(last, seen.acquisition)):
            last = seen.acquisition
    return last or DIRECT


def _session(visitor: Visitor, members: list[_Seen]) -> Session:
    site, visitor_id = visitor
    first, last = members[0], members[-1]
    acquisition = next((seen.acquisition for seen in members if seen.acquisition is not None), DIRECT)
    hour_of = [seen.at // 3_600_000 * 3600 for seen in members]
    hours = sorted(set(hour_of))
    return Session(
        session_id=hit_id(visitor_hash(site, visitor_id), first.event),
        visitor_id=visitor_id,
        site=site,
        started_at=first.at,
        ended_at=last.at,
        acquisition=acquisition,
        landing_page=first.enriched.path,
        referrer_host=acquisition.referrer_host,
        hits=len(members),
        page_views=sum(seen.enriched.is_page_view for seen in members),
        hours=tuple(hours),
        hour_hits=tuple(hour_of.count(hour) for hour in hours),
        hour_page_views=tuple(
            sum(seen.enriched.is_page_view for seen, its in zip(members, hour_of, strict=True) if its == hour)
            for hour in hours
        ),
        scene=first.enriched.scene,
    )


def _touches_of(members: list[_Seen]) -> list[_Seen]:
    """The hit that brought the acquisition (else the first), and later tagged ones with another key."""
    touches: list[_Seen] = []
    last: Acquisition | None = None
    for seen in members:
        if seen.acquisition is None or (last is not None and _says_again(last, seen.acquisition)):
            continue
        if last is None or seen.acquisition.is_tagged_or_paid:
            touches.append(seen)
        last = seen.acquisition
    return touches or [members[0]]


def _touchpoint(visitor: Visitor, seen: _Seen) -> Touchpoint:
    site, visitor_id = visitor
    return Touchpoint(
        touchpoint_id=hit_id(visitor_hash(site, visitor_id), seen.event),
        visitor_id=visitor_id,
        site=site,
        touched_at=seen.at,
        acquisition=seen.acquisition or DIRECT,
        landing_page=seen.enriched.path,
        is_view=seen.enriched.is_view,
        scene=seen.enriched.scene,
    )


def _conversions(all_facts: Iterable[ConversionFact]) -> dict[str, ConversionFact]:
    """The report that counts of each conversion: the earliest with a value, else the earliest."""
    reports: dict[str, list[ConversionFact]] = {}
    for fact in all_facts:
        reports.setdefault(fact.conversion_id, []).append(fact)
    winners = {}
    for conversion_id, facts in reports.items():
        valued = [fact for fact in facts if fact.value_minor is not None]
        winners[conversion_id] = min(
            valued or facts,
            key=lambda fact: (
                fact.occurred_at,
                fact.event_id,
                fact.visitor_id,
                fact.received_at,
                fact.value_minor or 0,
                fact.currency,
            ),
        )
    return winners


def _credits(
    fact: ConversionFact,
    value: int,
    number: int,
    touchpoints: list[Touchpoint],
    reports: list[ConversionFact],
    policy: AttributionPolicy,
    tables: Mapping[str, LearntTable],
) -> dict[tuple[str, str], tuple[int, int]]:
    """(model, touchpoint id) to billionths and minor units while it is worth ``value``; nothing that is zero.

    ``number``: 1 = it stands. ``reports``: all of the person's, or his companies'.
    """
    whole = number * 1_000_000_000
    counted = _counted(fact, touchpoints, reports, policy)
    if not counted:
        return {(model, ""): (whole, value) for model in policy.models if whole or value}
    leads = _stages(fact, reports, policy.lead_events, policy)
    deals = _stages(fact, reports, policy.opportunity_events, policy)
    path = Path(
        tuple(counted),
        fact.occurred_at,
        fact.type,
        fact.lead_at if fact.lead_at is not None else leads[0] if leads else None,
        fact.opportunity_at if fact.opportunity_at is not None else deals[-1] if deals else None,
    )
    credits = {}
    for model in policy.models:
        learnt = policy.learnt.get(model)
        weigh = model_named(model, policy) if learnt is None else weights_of(tables[learnt].division)
        weights = weigh(path, policy)
        if not any(weights):
            if whole or value:
                credits[model, ""] = (whole, value)
            continue
        shares = zip(counted, share(whole, weights), share(value, weights), strict=True)
        for touch, weight, amount in shares:
            if weight or amount:
                credits[model, touch.touchpoint_id] = (weight, amount)
    return credits


def _counted(
    fact: ConversionFact,
    touchpoints: list[Touchpoint],
    reports: list[ConversionFact],
    policy: AttributionPolicy,
) -> list[Touchpoint]:
    """The touchpoints that count, one rule after the other."""
    counted = sorted(touchpoints, key=lambda touch: (touch.touched_at, touch.touchpoint_id))
    counted = [touch for touch in counted if touch.touched_at <= fact.occurred_at]
    counted = [
        touch for touch in counted if fact.occurred_at - touch.touched_at <= _window(fact, touch, policy)
    ]
    if policy.views == "never":
        counted = [touch for touch in counted if not touch.is_view]
    if policy.since_last_conversion != "off":
        begun = [
            _happened_at(name, reports)
            for name, type_ in _told(reports)
            if name != fact.conversion_id
            and (policy.since_last_conversion == "any_type" or type_ == fact.type)
            and _happened_at(name, reports) < fact.occurred_at
        ]
        counted = [touch for touch in counted if all(touch.touched_at > at for at in begun)]
    counted = [touch for touch in counted if touch.acquisition.channel not in policy.excluded_channels]
    if policy.brand == "exclude":
        counted = [touch for touch in counted if not is_brand(touch.acquisition, policy.brand_words)]
    if policy.views == "unless_clicked":
        clicks = [touch.touched_at for touch in counted if touch.kind == "click"]
        counted = [
            touch for touch in counted if not touch.is_view or all(at < touch.touched_at for at in clicks)
        ]
    others = [touch for touch in counted if touch.acquisition.channel != "Direct"]
    if policy.direct == "never" or (policy.direct == "only_if_alone" and others):
        return others
    return counted


def _window(fact: ConversionFact, touch: Touchpoint, policy: AttributionPolicy) -> int:
    windows = policy.kind_lookbacks_ms.get(fact.type, {})
    if touch.kind in windows:
        return windows[touch.kind]
    whole = policy.conversion_lookbacks_ms[fact.type]
    return min(whole, policy.view_lookback_ms) if touch.is_view else whole


def _told(reports: list[ConversionFact]) -> set[tuple[str, str]]:
    """Conversion ids and types that the person's visitors told of."""
    return {(report.conversion_id, report.type) for report in reports}


def _happened_at(conversion_id: str, reports: list[ConversionFact]) -> int:
    """When a conversion happened as far as the person's own visitors tell: at their earliest report of it."""
    return min(report.occurred_at for report in reports if report.conversion_id == conversion_id)


def _stages(
    fact: ConversionFact, reports: list[ConversionFact], events: tuple[str, ...], policy: AttributionPolicy
) -> list[int]:
    """When conversions of these types happened in the window, earliest first; ``fact`` itself at its own instant."""
    earliest = fact.occurred_at - policy.conversion_lookbacks_ms[fact.type]
    found = [fact.occurred_at] if fact.type in events else []
    for name, type_ in _told(reports):
        if name == fact.conversion_id:
            continue
        at = _happened_at(name, reports)
        if type_ in events and earliest <= at <= fact.occurred_at:
            found.append(at)
    return sorted(found)
