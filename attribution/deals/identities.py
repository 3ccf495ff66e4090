"""Whom an object is about: ids, visitors and click ids, of the object itself, its contacts and what it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from attribution.deals.facts import CLICK, CONTACT, CONTACT_IN, ObjectKey, ObjectState, ObjectType, surviving
from attribution.identity import ACCOUNT, CRM, EMAIL, USER, is_nobody

_ID_FIELDS = (("user_id", USER), ("email_sha256", EMAIL), ("crm_contact_id", CRM), ("account_id", ACCOUNT))
_MAX_OBJECTS = 64


class Who(NamedTuple):
    """What finds the person; each list in order, without repetition."""

    ids: tuple[str, ...]
    """As ``attribution.identity`` writes them: ``user:``, ``email:``, ``crm:``, ``account:``."""
    visitors: tuple[str, ...]
    """Visitor ids that the sender was given."""
    clicks: tuple[tuple[str, str], ...]
    """(click parameter, value)."""


def who_of(states: Mapping[ObjectKey, ObjectState], key: ObjectKey) -> Who:
    """Whom ``key`` is about, by what holds now."""
    ids: set[str] = set()
    visitors: set[str] = set()
    clicks: set[tuple[str, str]] = set()
    for one in related_to(states, key):
        if one.type is ObjectType.contact:
            ids.add(CRM + one.id)
        state = states.get(one)
        if state is None:
            continue
        for field, kind in _ID_FIELDS:
            value = state.get(field)
            if isinstance(value, str) and not is_nobody(kind, value):
                ids.add(kind + value)
        if isinstance(visitor := state.get("visitor_id"), str) and visitor:
            visitors.add(visitor)
        for name in state.registers:
            value = state.get(name)
            if name.startswith(CLICK) and isinstance(value, str) and value:
                clicks.add((name[len(CLICK) :], value))
    return Who(tuple(sorted(ids)), tuple(sorted(visitors)), tuple(sorted(clicks)))


def related_to(states: Mapping[ObjectKey, ObjectState], key: ObjectKey) -> list[ObjectKey]:
    """``key`` and all that says whom it is about: its contacts, its subscription, what it belongs to, and so on.

    At most ``_MAX_OBJECTS``; also objects of which ``states`` knows nothing.
    """
    seen: dict[ObjectKey, None] = {}
    waiting = [surviving(states, key)]
    while waiting and len(seen) < _MAX_OBJECTS:
        one = waiting.pop(0)
        if one in seen:
            continue
        seen[one] = None
        if (state := states.get(one)) is not None:
            waiting += [surviving(states, other) for other in pointers_of(state)]
    return list(seen)


def pointers_of(state: ObjectState) -> list[ObjectKey]:
    """Its contacts, its subscription, and what it belongs to."""
    key = state.key
    contacts: list[str] = []
    for name in sorted(state.registers):
        value = state.get(name)
        if name.startswith(CONTACT) and value is True:
            contacts.append(name[len(CONTACT) :])
        elif name.startswith(CONTACT_IN) and isinstance(value, str) and value:
            contacts.append(value)
    related = [key._replace(type=ObjectType.contact, id=id_) for id_ in dict.fromkeys(contacts)]
    if isinstance(subscription := state.get("subscription"), str):
        related.append(key._replace(type=ObjectType.subscription, id=subscription))
    kind, _, id_ = str(state.get("parent") or "").partition(":")
    if kind in ObjectType.__members__:
        related.append(key._replace(type=ObjectType(kind), id=id_))
    return related
