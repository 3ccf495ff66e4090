"""Salesforce outbound messages: SOAP with up to 100 objects, each with the fields that somebody chose.

https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging_notifications.htm and
https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_om_outboundmessaging_understanding.htm: no
order is promised, a message may come twice, and it holds the object as it is when it is *sent*. Namespaces differ by
edition, so names are compared without them. Only ``LastModifiedDate`` or ``SystemModstamp`` date a change.
"""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree

from attribution.deals.adapters.base import (
    AdapterRules,
    Envelope,
    Mapped,
    Notes,
    Reader,
    decimal_text,
    email_sha256,
    known_fields,
    own_fields,
)
from attribution.deals.facts import CONTACT_IN, ObjectFact, ObjectType, Value

SOURCE = "salesforce"
VERSION = 2

_OBJECTS = {
    "Opportunity": ObjectType.deal,
    "Lead": ObjectType.lead,
    "Contact": ObjectType.contact,
    "Account": ObjectType.company,
}
_FIELDS = {
    ObjectType.deal: {
        "StageName": "stage",
        "Amount": "amount",
        "CurrencyIsoCode": "currency",
        "OwnerId": "owner",
        "AccountId": "account_id",
    },
    ObjectType.lead: {"Status": "stage", "OwnerId": "owner"},
    ObjectType.contact: {"AccountId": "account_id", "OwnerId": "owner"},
}
_IDS = ("OwnerId", "AccountId", "ContactId", "ConvertedContactId", "ConvertedOpportunityId", "MasterRecordId")
_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
_SUFFIXES: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_SHORT_ID = 15


def adapt(body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
    """Facts of a message."""
    notes = Notes()
    if body.lstrip().startswith((b"{", b"[")):
        notes.note(
            "unread_format",
            "",
            "Events of Data 360 are kept and not read yet: send deals by outbound messages.",
        )
        return notes.mapped([])
    root = _parse(body, notes)
    facts: list[ObjectFact] = []
    if root is not None:
        notifications = [one for one in root.iter() if _local(one.tag) == "Notification"]
        if not notifications:
            notes.note(
                "bad_payload",
                "Envelope.Body.notifications",
                "Send an outbound message of a workflow or flow.",
            )
        for number, notification in enumerate(notifications):
            fact = _fact(notification, f"Notification[{number}]", notes, envelope, rules)
            if fact is not None:
                facts.append(fact)
    return notes.mapped(facts)


def _parse(body: bytes, notes: Notes) -> ElementTree.Element | None:
    """The document. One with a document type is refused: entities can be made to fill all memory."""
    try:
        text = body.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("document type")
        return ElementTree.fromstring(text)  # noqa: S314 -- without a document type there are no entities to expand
    except (ElementTree.ParseError, ValueError):
        notes.note("not_xml", "", "Send the SOAP message as Salesforce makes it, in UTF-8.")
        return None


def _fact(
    notification: ElementTree.Element, path: str, notes: Notes, envelope: Envelope, rules: AdapterRules
) -> ObjectFact | None:
    record = next((one for one in notification if _local(one.tag) == "sObject"), None)
    if record is None:
        notes.note("missing_field", f"{path}.sObject", "Send the object.")
        return None
    name = record.get(_TYPE, "").rpartition(":")[2]
    object_type = rules.own_objects.get(SOURCE, {}).get(name) or _OBJECTS.get(name)
    if object_type is None:
        notes.note(
            "unknown_object",
            f"{path}.sObject",
            f"Say in the settings what {name[:80] or 'this object'} is, such as deal.",
        )
        return None
    values = {_local(one.tag): (one.text or "").strip() for one in record}
    fields = Reader(values, f"{path}.sObject", notes)
    object_id = long_id(fields.text("Id", is_wanted=True))
    if not object_id:
        return None
    at_ms = fields.time("SystemModstamp", rules) or fields.time("LastModifiedDate", rules)
    if at_ms is None:
        notes.note(
            "no_time_of_change",
            f"{path}.sObject.LastModifiedDate",
            "Add LastModifiedDate to the fields of the outbound message; without it the time of arrival counts.",
        )
        at_ms = envelope.received_at
    event_id = next((one.text or "" for one in notification if _local(one.tag) == "Id"), "")
    return ObjectFact(
        site=rules.site,
        source=SOURCE,
        object_type=object_type,
        object_id=object_id,
        at_ms=at_ms,
        event_id=event_id.strip() or f"{object_id}/{at_ms}",
        fields=_fields(fields, object_type, rules),
        adapter_version=VERSION,
    )


def _fields(record: Reader, object_type: ObjectType, rules: AdapterRules) -> dict[str, Value]:
    """What the message says; a field that nobody chose says nothing, an empty one says that it is empty."""
    values: dict[str, str] = {name: str(value) for name, value in record.data.items()}
    for name in _IDS:
        if name in values:
            values[name] = long_id(values[name])
    fields: dict[str, Value] = {"is_deleted": bool(record.flag("IsDeleted"))}
    for theirs, ours in _FIELDS.get(object_type, {}).items():
        if theirs in values:
            value = decimal_text(values[theirs]) if ours == "amount" else values[theirs]
            fields[ours] = value or None
    if object_type is ObjectType.deal and "IsClosed" in values:
        is_closed = record.flag("IsClosed")
        fields["status"] = ("won" if record.flag("IsWon") else "lost") if is_closed else "open"
        if is_closed and "IsWon" not in values:
            record.notes.note(
                "missing_field", record.where("IsWon"), "Choose IsWon, too: else the stage decides."
            )
            del fields["status"]
    for name in ("ContactId", "ConvertedContactId"):
        if name in values:
            fields[CONTACT_IN + name] = values[name] or None
    if values.get("ConvertedOpportunityId"):
        fields["parent"] = f"{ObjectType.deal}:{values['ConvertedOpportunityId']}"
    if values.get("MasterRecordId"):
        fields["merged_into"] = values["MasterRecordId"]
    if object_type in (ObjectType.contact, ObjectType.lead) and "Email" in values:
        fields["email_sha256"] = email_sha256(values["Email"])
    return fields | known_fields(values) | own_fields(values, SOURCE, object_type, rules)


def long_id(id_: str) -> str:
    """The 18 characters of an id of 15; others as they are.

    https://help.salesforce.com/s/articleView?id=000385585: each five characters add one that tells which are capitals.
    """
    if len(id_) != _SHORT_ID or not id_.isalnum() or not id_.isascii():
        return id_
    chunks = (id_[start : start + 5] for start in (0, 5, 10))
    return id_ + "".join(
        _SUFFIXES[sum(1 << place for place, letter in enumerate(chunk) if letter.isupper())]
        for chunk in chunks
    )


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
