"""Conversions: which hit reports one, its id, and which of several reports of it counts.

A conversion is reported by hits, and told by senders of deals (a CRM, a shop, a payment service). A hit says what was
bought once, or paid back once; a sender's fact says what the conversion was worth at every instant (``BookedValue``).
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from attribution.consent import denies_analytics
from attribution.hit import Hit
from attribution.money import currency_of, parse_amount
from attribution.policy import AttributionPolicy
from attribution.refunds import REFUND, Refund, RefundProblem, left_after, problems_with, united

_encode = msgspec.json.Encoder().encode


CONVERSION = "conversion"
"""The cause by which a conversion begins to be worth something."""


class BookedValue(msgspec.Struct, frozen=True, array_like=True):
    """What a conversion is worth from an instant on, until the next one."""

    booked_at: int
    """Epoch milliseconds, UTC: of the event in the sender's world."""
    cause: str
    """Why it is worth something else than before: ``conversion``, ``refund``, ``lost``, ..."""
    value_minor: int
    """Minor units of the fact's currency."""
    number: int
    """1 while the conversion stands, 0 while it does not (a deal that was lost)."""


class ConversionFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One report of a conversion: what a single hit says, or all that a sender of deals has told of it.

    Instants are epoch milliseconds, UTC. Raises ``ValueError`` for bookings out of order.
    """

    conversion_id: str
    site: str
    type: str
    order_id: str
    visitor_id: str
    event_id: str
    occurred_at: int
    received_at: int
    value_minor: int | None
    """Minor units of ``currency``; ``None`` = the hit names no value."""
    currency: str
    """ISO 4217; the installation's default when the hit names no value or no currency."""
    has_consent: bool = True
    """False when the hit came with a refusal of analytics; then a conversion without credit says so."""
    bookings: tuple[BookedValue, ...] = ()
    """Of a sender: what it was worth when, in order of time. None = it never stood, as far as is known now."""
    revision: int = 0
    """Of a sender: counts what it told of this conversion, from 1; the greatest counts. 0 = a hit reports it."""
    ids: tuple[str, ...] = ()
    """Of a sender: whom it is about, as ``attribution.identity`` writes ids (``email:...``, ``crm:...``)."""
    lead_at: int | None = None
    """Of a sender: when the person became a lead; wins over what the person's hits say of it."""
    opportunity_at: int | None = None
    """Of a sender: when the deal was opened; wins likewise."""
    is_refund: bool = False
    """It reports no conversion but a refund of one: ``value_minor`` is paid back, ``None`` = all that is left."""

    def __post_init__(self) -> None:
        """See that bookings are in order."""
        before = None
        for one in self.bookings:
            if before is not None and one.booked_at < before:
                raise ValueError("bookings must be in order of time")
            if one.number not in (0, 1):
                raise ValueError("a conversion stands once or not at all")
            before = one.booked_at

    @property
    def is_told(self) -> bool:
        """Its bookings say what it was worth when: a sender told it, or refunds took of it. Else a hit reports it."""
        return self.revision > 0 or bool(self.bookings) or self.is_refund

    @property
    def worths(self) -> tuple[BookedValue, ...]:
        """What it was worth when: its bookings, or the one that the report of a hit amounts to."""
        if self.is_told:
            return self.bookings
        return (BookedValue(self.occurred_at, CONVERSION, self.value_minor or 0, 1),)

    @property
    def net_minor(self) -> int:
        """What it is worth now, minor units of ``currency``; 0 when no value is named."""
        if self.is_told:
            return self.bookings[-1].value_minor if self.bookings else 0
        return self.value_minor or 0

    @property
    def number(self) -> int:
        """1 = it stands now; 0 = it does not (any more)."""
        if self.is_told:
            return self.bookings[-1].number if self.bookings else 0
        return 1

    def _rank(self) -> tuple[bool, int, str, str, int, int, str, bool]:
        """Of reports of hits the lowest wins: with a value, earliest, then by name. Total, so that any order of merging
        agrees.
        """
        value = self.value_minor
        return (
            value is None,
            self.occurred_at,
            self.event_id,
            self.visitor_id,
            self.received_at,
            value or 0,
            self.currency,
            self.has_consent,
        )

    def precedes(self, other: ConversionFact) -> bool:
        """Whether this one counts rather than ``other``, which came the same way: by a hit, or by a sender."""
        if self.revision != other.revision:
            return self.revision > other.revision
        mine, others = self._rank(), other._rank()
        # Two that a sender told under one revision are the same fact; if not, one of them counts whatever came first.
        return mine < others or (mine == others and self.is_told and _encode(self) < _encode(other))


