"""Why a conversion is credited as it is: each touchpoint considered, in or out, and every correction
since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error

from api.bookings import Booked, BookingExplained, balance_of, bookings_of
from api.instants import instant_text as _instant
from api.numbers import money_text, plain_number
from api.person import PersonExplained, find_person
from api.queries import load_sql
from attribution.acquisition import Acquisition
from attribution.conversions import conversion_id_of
from attribution.errors import Rejected
from attribution.hit import Hit
from attribution.past import Past
from attribution.paths import explain_path
from attribution.policy import DAY_MS, AttributionPolicy, SinceLast
from attribution.timeline import TimelineConversion
from attribution.touchpoints import TouchKind, Touchpoint
from sinks.engine_errors import explain_error
from sinks.names import qualify

_policy_from = msgspec.json.Decoder(AttributionPolicy).decode
_MAX_NAMED = 10


class Share(msgspec.Struct, frozen=True):
    """What stands credited under one model."""

    weight: Decimal
    amount: str


class ConversionFacts(msgspec.Struct, frozen=True):
    """The conversion itself. Instants are ISO 8601, UTC."""

    conversion_id: str
    site: str
    type: str
    order_id: str
    visitor_id: str
    event_id: str
    converted_at: str
    value: str
    currency: str
    status: str
    """``stands`` or ``withdrawn`` (then these are the last facts before)."""
    lookback_days: float | None
    """How old a touchpoint may be; ``None`` if the policy no longer calls this type a conversion."""
    policy_version: str
    """Of the policy that its credit stands under, by which touchpoints are judged here."""


class TouchpointExplained(msgspec.Struct, frozen=True):
    """One touchpoint of the person and the judgement on it."""

    touchpoint_id: str
    visitor_id: str
    """Which of the person's visitors."""
    touched_at: str
    channel: str
    source: str
    medium: str
    campaign: str
    term: str
    content: str
    ad_network: str
    landing_page: str
    decision: str
    """``in`` or ``out``."""
    reason: str
    """One of ``attribution.paths.Why`` (``in_window``, ``before_window``, …); ``withdrawn`` for one that still
    has credit although it is gone: the correction is on its way."""
    credits: dict[str, Share]
    """By model; a model that gives it nothing is absent."""


class EntryExplained(msgspec.Struct, frozen=True):
    """One signed row of the ledger."""

    model: str
    touchpoint_id: str
    channel: str
    weight: Decimal
    amount: str
    conversion_value: str
    currency: str
    booked_at: str
    """When it counts in cash."""


class Move(msgspec.Struct, frozen=True):
    """What a channel had under a model before a correction, and after it."""

    model: str
    channel: str
    currency: str
    before: str
    after: str
    weight_before: Decimal
    weight_after: Decimal


class Correction(msgspec.Struct, frozen=True):
    """The entries written at once, first the credit itself, then every change since."""

    recorded_at: str
    cause: str
    policy_version: str
    moves: list[Move]
    """Per model and channel, those that it changed only."""
    entries: list[EntryExplained]


class Explanation(msgspec.Struct, frozen=True):
    """Everything about one conversion."""

    conversion: ConversionFacts
    person: PersonExplained
    touchpoints: list[TouchpointExplained]
    """In time order."""
    unattributed: dict[str, Share]
    """By model: what no touchpoint is credited with."""
    balanced: dict[str, bool]
    """By model: whether all credit equals the value, to the last unit. Never false at rest."""
    corrections: list[Correction]
    bookings: list[BookingExplained] = []
    """In order of time; of a conversion that no sender of deals told there is one."""


class _Entry(msgspec.Struct, frozen=True):
    recorded_at: int
    cause: str
    policy_version: str
    model: str
    touchpoint_id: str
    touched_at: int
    acquisition: Acquisition
    landing_page: str
    weight: Decimal
    amount: Decimal
    conversion_value: Decimal
    currency: str
    booked_at: int


