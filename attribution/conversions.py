"""Conversions: which hit reports one, its id, and which of several reports of it counts."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from attribution.consent import denies_analytics
from attribution.hit import Hit
from attribution.money import currency_of, parse_amount
from attribution.policy import AttributionPolicy

_encode = msgspec.json.Encoder().encode


class ConversionFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One report of a conversion: what a single hit says. Instants are epoch milliseconds, UTC."""

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

    def _rank(self) -> tuple[bool, int, str, str, int, int, str, bool]:
        """Lowest wins: with a value, earliest, then by name. Total, so that any order of merging agrees."""
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


class Conversion(msgspec.Struct, frozen=True):
    """A conversion as its reports agree on it so far.

    Only the report that counts is kept: a later merge can never bring back one that has lost.
    """

    winner: ConversionFact
    """The earliest (``occurred_at``, ``event_id``) with a value, else the earliest."""

    def merge(self, fact: ConversionFact) -> Conversion:
        """This conversion after one more report. Idempotent; the order of reports does not matter.

        Raises ``ValueError`` when ``fact`` reports another conversion.
        """
        if fact.conversion_id != self.winner.conversion_id:
            raise ValueError(f"fact of {fact.conversion_id} merged into {self.winner.conversion_id}")
        return Conversion(fact) if fact._rank() < self.winner._rank() else self

    @property
    def conversion_id(self) -> str:
        """32 hex digits."""
        return self.winner.conversion_id

    @property
    def value_minor(self) -> int:
        """Minor units of ``winner.currency``; 0 when no report names a value."""
        return self.winner.value_minor or 0


def conversion_id_of(hit: Hit) -> str:
    """32 hex digits: of (site, event, order id) if the hit has an order id, else (site, visitor, event id).

    So an order reported by a browser and by the shop's server, whatever their visitor ids, is one conversion.
    """
    if hit.order_id:
        name = ["order", hit.site, hit.event, hit.order_id]
    else:
        name = ["event", hit.site, hit.visitor_id, hit.event_id]
    return blake2b(_encode(name), digest_size=16).hexdigest()


def conversion_fact(hit: Hit, policy: AttributionPolicy, default_currency: str) -> ConversionFact | None:
    """What ``hit`` reports as a conversion, ``None`` when the policy does not call its event one.

    Raises ``Rejected`` when ``hit.value`` is no amount of its currency.
    """
    if hit.event not in policy.conversion_lookbacks_ms:
        return None
    currency, value_minor = default_currency, None
    if hit.value is not None:
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