class Conversion(msgspec.Struct, frozen=True, omit_defaults=True):
    """A conversion as its reports agree on it so far.

    Only the best report of hits and the best fact of senders are kept: a later merge can never bring back one that has
    lost. Refunds are kept all, as they add up. The first fact makes one by ``of``.
    """

    winner: ConversionFact
    """What a sender told if it has bookings; else, of the reports of hits, the earliest (``occurred_at``, ``event_id``)
    with a value, else the earliest; else what a sender told; else, while refunds wait for their order, the first."""
    other: ConversionFact | None = None
    """The best that came the other way, if any did."""
    refunds: tuple[Refund, ...] = ()
    """What hits report as paid back, in order of rank."""

    @classmethod
    def of(cls, fact: ConversionFact) -> Conversion:
        """The conversion of which ``fact`` is all that is known."""
        return cls(fact, None, (_refund_in(fact),)) if fact.is_refund else cls(fact)

    def merge(self, fact: ConversionFact) -> Conversion:
        """This conversion after one more report. Idempotent; the order of reports does not matter.

        Raises ``ValueError`` when ``fact`` reports another conversion.
        """
        winner, other = self.winner, self.other
        if fact.conversion_id != winner.conversion_id:
            raise ValueError(f"fact of {fact.conversion_id} merged into {winner.conversion_id}")
        if fact.is_refund:
            is_least = winner.is_refund and fact.precedes(winner)
            return Conversion(fact if is_least else winner, other, united(self.refunds, (_refund_in(fact),)))
        if winner.is_refund:
            return Conversion(fact, None, self.refunds)
        if fact.is_told == winner.is_told:
            if not fact.precedes(winner):
                return self
            winner = fact
        elif other is None or fact.precedes(other):
            other = fact
        else:
            return self
        if other is not None:
            winner, other = _ranked(winner, other)
        return Conversion(winner, other, self.refunds)

    @property
    def conversion_id(self) -> str:
        """32 hex digits."""
        return self.winner.conversion_id

    @property
    def value_minor(self) -> int:
        """What it is worth now, minor units of ``winner.currency``; 0 when no report names a value."""
        return self.credited.net_minor

    @property
    def credited(self) -> ConversionFact:
        """The report that counts, as it is credited.

        A sender that names no visitor is lent that of a hit's report. A hit's report has the bookings of its refunds,
        if they take anything; a sender's has not: whoever tells the order tells what was paid back, too.
        """
        winner, other = self.winner, self.other
        if self.refunds and not winner.is_told:
            return _with_refunds(winner, self.refunds)
        if other is None or winner.visitor_id or not other.visitor_id:
            return winner
        return msgspec.structs.replace(winner, visitor_id=other.visitor_id, has_consent=other.has_consent)

    @property
    def visitor_ids(self) -> tuple[str, ...]:
        """The visitors that reports name, whose pasts it is credited with; of a sender's fact more have its ``ids``."""
        winner, other = self.winner, self.other
        if winner.is_refund:
            return ()
        if other is None or not winner.is_told:
            return (winner.visitor_id,) if winner.visitor_id else ()
        return tuple(dict.fromkeys(name for name in (winner.visitor_id, other.visitor_id) if name))

    @property
    def refund_problems(self) -> frozenset[RefundProblem]:
        """Why some of its refunds do not count, or not whole."""
        winner = self.winner
        if not self.refunds:
            return frozenset()
        if winner.is_refund:
            return frozenset((RefundProblem.without_order,))
        if winner.is_told:
            return frozenset((RefundProblem.told_by_sender,))
        return problems_with(winner.value_minor or 0, winner.currency, self.refunds)


def _ranked(one: ConversionFact, other: ConversionFact) -> tuple[ConversionFact, ConversionFact]:
    """A sender's fact and a hit's report in the order in which they count."""
    told, hit = (one, other) if one.is_told else (other, one)
    return (told, hit) if told.bookings else (hit, told)


def _refund_in(fact: ConversionFact) -> Refund:
    return Refund(fact.event_id, fact.occurred_at, fact.value_minor, fact.currency)


def _with_refunds(report: ConversionFact, refunds: tuple[Refund, ...]) -> ConversionFact:
    """A hit's ``report`` with what ``refunds`` take as bookings; as it is when they take nothing."""
    left = left_after(report.value_minor or 0, report.currency, report.occurred_at, refunds)
    if not left:
        return report
    bookings = (*report.worths, *(BookedValue(at, REFUND, value, 1) for at, value in left))
    return msgspec.structs.replace(report, bookings=bookings)


def conversion_id_of(hit: Hit) -> str:
    """32 hex digits: of (site, event, order id) if the hit has an order id, else (site, visitor, event id).

    So an order reported by a browser and by the shop's server, whatever their visitor ids, is one conversion.
    """
    if hit.order_id:
        return conversion_id_of_order(hit.site, hit.event, hit.order_id)
    return _digest(["event", hit.site, hit.visitor_id, hit.event_id])


def conversion_id_of_order(site: str, type_: str, order_id: str) -> str:
    """32 hex digits: of an order, whoever tells it, a page or a sender of deals."""
    return _digest(["order", site, type_, order_id])


def _digest(name: list[str]) -> str:
    return blake2b(_encode(name), digest_size=16).hexdigest()


def conversion_fact(hit: Hit, policy: AttributionPolicy, default_currency: str) -> ConversionFact | None:
    """What ``hit`` reports as a conversion, ``None`` when the policy does not call its event one. Of a type that brings
    no money it names no value.

    Raises ``Rejected`` when ``hit.value`` is no amount of its currency.
    """
    if hit.event not in policy.conversion_lookbacks_ms:
        return None
    currency, value_minor = default_currency, None
    if hit.value is not None and hit.event not in policy.valueless:
        currency = currency_of(hit.currency or default_currency).code
        value_minor = parse_amount(hit.value, currency)
    return ConversionFact(
        conversion_id=conversion_id_of(hit),
        site=hit.site,
        type=hit.event,
        order_id=hit.order_id,
        visitor_id=hit.visitor_id,
        event_id=hit.event_id,
        occurred_at=hit.occurred_at,
        received_at=hit.received_at,
        value_minor=value_minor,
        currency=currency,
        has_consent=not denies_analytics(hit.consent, gpc=hit.gpc, dnt=hit.dnt),
    )