class _Conversion(msgspec.Struct, frozen=True):
    """One version of the facts, without its sign."""

    site: str
    conversion_id: str
    type: str
    order_id: str
    visitor_id: str
    event_id: str
    converted_at: int
    value: Decimal
    currency: str


def explain(
    client: Client, database: str, policy: AttributionPolicy, reference: str, settings: dict[str, Any]
) -> Explanation:
    """The explanation of the conversion with id (else order id) ``reference``.

    Raises ``Rejected`` with reason ``not_found`` or ``ambiguous``, ``Transient`` or ``Misconfigured``.
    """

    def ask(name: str, table: str, column: str = "", **parameters: Any) -> Sequence[Sequence[Any]]:
        places = {"column": column} if column else {}
        sql = load_sql(name, **{table: qualify(database, table)}, **places)
        rows: Sequence[Sequence[Any]] = client.query(
            sql, parameters=parameters, settings=settings
        ).result_rows
        return rows

    try:
        facts, stands, ids = _standing(
            ask("explain_conversion", "conversions", reference=reference), reference
        )
        booked = ask("explain_credits", "credits", site=facts.site, conversion_id=facts.conversion_id)
        # Who is one person is judged by the rules of today, in the stream too; what counts by those of the credit.
        person = find_person(
            facts.site,
            facts.visitor_id,
            ids,
            policy.identity,
            lambda column, names: ask(
                "explain_links", "identity_links", column, site=facts.site, names=names
            ),
        )
        version = booked[-1][2] if booked else policy.version
        kept = ask("explain_policy", "policies", version=version) if version != policy.version else ()
        if kept:
            policy = _policy_from(kept[0][0])
        found = ask("explain_touchpoints", "touchpoints", site=facts.site, visitors=person.all_ids)
        reports = _reports(ask, facts, person.all_ids, policy)
    except Error as error:
        raise explain_error(error) from error
    entries = [_entry(row) for row in booked]
    said = [
        Booked(
            one.model, one.booked_at, one.cause, one.currency, one.conversion_value, one.amount, one.weight
        )
        for one in entries
    ]
    touches = [
        Touchpoint(
            row[0],
            row[10],
            facts.site,
            row[1],
            _acquisition(row[2:9], is_click=row[11] == TouchKind.click),
            row[9],
            row[11] == TouchKind.view,
        )
        for row in found
    ]
    past = Past(touches, reports)
    net = _net(entries, facts.currency)
    return Explanation(
        conversion=_facts(facts, stands, policy, version),
        person=person,
        touchpoints=_explained(past, entries, net, facts, policy),
        unattributed=_shares(net, "", facts.currency),
        balanced=balance_of(said, facts.value if stands else Decimal(0), facts.currency, stands=stands),
        corrections=_corrections(entries),
        bookings=bookings_of(said),
    )


def _standing(rows: Sequence[Sequence[Any]], reference: str) -> tuple[_Conversion, bool, Sequence[str]]:
    """The facts that stand, or the last ones that did, and the ids named last; an id goes before an order id."""
    by_id = [row for row in rows if row[1] == reference] or list(rows)
    if not by_id:
        raise Rejected(
            "not_found",
            "There is no conversion with this id or order id. It may be on its way: conversions show within seconds.",
            "conversion_id",
        )
    ids = sorted({row[1] for row in by_id})
    if len(ids) > 1:
        some = ", ".join(ids[:_MAX_NAMED]) + (", …" if len(ids) > _MAX_NAMED else "")
        raise Rejected(
            "ambiguous", f"{len(ids)} conversions have this order id; ask for one of {some}.", "order_id"
        )
    signs: Counter[_Conversion] = Counter()
    for row in by_id:
        version = _Conversion(*row[:9])
        signs[version] += row[9]
    standing = [version for version, sign in signs.items() if sign > 0]
    return (standing or list(signs))[-1], bool(standing), by_id[-1][12]


