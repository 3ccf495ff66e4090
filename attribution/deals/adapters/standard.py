"""Standard Webhooks: our own words, for senders that have no adapter.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: ``type`` (``object.act``),
``timestamp`` (when it happened) and ``data``; the id of the event is the header ``webhook-id``. In ``data``: ``id`` and
any of the fields below; amounts as decimal text in major units. A field that is left out says nothing, null takes it
back.
"""

from __future__ import annotations

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
    read_object,
)
from attribution.deals.facts import CONTACT_IN, ObjectFact, ObjectType, Value

SOURCE = "standard"
VERSION = 2
EVENT_ID = "webhook-id"

_TEXTS = (
    "stage",
    "status",
    "pipeline",
    "currency",
    "owner",
    "order_id",
    "user_id",
    "visitor_id",
    "account_id",
)
_MORE_TEXTS = ("merged_into", "subscription", "crm_contact_id")
_RANKS = {"created": 0, "deleted": 2}
_STATUS_BY_ACT = {
    **{act: act for act in ("open", "won", "lost", "paid", "cancelled", "pending", "succeeded", "failed")},
    "closed_won": "won",
    "closed_lost": "lost",
}
"""``order.paid`` needs no ``status``: the act says it. So does ``payment.succeeded``, whose status is then ``paid``."""


def adapt(body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
    """Facts of one message."""
    notes = Notes()
    message = read_object(body, notes)
    if message is None:
        return notes.mapped([])
    kind, _, act = message.text("type", is_wanted=True).partition(".")
    data = message.object("data")
    if kind not in ObjectType.__members__:
        notes.note(
            "unknown_object", "type", f"Send <object>.<act>; objects are {', '.join(ObjectType.__members__)}."
        )
        return notes.mapped([])
    object_id = data.text("id", is_wanted=True)
    if not object_id:
        return notes.mapped([])
    at_ms = message.time("timestamp", rules)
    if at_ms is None:
        notes.note(
            "no_time_of_change", "timestamp", "Send when it happened; without it the time of arrival counts."
        )
        at_ms = envelope.received_at
    object_type = ObjectType(kind)
    fact = ObjectFact(
        site=rules.site,
        source=SOURCE,
        object_type=object_type,
        object_id=object_id,
        at_ms=at_ms,
        event_id=envelope.headers.get(EVENT_ID) or digest(message.data),
        fields={
            "is_deleted": act == "deleted",
            **_status(act, object_type),
            **_fields(data, object_type, rules),
        },
        rank=_RANKS.get(act, 1),
        adapter_version=VERSION,
    )
    return notes.mapped([fact])


def _status(act: str, object_type: ObjectType) -> dict[str, Value]:
    status = _STATUS_BY_ACT.get(act)
    if status == "succeeded" and object_type is ObjectType.payment:
        status = "paid"
    return {"status": status} if status else {}


def _fields(data: Reader, object_type: ObjectType, rules: AdapterRules) -> dict[str, Value]:
    fields = known_fields(data.data) | own_fields(data.data, SOURCE, object_type, rules)
    for name in (*_TEXTS, *_MORE_TEXTS):
        if data.has(name):
            fields[name] = data.text(name) or None
    if data.has("amount"):
        fields["amount"] = data.amount("amount")
    if data.has("email"):
        fields["email_sha256"] = email_sha256(data.text("email"))
    if data.has("contact_id"):
        fields[CONTACT_IN + "contact_id"] = data.text("contact_id") or None
    parent = data.object("parent")
    if parent:
        kind = parent.text("object", is_wanted=True)
        if kind in ObjectType.__members__:
            fields["parent"] = f"{kind}:{parent.text('id', is_wanted=True)}"
        else:
            data.notes.note("bad_field", parent.where("object"), "Send the kind of object, such as order.")
    if object_type is ObjectType.payment:
        fields["is_alone"] = "parent" not in fields
    return fields
