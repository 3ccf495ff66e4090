"""Pipedrive, webhooks version 2: the whole object in ``data``, of what changed the old values in ``previous``.

https://pipedrive.readme.io/docs/guide-for-webhooks-v2 and https://pipedrive.readme.io/docs/webhooks-v2-migration-guide
(custom fields in their own object; a merge arrives as the deletion of one and a change of the other). An object is
dated by ``update_time``, in seconds: of two edits within one second it cannot be said which came last, and the same one
holds on every reading.
"""

from __future__ import annotations

from typing import Any

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

SOURCE = "pipedrive"
VERSION = 2

_OBJECTS = {
    "deal": ObjectType.deal,
    "person": ObjectType.contact,
    "organization": ObjectType.company,
    "lead": ObjectType.lead,
}
_ACTIONS = {"create": 0, "change": 1, "delete": 2}
_OUTCOMES = ("open", "won", "lost")


def adapt(body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
    """Facts of one message."""
    notes = Notes()
    message = read_object(body, notes)
    if message is None:
        return notes.mapped([])
    meta, data = message.object("meta"), message.object("data")
    version = meta.text("version")
    if not version.startswith("2"):
        notes.note("unknown_version", "meta.version", "Create the webhook with version 2.0.")
        return notes.mapped([])
    entity, action = meta.text("entity", is_wanted=True), meta.text("action", is_wanted=True)
    object_type = _OBJECTS.get(entity)
    if object_type is None or action not in _ACTIONS:
        notes.ignore(f"{action}.{entity}")
        return notes.mapped([])
    object_id = meta.text("entity_id") or data.text("id")
    if not object_id:
        notes.note("missing_field", "meta.entity_id", "Send the id of the object.")
        return notes.mapped([])
    at_ms = None if action == "delete" else data.time("update_time", rules)
    at_ms = at_ms if at_ms is not None else meta.time("timestamp", rules)
    if at_ms is None:
        notes.note("no_time_of_change", "data.update_time", "Without it the time of arrival counts.")
        at_ms = envelope.received_at
    if action == "delete":
        fields: dict[str, Value] = {"is_deleted": True}
        if into := meta.text("merged_to_id"):
            fields["merged_into"] = into
    else:
        fields = _fields(data, object_type, rules)
    fact = ObjectFact(
        site=rules.site,
        source=SOURCE,
        object_type=object_type,
        object_id=object_id,
        at_ms=at_ms,
        event_id=f"{action}/{entity}/{object_id}/{digest(data.data)}",
        fields=fields,
        rank=_ACTIONS[action],
        adapter_version=VERSION,
    )
    return notes.mapped([fact])


def _fields(data: Reader, object_type: ObjectType, rules: AdapterRules) -> dict[str, Value]:
    named = _custom(data)
    fields: dict[str, Value] = {"is_deleted": False}
    if object_type is ObjectType.deal:
        fields |= {
            "stage": data.text("stage_id") or None,
            "pipeline": data.text("pipeline_id") or None,
            "amount": data.amount("value"),
            "currency": data.text("currency") or None,
        }
        status = data.text("status")
        if status == "deleted":
            fields["is_deleted"] = True
        elif status in _OUTCOMES:
            fields["status"] = status
        elif status:
            data.notes.note("bad_field", data.where("status"), "Send open, won, lost or deleted.")
    if object_type in (ObjectType.deal, ObjectType.lead) and data.has("person_id"):
        fields[CONTACT_IN + "person_id"] = data.text("person_id") or None
    if object_type is ObjectType.contact:
        for address in data.objects("emails"):
            if address.raw("primary") and (hashed := email_sha256(address.text("value"))):
                fields["email_sha256"] = hashed
        if organisation := data.text("org_id"):
            fields["account_id"] = organisation
    if owner := data.text("owner_id"):
        fields["owner"] = owner
    return fields | known_fields(named) | own_fields({**data.data, **named}, SOURCE, object_type, rules)


def _custom(data: Reader) -> dict[str, Any]:
    """Custom fields, by their hash or key; those with a type beside are taken out of their object."""
    named = {}
    custom = data.object("custom_fields")
    for name, value in custom.data.items():
        named[name] = value.get("value") if isinstance(value, dict) else value
    return named
