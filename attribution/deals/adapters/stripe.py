"""Stripe: events with the whole object as it was when the event was made.

https://docs.stripe.com/api/events/types, https://docs.stripe.com/webhooks (order is not promised; one event may come
twice), https://docs.stripe.com/currencies (minor units, zero decimals, special cases). What is a sale:

* an invoice that is paid, with what was paid of it; the payment below it is not a second one;
* a payment of its own: of a Checkout session in mode ``payment``, one that names an order in its metadata, or one of an
  API version before 2025-03-31 that says itself that it has no invoice. Later versions do not say that a payment pays
  an invoice, so a bare payment is no sale: else every invoice would be counted twice. ``invoice_payment.paid`` joins
  them for refunds (https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices).
"""

from __future__ import annotations

from attribution.deals.adapters.base import (
    AdapterRules,
    Envelope,
    Mapped,
    Notes,
    Reader,
    email_sha256,
    known_fields,
    own_fields,
    read_object,
)
from attribution.deals.facts import CONTACT, ObjectFact, ObjectType, Value
from attribution.errors import Rejected
from attribution.money import currency_of

SOURCE = "stripe"
VERSION = 1

_ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
)
_THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])
"""All others have two, ISK and UGX too: "to charge 5 UGX, provide an amount value of 500"."""

_BORN = (".created",)
_ENDS = (
    ".paid",
    ".succeeded",
    ".payment_succeeded",
    ".deleted",
    ".voided",
    ".completed",
    ".closed",
    ".failed",
)
_SESSION_PAID = ("paid", "no_payment_required")


