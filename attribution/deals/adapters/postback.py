"""Postbacks of affiliate and mobile networks: one call for each step of a conversion, named by a click.

The body is the query as a JSON object of texts: ``click_id``, ``transaction_id``, ``payout``, ``currency``, ``event``,
and whatever else was sent. Trackers (Voluum, Keitaro, Binom, RedTrack) put what happened into ``event``: a conversion,
a step before it, or that it was refused. Nothing says when: the time of arrival counts.
"""

from __future__ import annotations

import re

from attribution.deals.adapters.base import (
    AdapterRules,
    Envelope,
    Mapped,
    Notes,
    Reader,
    digest,
    known_fields,
    own_fields,
    read_object,
)
from attribution.deals.delivery import POSTBACK
from attribution.deals.facts import CLICK, ObjectFact, ObjectType, Value

SOURCE = POSTBACK
VERSION = 2
ANY_CLICK = CLICK
"""Field of a click id of which nobody says by which parameter it came."""

_UNFILLED = re.compile(r"[$#]?\{.*\}|\[.*\]|<.*>|%\w+%|#\w+#|__\w+__", re.DOTALL)
"""Macros that nobody has replaced: ``{clickid}``, ``${TXID}``, ``[cid]``, ``<id>``, ``%subid%``, ``__CLICKID__``."""

_PAID, _CANCELLED = "paid", "cancelled"
_DUPLICATES = {"ignore": "keeps_first_amount", "add": "adds_amounts"}
"""What a transaction that is told again does to its amount, where the last payout does not just hold: the modes that
trackers call ignore and increment."""


def adapt(body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
    """Facts of one postback."""
    notes = Notes()
    said = read_object(body, notes)
    if said is None:
        return notes.mapped([])
    click, transaction = _id(said, "click_id"), _id(said, "transaction_id")
    if not click and not transaction:
        notes.note("missing_field", "click_id", "Send click_id, or at least transaction_id.")
        return notes.mapped([])
    event = said.text("event").lower()
    types = sorted(set(rules.postback_events.values()))
    if event in rules.postback_refusals:
        # It does not say which of its steps is refused: all of them.
        status, wanted = _CANCELLED, types
    elif (type_ := rules.postback_events.get(event)) is not None:
        status, wanted = _PAID, [type_]
    else:
        notes.note(
            "unmapped_event", "event", f"Say in the settings (postback_events) what {event[:80]!r} is."
        )
        return notes.mapped([])
    fields: dict[str, Value] = {"status": status, "is_deleted": False}
    fields |= known_fields(said.data) | own_fields(said.data, SOURCE, ObjectType.order, rules)
    if click:
        fields[ANY_CLICK] = click
    if transaction:
        fields["order_id"] = transaction
    if status == _PAID:
        if said.raw("payout") not in (None, ""):
            fields["amount"] = said.amount("payout")
        if currency := said.text("currency"):
            fields["currency"] = currency.upper()
    if rule := _DUPLICATES.get(rules.postback_duplicates):
        fields[rule] = True
    facts = [
        ObjectFact(
            site=rules.site,
            source=SOURCE,
            object_type=ObjectType.order,
            object_id=f"{transaction or click}/{type_}",
            at_ms=envelope.received_at,
            event_id=digest(said.data),
            fields={**fields, "conversion_type": type_},
            adapter_version=VERSION,
        )
        for type_ in wanted
    ]
    return notes.mapped(facts)


def _id(said: Reader, name: str) -> str:
    """An id; "" for a macro that was left as it is: every conversion of the network would be one otherwise."""
    text = said.text(name)
    if _UNFILLED.fullmatch(text):
        said.notes.note("unfilled_macro", name, "Use the macro that this network replaces.")
        return ""
    return text
