"""Told conversions: what the books say of each conversion, as the fact that credit gets.

The bookings of a conversion are added up to what it was worth at every instant, in the one currency in which it stands;
whom it is about and when its key moments were follow from the objects that tell it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from attribution.conversions import BookedValue, ConversionFact, conversion_id_of_order
from attribution.deals.bookings import Booking
from attribution.deals.facts import ObjectKey, ObjectState, ObjectType
from attribution.deals.families import business_id
from attribution.deals.identities import related_to, who_of
from attribution.deals.life import Books, Moment, books_of
from attribution.deals.rules import DealRules
from attribution.deals.stages import Stage
from attribution.identity import ACCOUNT

_REDUCING = (ObjectType.refund, ObjectType.dispute)
_LEAD_STAGES = (Stage.lead, Stage.mql, Stage.sql)


class Told(NamedTuple):
    """One conversion as its senders tell it."""

    fact: ConversionFact
    """``revision`` and ``received_at`` are 0: they are its teller's."""
    clicks: tuple[tuple[str, str], ...]
    """(click parameter, value) of whom it is about."""


def told_of(
    states: Mapping[ObjectKey, ObjectState], others: Mapping[ObjectKey, ObjectState], rules: DealRules
) -> tuple[dict[str, Told], Books]:
    """By conversion id what ``states`` (whole families) tell, and their books.

    ``others``: the contacts that they name and what those name (``identities.pointers_of``); they tell nothing here.
    """
    books = books_of(states, rules)
    by_name: dict[tuple[str, str, str], list[Booking]] = {}
    for booking in books.bookings:
        by_name.setdefault((booking.site, booking.conversion_type, booking.order_id), []).append(booking)
    everything = {**others, **states}
    moments: dict[ObjectKey, list[Moment]] = {}
    for moment in (*books.moments, *books_of(others, rules).moments):
        moments.setdefault(moment.object, []).append(moment)
    tellers: dict[tuple[str, str], list[ObjectKey]] = {}
    children: dict[ObjectKey, list[ObjectKey]] = {}
    for key, state in everything.items():
        if key.type in _REDUCING:
            continue
        tellers.setdefault((key.site, business_id(state)), []).append(key)
        kind, _, parent = str(state.get("parent") or "").partition(":")
        if kind in ObjectType.__members__:
            children.setdefault(key._replace(type=ObjectType(kind), id=parent), []).append(key)
    found = {}
    for (site, type_, order_id), bookings in by_name.items():
        roots = {one.object for one in bookings if one.object.type not in _REDUCING}
        roots.update(key for key in tellers.get((site, order_id), ()) if key in states)
        roots.update(child for root in sorted(roots) for child in children.get(root, ()))
        told = _told(site, type_, order_id, bookings, sorted(roots), everything, moments)
        found[told.fact.conversion_id] = told
    return found, books


def _told(
    site: str,
    type_: str,
    order_id: str,
    bookings: list[Booking],
    roots: list[ObjectKey],
    states: Mapping[ObjectKey, ObjectState],
    moments: Mapping[ObjectKey, Sequence[Moment]],
) -> Told:
    currency, values = values_of(bookings)
    who = [who_of(states, root) for root in roots]
    ids = sorted({id_ for one in who for id_ in one.ids if not id_.startswith(ACCOUNT)})
    visitors = sorted({visitor for one in who for visitor in one.visitors})
    about = {key for root in roots for key in related_to(states, root)}
    steps = [moment for key in about for moment in moments.get(key, ())]
    teller = min(bookings, key=_in_order).object
    fact = ConversionFact(
        conversion_id=conversion_id_of_order(site, type_, order_id),
        site=site,
        type=type_,
        order_id=order_id,
        visitor_id=visitors[0] if visitors else "",
        event_id=f"{teller.source}:{teller.type}:{teller.id}",
        occurred_at=values[0].booked_at,
        received_at=0,
        value_minor=values[-1].value_minor,
        currency=currency,
        bookings=values,
        ids=tuple(ids),
        lead_at=min((step.at_ms for step in steps if step.stage in _LEAD_STAGES), default=None),
        opportunity_at=min((step.at_ms for step in steps if step.stage is Stage.opportunity), default=None),
    )
    return Told(fact, tuple(sorted({click for one in who for click in one.clicks})))


def values_of(bookings: Iterable[Booking]) -> tuple[str, tuple[BookedValue, ...]]:
    """The currency in which a conversion stands, and what it was worth in it, from each change to the next.

    While it stood in another currency it is worth 0 in this one: one conversion has one currency, and the books of
    before are restated when its sender corrects it.
    """
    ordered = sorted(bookings, key=_in_order)
    standing: dict[str, int] = {}
    for booking in ordered:
        standing[booking.currency] = standing.get(booking.currency, 0) + booking.count
    currency = next((code for code, number in standing.items() if number), ordered[-1].currency)
    values: list[BookedValue] = []
    value = number = 0
    for booking in ordered:
        number += booking.count
        if booking.currency == currency:
            value += booking.value_minor
        new = BookedValue(booking.occurred_at, str(booking.cause), value, number)
        if values and (values[-1].booked_at, values[-1].cause) == (new.booked_at, new.cause):
            values.pop()
        before = (values[-1].value_minor, values[-1].number) if values else (0, 0)
        if (value, number) != before:
            values.append(new)
    return currency, tuple(values)


def _in_order(booking: Booking) -> tuple[int, bool, str]:
    """By time; of one instant what tells the conversion first, then what reduces it."""
    return (booking.occurred_at, booking.object.type in _REDUCING, "/".join(booking.object))