def adapt(body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
    """Facts of one event."""
    notes = Notes()
    event = read_object(body, notes)
    if event is None:
        return notes.mapped([])
    type_, event_id = event.text("type", is_wanted=True), event.text("id", is_wanted=True)
    subject = event.object("data").object("object")
    if not type_ or not event_id:
        return notes.mapped([])
    if event.raw("livemode") is False and not rules.accepts_test_data:
        notes.note("test_data", "livemode", "Send live events, or set accepts_test_data to try things out.")
        return notes.mapped([])
    at_ms = event.time("created", rules)
    if at_ms is None:
        notes.note("no_time_of_change", "created", "Without it the time of arrival counts.")
        at_ms = envelope.received_at
    rank = 0 if type_.endswith(_BORN) else 2 if type_.endswith(_ENDS) else 1
    return notes.mapped(_Event(type_, event_id, at_ms, rank, subject, rules).facts())


class _Event:
    """One event while it is read."""

    def __init__(
        self, type_: str, event_id: str, at_ms: int, rank: int, subject: Reader, rules: AdapterRules
    ) -> None:
        self.type, self.event_id, self.at_ms, self.rank = type_, event_id, at_ms, rank
        self.subject, self.rules = subject, rules

    def facts(self) -> list[ObjectFact]:
        """By the kind of object."""
        kind = self.subject.text("object")
        if kind == "invoice":
            return self._invoice()
        if kind == "payment_intent":
            return self._payment(self.subject.text("id", is_wanted=True), "amount_received")
        if kind == "charge":
            return self._charge()
        if kind == "invoice_payment":
            return self._invoice_payment()
        if kind == "refund":
            return self._refund(self.subject)
        if kind == "dispute":
            return self._dispute()
        if kind == "subscription":
            return self._named(ObjectType.subscription, {"status": self.subject.text("status") or None})
        if kind == "customer":
            return self._named(ObjectType.contact, self._email("email"))
        if kind == "checkout.session":
            return self._session()
        if not kind:
            self.subject.notes.note("missing_field", "data.object.object", "Send the object of the event.")
        else:
            self.subject.notes.ignore(self.type)
        return []

    def _fact(self, object_type: ObjectType, object_id: str, fields: dict[str, Value]) -> list[ObjectFact]:
        if not object_id:
            return []
        return [
            ObjectFact(
                site=self.rules.site,
                source=SOURCE,
                object_type=object_type,
                object_id=object_id,
                at_ms=self.at_ms,
                event_id=self.event_id,
                fields=fields,
                rank=self.rank,
                adapter_version=VERSION,
            )
        ]

    def _named(self, object_type: ObjectType, fields: dict[str, Value]) -> list[ObjectFact]:
        """A fact of the event's own object, with customer and metadata."""
        is_deleted = self.subject.raw("deleted") is True or (
            object_type is ObjectType.contact and self.type.endswith(".deleted")
        )
        all_ = {"is_deleted": is_deleted, **fields, **self._common(object_type)}
        return self._fact(object_type, self.subject.text("id", is_wanted=True), all_)

    def _common(self, object_type: ObjectType) -> dict[str, Value]:
        metadata = self.subject.object("metadata").data
        fields = known_fields(metadata) | own_fields(metadata, SOURCE, object_type, self.rules)
        if customer := id_of(self.subject, "customer"):
            fields[CONTACT + customer] = True
        return fields

    def _email(self, *names: str) -> dict[str, Value]:
        for name in names:
            if hashed := email_sha256(self.subject.text(name)):
                return {"email_sha256": hashed}
        return {}

    def _money(self, subject: Reader, name: str) -> dict[str, Value]:
        """Amount and currency; nothing when they cannot be read, which is a problem then."""
        minor, currency = subject.whole(name), subject.text("currency")
        if minor is None or not currency:
            return {}
        try:
            return {"amount": major(minor, currency), "currency": currency.upper()}
        except Rejected as error:
            subject.notes.note(error.reason, subject.where("currency"), error.message)
            return {}

    def _invoice(self) -> list[ObjectFact]:
        subject = self.subject
        invoice_id = subject.text("id", is_wanted=True)
        details = subject.object("parent").object("subscription_details")
        subscription = id_of(subject, "subscription") or id_of(details, "subscription")
        fields = self._money(subject, "amount_paid") | self._email("customer_email")
        fields["status"] = subject.text("status") or None
        if subscription:
            fields["subscription"] = subscription
        facts = self._named(ObjectType.invoice, fields)
        for name in ("payment_intent", "charge"):
            if payment := id_of(subject, name):
                facts += self._fact(
                    ObjectType.payment, payment, {"parent": f"{ObjectType.invoice}:{invoice_id}"}
                )
                break
        return facts

    def _invoice_payment(self) -> list[ObjectFact]:
        payment, invoice = self.subject.object("payment"), id_of(self.subject, "invoice")
        payment_id = id_of(payment, "payment_intent") or id_of(payment, "charge")
        if not invoice or not payment_id:
            self.subject.notes.note("missing_field", "data.object.payment", "Send invoice and payment.")
            return []
        return self._fact(ObjectType.payment, payment_id, {"parent": f"{ObjectType.invoice}:{invoice}"})

    def _payment(self, payment_id: str, amount: str) -> list[ObjectFact]:
        subject = self.subject
        fields = self._common(ObjectType.payment) | self._email("receipt_email")
        is_paid = subject.text("status") == "succeeded"
        fields["status"] = "paid" if is_paid else subject.text("status") or None
        fields |= self._money(subject, amount)
        if invoice := id_of(subject, "invoice"):
            fields["parent"] = f"{ObjectType.invoice}:{invoice}"
        elif subject.has("invoice") or "order_id" in fields:
            fields["is_alone"] = True
        return self._fact(ObjectType.payment, payment_id, fields)

    def _charge(self) -> list[ObjectFact]:
        """Of a charge below a payment intent only the person is news; the money is told there."""
        subject = self.subject
        billing = subject.object("billing_details")
        hashed = email_sha256(billing.text("email"))
        if self.type == "charge.refunded" and not subject.object("refunds"):
            subject.notes.note(
                "refund_details_missing",
                "data.object.refunds",
                "Send refund.created and refund.updated: this event does not say which refunds these are.",
            )
        facts: list[ObjectFact] = []
        for refund in subject.object("refunds").objects("data"):
            facts += self._refund(refund)
        if payment := id_of(subject, "payment_intent"):
            fields = self._common(ObjectType.payment) | ({"email_sha256": hashed} if hashed else {})
            if invoice := id_of(subject, "invoice"):
                fields["parent"] = f"{ObjectType.invoice}:{invoice}"
            return facts + (self._fact(ObjectType.payment, payment, fields) if fields else [])
        is_captured = subject.raw("captured") is not False
        own = self._payment(
            subject.text("id", is_wanted=True), "amount_captured" if is_captured else "amount"
        )
        if not is_captured:
            own = [_with(fact, {"status": "uncaptured"}) for fact in own]
        return facts + [_with(fact, {"email_sha256": hashed} if hashed else {}) for fact in own]

    def _refund(self, refund: Reader) -> list[ObjectFact]:
        parent = id_of(refund, "payment_intent") or id_of(refund, "charge")
        fields: dict[str, Value] = {"status": refund.text("status") or "succeeded"}
        fields |= self._money(refund, "amount")
        if parent:
            fields["parent"] = f"{ObjectType.payment}:{parent}"
        return self._fact(ObjectType.refund, refund.text("id", is_wanted=True), fields)

    def _dispute(self) -> list[ObjectFact]:
        subject = self.subject
        parent = id_of(subject, "payment_intent") or id_of(subject, "charge")
        fields: dict[str, Value] = {"status": subject.text("status") or None}
        fields |= self._money(subject, "amount")
        if parent:
            fields["parent"] = f"{ObjectType.payment}:{parent}"
        return self._fact(ObjectType.dispute, subject.text("id", is_wanted=True), fields)

    def _session(self) -> list[ObjectFact]:
        """Who paid, told of all that the session made."""
        subject = self.subject
        if not self.type.endswith((".completed", ".async_payment_succeeded")):
            subject.notes.ignore(self.type)
            return []
        details = subject.object("customer_details")
        fields = self._common(ObjectType.payment) | self._email("customer_email")
        if hashed := email_sha256(details.text("email")):
            fields["email_sha256"] = hashed
        if reference := subject.text("client_reference_id"):
            # Whoever sets it decides what it is; a visitor id is what our script offers for it.
            fields.setdefault("visitor_id", reference)
        subscription, invoice = id_of(subject, "subscription"), id_of(subject, "invoice")
        payment = id_of(subject, "payment_intent")
        facts: list[ObjectFact] = []
        if subscription:
            facts += self._fact(ObjectType.subscription, subscription, fields)
        if invoice:
            linked = {**fields, "subscription": subscription} if subscription else fields
            facts += self._fact(ObjectType.invoice, invoice, linked)
        if payment:
            parent = {"parent": f"{ObjectType.invoice}:{invoice}"} if invoice else {"is_alone": True}
            sale: dict[str, Value] = {**fields, **parent}
            if subject.text("payment_status") in _SESSION_PAID and not invoice:
                sale |= {"status": "paid", **self._money(subject, "amount_total")}
            facts += self._fact(ObjectType.payment, payment, sale)
        if not facts:
            subject.notes.ignore(f"{self.type} of mode {subject.text('mode')}")
        return facts


def _with(fact: ObjectFact, fields: dict[str, Value]) -> ObjectFact:
    return ObjectFact(
        site=fact.site,
        source=fact.source,
        object_type=fact.object_type,
        object_id=fact.object_id,
        at_ms=fact.at_ms,
        event_id=fact.event_id,
        fields={**fact.fields, **fields},
        rank=fact.rank,
        adapter_version=fact.adapter_version,
    )


def id_of(subject: Reader, name: str) -> str:
    """An id, also of an object that is spelt out; "" when it is not there."""
    value = subject.raw(name)
    if isinstance(value, dict):
        return subject.object(name).text("id")
    return subject.text(name)


def major(minor: int, currency: str) -> str:
    """Decimal text in major units of an amount as Stripe counts. Raises ``Rejected('unknown_currency')``."""
    code = currency_of(currency).code
    decimals = 0 if code in _ZERO_DECIMAL else 3 if code in _THREE_DECIMAL else 2
    digits = str(abs(minor)).rjust(decimals + 1, "0")
    sign = "-" if minor < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"
