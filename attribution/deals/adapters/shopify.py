"""Shopify: the whole order, refund or customer; the topic is in a header.

https://shopify.dev/docs/api/webhooks (topics and samples), https://shopify.dev/docs/api/admin-rest/latest/resources/order
and https://shopify.dev/docs/api/admin-rest/latest/resources/refund (fields, shop money and presentment money). Two
messages may carry one ``updated_at``
(https://community.shopify.com/c/webhooks-and-events/multiple-order-update-webhooks-with-the-same-updated-at/td-p/1713284):
of these the one whose payment has got further holds. ``total_price`` is what the order was worth; refunds are told
apart, each once by its id, whether it comes alone or inside an order.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attribution.deals.adapters.base import (
    AdapterRules,
    Envelope,
    Mapped,
    Notes,
    Reader,
    digest,
    email_sha256,
    known_fields,
    own_fields,
    plain,
    read_object,
)
from attribution.deals.facts import CONTACT_IN, ObjectFact, ObjectType, Value
from attribution.errors import Rejected
from attribution.money import format_amount, parse_amount

SOURCE = "shopify"
VERSION = 2

TOPIC = "x-shopify-topic"
TRIGGERED_AT = "x-shopify-triggered-at"

_PROGRESS = (
    *("pending", "authorized", "partially_paid", "paid"),
    *("partially_refunded", "refunded", "voided"),
)
_PAID = ("paid", "partially_refunded", "refunded")
_MAX_PAIRS = 100


def adapt(body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
    """Facts of one message."""
    notes = Notes()
    message = read_object(body, notes)
    if message is None:
        return notes.mapped([])
    topic = envelope.headers.get(TOPIC, "")
    subject, _, act = topic.partition("/")
    if message.raw("test") is True and not rules.accepts_test_data:
        notes.note("test_data", "test", "Send real orders, or set accepts_test_data to try things out.")
        return notes.mapped([])
    reading = _Reading(message, envelope, rules)
    if act in ("delete", "redact") and subject in ("orders", "customers"):
        return notes.mapped(reading.deleted(ObjectType.order if subject == "orders" else ObjectType.contact))
    if subject == "orders":
        return notes.mapped(reading.order())
    if subject == "refunds":
        return notes.mapped(reading.refund(message))
    if subject == "customers" and act in ("create", "update", "enable", "disable"):
        return notes.mapped(reading.customer())
    if topic:
        notes.ignore(topic)
    else:
        notes.note(
            "missing_field", f"header {TOPIC}", "Send Shopify's headers through: the topic says what it is."
        )
    return notes.mapped([])


class _Reading:
    """One message while it is read."""

    def __init__(self, message: Reader, envelope: Envelope, rules: AdapterRules) -> None:
        self.message, self.envelope, self.rules = message, envelope, rules

    def _fact(
        self,
        object_type: ObjectType,
        object_id: str,
        at_ms: int,
        event_id: str,
        fields: dict[str, Value],
        rank: int,
    ) -> list[ObjectFact]:
        if not object_id:
            return []
        return [
            ObjectFact(
                site=self.rules.site,
                source=SOURCE,
                object_type=object_type,
                object_id=object_id,
                at_ms=at_ms,
                event_id=event_id,
                fields=fields,
                rank=rank,
                adapter_version=VERSION,
            )
        ]

    def _at(self, message: Reader, *names: str) -> int:
        for name in names:
            if (at_ms := message.time(name, self.rules)) is not None:
                return at_ms
        headers = Reader(self.envelope.headers, "header", message.notes)
        if (at_ms := headers.time(TRIGGERED_AT, self.rules)) is not None:
            return at_ms
        message.notes.note(
            "no_time_of_change", message.where(names[0]), "Without it the time of arrival counts."
        )
        return self.envelope.received_at

    def order(self) -> list[ObjectFact]:
        """An order with the refunds that it lists."""
        order = self.message
        order_id = order.text("id", is_wanted=True)
        status = order.text("financial_status")
        at_ms = self._at(order, "updated_at", "created_at")
        is_cancelled = order.raw("cancelled_at") is not None
        money = self._money(order, "total_price", order.text("currency"))
        named = _pairs(order)
        fields: dict[str, Value] = {
            "is_deleted": False,
            "order_id": order.text(self.rules.shopify_order_id) or None,
            "status": "cancelled" if is_cancelled else "paid" if status in _PAID else status or None,
            **money,
            **_click_ids(order),
            **known_fields(named),
            **own_fields({**order.data, **named}, SOURCE, ObjectType.order, self.rules),
        }
        if hashed := email_sha256(order.text("email") or order.text("contact_email")):
            fields["email_sha256"] = hashed
        if order.has("customer"):
            fields[CONTACT_IN + "customer"] = order.object("customer").text("id") or None
        rank = len(_PROGRESS) if is_cancelled else _PROGRESS.index(status) if status in _PROGRESS else 0
        facts = self._fact(
            ObjectType.order, order_id, at_ms, f"order/{order_id}/{digest(order.data)}", fields, rank
        )
        for refund in order.objects("refunds"):
            facts += self.refund(refund, order_id)
        return facts

    def refund(self, refund: Reader, order_id: str = "") -> list[ObjectFact]:
        """What was paid back. Goods that come back without money are none."""
        refund_id = refund.text("id", is_wanted=True)
        order_id = refund.text("order_id") or order_id
        sums: dict[str, int] = {}
        for transaction in refund.objects("transactions"):
            if transaction.text("kind") != "refund" or transaction.text("status") not in (
                "success",
                "pending",
            ):
                continue
            money = self._money(transaction, "amount", transaction.text("currency"))
            try:
                code = str(money.get("currency"))
                sums[code] = sums.get(code, 0) + parse_amount(str(money.get("amount")), code, field="amount")
            except Rejected as error:
                refund.notes.note(error.reason, transaction.where(error.field), error.message)
        if len(sums) > 1:
            refund.notes.note("mixed_currencies", refund.where("transactions"), "Refund in one currency.")
            return []
        if not sums:
            return []
        ((currency, minor),) = sums.items()
        fields: dict[str, Value] = {
            "status": "succeeded",
            "amount": format_amount(minor, currency),
            "currency": currency,
        }
        if order_id:
            fields["parent"] = f"{ObjectType.order}:{order_id}"
        at_ms = self._at(refund, "processed_at", "created_at")
        # The same refund, alone or inside of any order message, is the same event.
        return self._fact(ObjectType.refund, refund_id, at_ms, f"refund/{refund_id}", fields, 1)

    def customer(self) -> list[ObjectFact]:
        """A contact with its address."""
        customer = self.message
        hashed = email_sha256(customer.text("email"))
        fields: dict[str, Value] = {"is_deleted": False, "email_sha256": hashed}
        customer_id = customer.text("id", is_wanted=True)
        at_ms = self._at(customer, "updated_at", "created_at")
        return self._fact(
            ObjectType.contact,
            customer_id,
            at_ms,
            f"customer/{customer_id}/{digest(customer.data)}",
            fields,
            1,
        )

    def deleted(self, object_type: ObjectType) -> list[ObjectFact]:
        """The message has nothing but the id."""
        object_id = self.message.text("id") or self.message.object("customer").text("id")
        if not object_id:
            self.message.notes.note("missing_field", "id", "Send the id of what was deleted.")
        at_ms = self._at(self.message, "deleted_at")
        return self._fact(object_type, object_id, at_ms, f"deleted/{object_id}", {"is_deleted": True}, 99)

    def _money(self, subject: Reader, name: str, currency: str) -> dict[str, Value]:
        """Of ``<name>_set`` the side that the rules want, else the plain field and its currency."""
        sides = subject.object(f"{name}_set")
        side = sides.object("shop_money" if self.rules.is_shop_money else "presentment_money")
        if side:
            return {
                "amount": side.amount("amount"),
                "currency": side.text("currency_code") or currency or None,
            }
        return {"amount": subject.amount(name), "currency": currency or None}


def _pairs(order: Reader) -> dict[str, Any]:
    """Note attributes, which a theme or our script may fill."""
    named: dict[str, Any] = {}
    for pair in order.objects("note_attributes"):
        name, value = pair.raw("name"), pair.raw("value")
        if isinstance(name, str) and len(named) < _MAX_PAIRS:
            named[name] = plain(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return named


def _click_ids(order: Reader) -> dict[str, Value]:
    """Of the page that the buyer landed on."""
    try:
        query = urlsplit(order.text("landing_site")).query
        pairs = parse_qsl(query, max_num_fields=_MAX_PAIRS)
    except ValueError:
        return {}
    found = known_fields(dict(pairs))
    return {name: value for name, value in found.items() if name.startswith("click:")}
