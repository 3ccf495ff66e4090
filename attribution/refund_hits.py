"""Refunds as hits report them: which order a refund is of, and what it pays back."""

from __future__ import annotations

import msgspec

from attribution.conversions import ConversionFact, conversion_id_of_order
from attribution.hit import NO_PROPS, Hit
from attribution.money import currency_of, parse_amount
from attribution.policy import AttributionPolicy
from attribution.refunds import REFUND, RefundProblem

REFUNDED_TYPE = "purchase"
"""Of the conversions that have one order id the type that a refund is of, unless it says ``props.conversion_type``."""


def is_refund(event: str, policy: AttributionPolicy) -> bool:
    """Whether a hit of ``event`` reports a refund. A policy that calls it a conversion means something of its own."""
    return event == REFUND and REFUND not in policy.conversion_lookbacks_ms


def refund_fact(hit: Hit, policy: AttributionPolicy, default_currency: str) -> ConversionFact | RefundProblem:
    """What ``hit``, a refund, pays back of which order; or why that cannot be said.

    It is of the order that has its order id and the type ``props.conversion_type``, else ``REFUNDED_TYPE``. So that is
    known before any order is, and an order id that several types have is lowered once. Raises ``Rejected`` when
    ``hit.value`` is no amount of its currency.
    """
    if not hit.order_id:
        return RefundProblem.without_order
    type_ = _type_named_by(hit) or REFUNDED_TYPE
    if type_ not in policy.conversion_lookbacks_ms:
        return RefundProblem.of_unknown_type
    currency, value_minor = "", None
    if hit.value is not None:
        currency = currency_of(hit.currency or default_currency).code
        value_minor = parse_amount(hit.value, currency)
    return ConversionFact(
        conversion_id=conversion_id_of_order(hit.site, type_, hit.order_id),
        site=hit.site,
        type=type_,
        order_id=hit.order_id,
        visitor_id=hit.visitor_id,
        event_id=hit.event_id,
        occurred_at=hit.occurred_at,
        received_at=hit.received_at,
        value_minor=value_minor,
        currency=currency,
        is_refund=True,
    )


class _TypeNamed(msgspec.Struct):
    """What a refund's ``props`` may say."""

    conversion_type: str = ""


_props_of = msgspec.json.Decoder(_TypeNamed, strict=False).decode


def _type_named_by(hit: Hit) -> str:
    """The conversion type that a refund says it is of; "" = it says none that is a name."""
    if hit.props is NO_PROPS:
        return ""
    try:
        return _props_of(hit.props).conversion_type.strip()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
