"""Families: which objects have to be looked at together, so that books can be made of a few and not of all.

Two objects are of one family when they share a name, or are joined by others that do: an order and its refund, invoices
of a subscription, two senders' tellings of one business id. Books of the families, put together, are the books of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attribution.deals.facts import ObjectKey, ObjectState, ObjectType
from attribution.deals.identities import pointers_of


def business_id(state: ObjectState) -> str:
    """What the customer calls it if he says so, else the sender's own name."""
    told = state.get("order_id")
    return str(told) if told not in (None, "") else f"{state.key.source}:{state.key.type}:{state.key.id}"


def names_of(state: ObjectState) -> frozenset[str]:
    """The names by which others of its family find it. It has those of now: a pointer may be corrected."""
    site, source, object_type, _ = state.key
    names = {_object(state.key), f"{site}/order/{business_id(state)}"}
    kind, _, parent = str(state.get("parent") or "").partition(":")
    if kind in ObjectType.__members__:
        names.add(_object(ObjectKey(site, source, ObjectType(kind), parent)))
    if isinstance(subscription := state.get("subscription"), str):
        names.add(_object(ObjectKey(site, source, ObjectType.subscription, subscription)))
        names.add(f"{site}/order/{source}:{ObjectType.subscription}:{subscription}")
    if isinstance(into := state.get("merged_into"), str):
        names.add(_object(ObjectKey(site, source, object_type, into)))
    return frozenset(names)


def name_of_contact(contact: ObjectKey) -> str:
    """By this name those are found that are about ``contact``: what is told of it is told of them."""
    return f"{contact.site}/about/{contact.source}/{contact.id}"


def found_by(state: ObjectState) -> frozenset[str]:
    """Every name under which an object is filed: those of its family, and those of its contacts."""
    contacts = (one for one in pointers_of(state) if one.type is ObjectType.contact)
    return names_of(state) | {name_of_contact(contact) for contact in contacts}


def families_of(states: Mapping[ObjectKey, ObjectState]) -> Iterator[dict[ObjectKey, ObjectState]]:
    """``states`` cut into families, each once."""
    by_name: dict[str, list[ObjectKey]] = {}
    names = {key: names_of(state) for key, state in states.items()}
    for key in sorted(states):
        for name in names[key]:
            by_name.setdefault(name, []).append(key)
    seen: set[ObjectKey] = set()
    for first in sorted(states):
        if first in seen:
            continue
        family: dict[ObjectKey, ObjectState] = {}
        waiting = [first]
        while waiting:
            key = waiting.pop()
            if key in seen:
                continue
            seen.add(key)
            family[key] = states[key]
            for name in names[key]:
                waiting += by_name[name]
        yield family


def _object(key: ObjectKey) -> str:
    return f"{key.site}/object/{key.source}/{key.type}/{key.id}"