def _reports(
    ask: Callable[..., Sequence[Sequence[Any]]],
    facts: _Conversion,
    visitors: Sequence[str],
    policy: AttributionPolicy,
) -> list[TimelineConversion]:
    """What the person's hits up to the conversion reported as conversions, as the stream has it in their timelines:
    reports that another report of the same order won over, too. Read only under a policy that looks at them.
    """
    if policy.since_last_conversion is SinceLast.off:
        return []
    hits = ask(
        "explain_reports",
        "hits",
        site=facts.site,
        visitors=visitors,
        types=list(policy.conversion_lookbacks_ms),
        until=facts.converted_at,
    )
    reports = [
        TimelineConversion(
            at,
            conversion_id_of(
                Hit(
                    event_id=event_id,
                    site=facts.site,
                    visitor_id=visitor_id,
                    occurred_at=at,
                    received_at=at,
                    event=event,
                    order_id=order_id,
                )
            ),
            event,
        )
        for at, event, order_id, visitor_id, event_id in hits
    ]
    # An event that became a conversion by a later policy was none when the stream read it.
    ids = sorted({report.conversion_id for report in reports})
    known = {row[0] for row in ask("explain_known", "conversions", site=facts.site, ids=ids)} if ids else ()
    return [report for report in reports if report.conversion_id in known]


def _acquisition(values: Sequence[str], *, is_click: bool = False) -> Acquisition:
    """As far as rows tell: a click is one whatever proved it."""
    channel, source, medium, campaign, term, content, ad_network = values
    return Acquisition(
        channel, source, medium, campaign, term, content, ad_network, is_tagged_or_paid=is_click
    )


def _entry(row: Sequence[Any]) -> _Entry:
    recorded_at, cause, policy_version, model, touchpoint_id, touched_at = row[:6]
    landing_page, weight, amount, conversion_value, currency, booked_at = row[13:]
    return _Entry(
        recorded_at,
        cause,
        policy_version,
        model,
        touchpoint_id,
        touched_at,
        _acquisition(row[6:13]),
        landing_page,
        weight,
        amount,
        conversion_value,
        currency,
        booked_at,
    )


def _net(entries: Iterable[_Entry], currency: str) -> dict[str, dict[str, tuple[Decimal, Decimal]]]:
    """Model to touchpoint to (weight, amount) that stand, in the conversion's currency."""
    sums: dict[str, dict[str, tuple[Decimal, Decimal]]] = {}
    for entry in entries:
        if entry.currency == currency:
            parts = sums.setdefault(entry.model, {})
            weight, amount = parts.get(entry.touchpoint_id, (Decimal(0), Decimal(0)))
            parts[entry.touchpoint_id] = (weight + entry.weight, amount + entry.amount)
    return {
        model: {touch: part for touch, part in parts.items() if any(part)} for model, parts in sums.items()
    }


def _shares(
    net: dict[str, dict[str, tuple[Decimal, Decimal]]], touchpoint_id: str, currency: str
) -> dict[str, Share]:
    return {
        model: Share(plain_number(parts[touchpoint_id][0]), money_text(parts[touchpoint_id][1], currency))
        for model, parts in net.items()
        if touchpoint_id in parts
    }


def _explained(
    past: Past,
    entries: Iterable[_Entry],
    net: dict[str, dict[str, tuple[Decimal, Decimal]]],
    facts: _Conversion,
    policy: AttributionPolicy,
) -> list[TouchpointExplained]:
    converted = TimelineConversion(facts.converted_at, facts.conversion_id, facts.type)
    judged = [
        _touchpoint_explained(
            considered.touchpoint,
            considered.is_counted,
            str(considered.why),
            _shares(net, considered.touchpoint.touchpoint_id, facts.currency),
        )
        for considered in explain_path(past, converted, policy)
    ]
    standing = {touch.touchpoint_id for touch in past.touchpoints}
    credited = {touch for parts in net.values() for touch in parts if touch}
    gone = {
        entry.touchpoint_id: Touchpoint(
            entry.touchpoint_id,
            facts.visitor_id,
            facts.site,
            entry.touched_at,
            entry.acquisition,
            entry.landing_page,
        )
        for entry in entries
        if entry.touchpoint_id in credited - standing
    }
    judged += [
        _touchpoint_explained(touch, False, "withdrawn", _shares(net, touch.touchpoint_id, facts.currency))
        for touch in gone.values()
    ]
    return sorted(judged, key=lambda touch: (touch.touched_at, touch.touchpoint_id))


