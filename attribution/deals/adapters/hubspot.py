"""HubSpot: batches of up to 100 events, each one property or one act; an object grows by them.

https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide (payload, retries, no order is promised),
https://developers.hubspot.com/changelog/new-subscription-types-for-webhooks (merge, restore, association change),
https://developers.hubspot.com/docs/apps/legacy-apps/public-apps/create-generic-webhook-subscriptions (``object.*``).
``eventId`` is not unique by HubSpot's own words, so an event is named by all that it says.
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
    read_json,
)
from attribution.deals.facts import CONTACT, ObjectFact, ObjectType, Value

SOURCE = "hubspot"
VERSION = 1

_OBJECTS = {
    **{name: ObjectType(name) for name in ("deal", "contact", "company", "lead")},
    **{"0-1": ObjectType.contact, "0-2": ObjectType.company, "0-3": ObjectType.deal},
    "0-136": ObjectType.lead,
}
"""By the word of the subscription, or ``objectTypeId``."""
_PROPERTIES: dict[ObjectType, dict[str, str]] = {
    ObjectType.deal: {
        "dealstage": "stage",
        "pipeline": "pipeline",
        "amount": "amount",
        "deal_currency_code": "currency",
        "hubspot_owner_id": "owner",
    },
    ObjectType.contact: {"lifecyclestage": "stage", "hubspot_owner_id": "owner"},
    ObjectType.lead: {"hs_pipeline_stage": "stage", "hs_pipeline": "pipeline", "hubspot_owner_id": "owner"},
}
_OUTCOMES = {"hs_is_closed_won": "won", "hs_is_closed_lost": "lost"}
"""Computed by HubSpot from the pipeline's own settings, so they hold whatever a stage is called."""


def adapt(body: bytes, envelope: Envelope, rules: AdapterRules) -> Mapped:
    """Facts of a batch. A bad event does not spoil its neighbours."""
    notes = Notes()
    data = read_json(body, notes)
    events = [data] if isinstance(data, dict) else data
    facts: list[ObjectFact] = []
    if isinstance(events, list):
        for number, event in enumerate(events):
            if isinstance(event, dict):
                facts += _facts(Reader(event, f"[{number}]", notes), envelope, rules)
            else:
                notes.note("bad_payload", f"[{number}]", "Send an event object here.")
    elif data is not None:
        notes.note("bad_payload", "", "Send a list of events.")
    return notes.mapped(facts)


def _facts(event: Reader, envelope: Envelope, rules: AdapterRules) -> list[ObjectFact]:
    said = event.text("subscriptionType", is_wanted=True)
    kind, _, verb = said.partition(".")
    object_type = _OBJECTS.get(event.text("objectTypeId") if kind == "object" else kind)
    if not verb and said:
        event.notes.note(
            "unknown_event",
            event.where("subscriptionType"),
            "Subscribe to <object>.<act> such as deal.creation.",
        )
        return []
    if verb == "associationChange":
        return _association(event, kind, envelope, rules)
    if object_type is None:
        if said:
            event.notes.ignore(said)
        return []
    if verb == "merge":
        return _merge(event, object_type, envelope, rules)
    fields, rank = _fields(event, object_type, verb, rules)
    object_id = event.text("objectId", is_wanted=True)
    return (
        [_fact(event, object_type, object_id, fields, rank, envelope, rules)] if fields and object_id else []
    )


def _fields(
    event: Reader, object_type: ObjectType, verb: str, rules: AdapterRules
) -> tuple[dict[str, Value], int]:
    """(what one event says of its object, rank)."""
    if verb == "creation":
        return {"is_deleted": False}, 0
    if verb in ("deletion", "privacyDeletion"):
        return {"is_deleted": True}, 2
    if verb == "restore":
        return {"is_deleted": False}, 1
    if verb != "propertyChange":
        event.notes.ignore(event.text("subscriptionType"))
        return {}, 1
    name = event.text("propertyName", is_wanted=True)
    named = {name: event.raw("propertyValue")}
    fields = known_fields(named) | own_fields(named, SOURCE, object_type, rules)
    if fields:
        return fields, 1
    if name == "email" and object_type is ObjectType.contact:
        address = event.text("propertyValue")
        return {"email_sha256": email_sha256(address)}, 1
    if object_type is ObjectType.deal and name in _OUTCOMES:
        is_so = event.flag("propertyValue")
        # Of both flags in one instant the one that is set speaks; the other only says "not that": the stage decides.
        return ({"status": _OUTCOMES[name]}, 2) if is_so else ({"status": None}, 1)
    ours = _PROPERTIES.get(object_type, {}).get(name)
    if ours is None:
        if name:
            event.notes.ignore(f"{object_type}.{name}")
        return {}, 1
    value = event.amount("propertyValue") if ours == "amount" else event.text("propertyValue")
    return {ours: value or None}, 1


def _merge(
    event: Reader, object_type: ObjectType, envelope: Envelope, rules: AdapterRules
) -> list[ObjectFact]:
    """Everything that was merged lives on in the new object; or in the primary one where none was made."""
    primary = event.text("primaryObjectId")
    into = event.text("newObjectId") or primary
    raw = event.raw("mergedObjectIds")
    if not into or not isinstance(raw, list):
        event.notes.note(
            "missing_field", event.where("mergedObjectIds"), "Send the ids of the merged objects."
        )
        return []
    merged = {str(one) for one in (primary, *raw) if isinstance(one, (int, str)) and str(one)} - {into}
    return [
        _fact(event, object_type, one, {"merged_into": into}, 2, envelope, rules) for one in sorted(merged)
    ]


def _association(event: Reader, kind: str, envelope: Envelope, rules: AdapterRules) -> list[ObjectFact]:
    """Whose deal it is. Told for both directions, each under its own event."""
    ends = event.text("associationType").lower().split("_to_")
    types = [
        _OBJECTS.get(event.text(f"{end}ObjectTypeId") or (ends[number] if number < len(ends) else ""))
        for number, end in enumerate(("from", "to"))
    ]
    ids = [event.text("fromObjectId", is_wanted=True), event.text("toObjectId", is_wanted=True)]
    is_held = not event.flag("associationRemoved")
    if not all(ids):
        return []
    for (one, one_id), (other, other_id) in (
        ((types[0], ids[0]), (types[1], ids[1])),
        ((types[1], ids[1]), (types[0], ids[0])),
    ):
        if one in (ObjectType.deal, ObjectType.lead) and other is ObjectType.contact:
            return [_fact(event, one, one_id, {CONTACT + other_id: is_held}, 1, envelope, rules)]
        if one is ObjectType.contact and other is ObjectType.company:
            account = other_id if is_held else None
            return [_fact(event, one, one_id, {"account_id": account}, 1, envelope, rules)]
    event.notes.ignore(f"{kind}.associationChange {event.text('associationType')}".strip())
    return []


def _fact(
    event: Reader,
    object_type: ObjectType,
    object_id: str,
    fields: dict[str, Value],
    rank: int,
    envelope: Envelope,
    rules: AdapterRules,
) -> ObjectFact:
    at_ms = event.time("occurredAt", rules)
    if at_ms is None:
        event.notes.note(
            "no_time_of_change",
            event.where("occurredAt"),
            "Without it the time of arrival counts; send occurredAt.",
        )
        at_ms = envelope.received_at
    said = {name: value for name, value in event.data.items() if name != "attemptNumber"}
    return ObjectFact(
        site=rules.site,
        source=SOURCE,
        object_type=object_type,
        object_id=object_id,
        at_ms=at_ms,
        event_id=digest(said),
        fields=fields,
        rank=rank,
        adapter_version=VERSION,
    )