def _touchpoint_explained(
    touch: Touchpoint, is_counted: bool, reason: str, credits: dict[str, Share]
) -> TouchpointExplained:
    way = touch.acquisition
    return TouchpointExplained(
        touchpoint_id=touch.touchpoint_id,
        visitor_id=touch.visitor_id,
        touched_at=_instant(touch.touched_at),
        channel=way.channel,
        source=way.source,
        medium=way.medium,
        campaign=way.campaign,
        term=way.term,
        content=way.content,
        ad_network=way.ad_network,
        landing_page=touch.landing_page,
        decision="in" if is_counted else "out",
        reason=reason,
        credits=credits,
    )


def _corrections(entries: Sequence[_Entry]) -> list[Correction]:
    grouped: dict[tuple[int, str, str], list[EntryExplained]] = {}
    for entry in entries:
        grouped.setdefault((entry.recorded_at, entry.cause, entry.policy_version), []).append(
            EntryExplained(
                model=entry.model,
                touchpoint_id=entry.touchpoint_id,
                channel=entry.acquisition.channel,
                weight=plain_number(entry.weight),
                amount=money_text(entry.amount, entry.currency),
                conversion_value=money_text(entry.conversion_value, entry.currency),
                currency=entry.currency,
                booked_at=_instant(entry.booked_at),
            )
        )
    moves = _moves(entries)
    return [
        Correction(_instant(at), cause, version, moves[at, cause, version], rows)
        for (at, cause, version), rows in grouped.items()
    ]


def _moves(entries: Iterable[_Entry]) -> dict[tuple[int, str, str], list[Move]]:
    """By correction: what it moved, from the sums of everything before it."""
    changed: dict[tuple[int, str, str], dict[tuple[str, str, str], tuple[Decimal, Decimal]]] = {}
    nothing = (Decimal(0), Decimal(0))
    for entry in entries:
        sums = changed.setdefault((entry.recorded_at, entry.cause, entry.policy_version), {})
        place = (entry.model, entry.acquisition.channel, entry.currency)
        weight, amount = sums.get(place, nothing)
        sums[place] = (weight + entry.weight, amount + entry.amount)
    stands: dict[tuple[str, str, str], tuple[Decimal, Decimal]] = {}
    moves = {}
    for correction, sums in changed.items():
        moves[correction] = [
            Move(
                model,
                channel,
                currency,
                money_text(had[1], currency),
                money_text(had[1] + amount, currency),
                plain_number(had[0]),
                plain_number(had[0] + weight),
            )
            for (model, channel, currency), (weight, amount) in sums.items()
            if weight or amount
            for had in [stands.get((model, channel, currency), nothing)]
        ]
        for place, (weight, amount) in sums.items():
            had = stands.get(place, nothing)
            stands[place] = (had[0] + weight, had[1] + amount)
    return moves


def _facts(facts: _Conversion, stands: bool, policy: AttributionPolicy, version: str) -> ConversionFacts:
    lookback = policy.conversion_lookbacks_ms.get(facts.type)
    return ConversionFacts(
        conversion_id=facts.conversion_id,
        site=facts.site,
        type=facts.type,
        order_id=facts.order_id,
        visitor_id=facts.visitor_id,
        event_id=facts.event_id,
        converted_at=_instant(facts.converted_at),
        value=money_text(facts.value, facts.currency),
        currency=facts.currency,
        status="stands" if stands else "withdrawn",
        lookback_days=None if lookback is None else lookback / DAY_MS,
        policy_version=version,
    )
