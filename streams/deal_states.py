"""What the deals stage keeps in Redis: objects by key, names to keys, and what was told of each conversion.

All of it belongs to one partition and is written by its owner's commits only. It is never given up: a deal may close
after years.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from attribution.conversions import ConversionFact
from attribution.deals.facts import ObjectFact, ObjectKey, ObjectState, ObjectType, Register, told
from attribution.deals.families import found_by, name_of_contact, names_of
from attribution.deals.identities import pointers_of
from streams.fence import Fence
from streams.topics import deal_names_key, deal_objects_key, deal_told_key

_MAX_OTHERS = 4_096
"""Contacts and what they point to that are read for one batch at most; their number has no bound of its own."""


class KeptObject(msgspec.Struct, array_like=True, frozen=True):
    """``ObjectState`` as it is stored."""

    registers: dict[str, tuple[Register, ...]]
    truncated: tuple[str, ...] = ()


class KeptTold(msgspec.Struct, array_like=True, frozen=True):
    """The last that credit was told of a conversion."""

    fact: ConversionFact
    clicks: tuple[tuple[str, str], ...] = ()
    """(click parameter, value) of whom it is about."""


_pack = msgspec.msgpack.Encoder(order="deterministic").encode
_object_of = msgspec.msgpack.Decoder(KeptObject).decode
_key_of = msgspec.msgpack.Decoder(tuple[str, str, str, str]).decode
_keys_of = msgspec.msgpack.Decoder(list[tuple[str, str, str, str]]).decode
pack_told = msgspec.msgpack.Encoder().encode
told_from = msgspec.msgpack.Decoder(KeptTold).decode


def field_of(key: ObjectKey) -> bytes:
    """The field of an object."""
    return _pack(tuple(key))


def key_from(field: bytes) -> ObjectKey:
    """Inverse of ``field_of``."""
    return _key(_key_of(field))


def pack_object(state: ObjectState) -> bytes:
    """The stored form: equal for equal sets of facts."""
    return _pack(KeptObject(dict(sorted(state.registers.items())), state.truncated))


def object_from(key: ObjectKey, packed: bytes) -> ObjectState:
    """Inverse of ``pack_object``."""
    kept = _object_of(packed)
    return ObjectState(key, kept.registers, kept.truncated)


def pack_keys(keys: Iterable[ObjectKey]) -> bytes:
    """The objects of a name; b"" when there are none."""
    found = sorted(keys)
    return _pack([tuple(key) for key in found]) if found else b""


def _key(parts: tuple[str, str, str, str]) -> ObjectKey:
    site, source, type_, id_ = parts
    return ObjectKey(site, source, ObjectType(type_), id_)


class Gathered(NamedTuple):
    """All that some facts concern: whole families before and after them."""

    before: Mapping[ObjectKey, ObjectState]
    after: Mapping[ObjectKey, ObjectState]
    others: Mapping[ObjectKey, ObjectState]
    """Contacts and what else says whom a family is about, of other families."""
    objects: Mapping[bytes, bytes]
    """Fields that the facts change."""
    names: Mapping[bytes, bytes]
    """Likewise; b"" = nobody has that name any more."""


class DealStates:
    """The states of one owned partition. Every read raises ``Fenced`` when the store was set back."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence
        self._objects = deal_objects_key(fence.partition)
        self._names = deal_names_key(fence.partition)
        self._told = deal_told_key(fence.partition)

    async def gather(self, facts: Mapping[ObjectKey, Sequence[ObjectFact]]) -> Gathered:
        """Read what ``facts`` (by object) concern, and add them to it."""
        before: dict[ObjectKey, ObjectState] = {}
        after: dict[ObjectKey, ObjectState] = {}
        filed: dict[str, frozenset[ObjectKey]] = {}
        known: set[ObjectKey] = set()
        new = sorted(facts)
        while new:
            known.update(new)
            before |= await self._read_objects(new)
            walked: set[str] = set()
            for key in new:
                state = before.get(key)
                for fact in facts.get(key, ()):
                    state = told(state, fact)
                if state is not None:
                    after[key] = state
                # What is told of a contact is told of whoever is about it.
                walked |= {name_of_contact(key)} if key.type is ObjectType.contact else set()
                for one in (before.get(key), state):
                    walked |= names_of(one) if one is not None else frozenset()
            wanted = sorted(walked - filed.keys())
            filed |= await self._read_names(wanted)
            new = sorted({key for name in wanted for key in filed[name]} - known)
        others = await self._read_others(after)
        changed = [key for key in sorted(facts) if after.get(key) != before.get(key)]
        names = await self._renamed(changed, before, after, filed)
        return Gathered(
            before, after, others, {field_of(key): pack_object(after[key]) for key in changed}, names
        )

    async def replaced(
        self,
        changed: Sequence[ObjectKey],
        before: Mapping[ObjectKey, ObjectState],
        after: Mapping[ObjectKey, ObjectState],
    ) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """Fields of objects and names that make ``changed`` what they are in ``after``; b"" = gone."""
        objects = {field_of(key): pack_object(after[key]) if key in after else b"" for key in changed}
        return objects, await self._renamed(changed, before, after, {})

    async def everything(self) -> dict[ObjectKey, ObjectState]:
        """Every object."""
        found = await self._fence.store.fields(self._objects)
        return {(key := key_from(field)): object_from(key, packed) for field, packed in found.items()}

    async def told(self, conversion_ids: Iterable[str]) -> dict[str, KeptTold]:
        """What credit was told of these, as far as it was told anything."""
        ids = sorted(conversion_ids)
        values = await self._fence.read_fields(self._told, ids)
        return {i: told_from(value) for i, value in zip(ids, values, strict=True) if value}

    async def all_told(self) -> dict[str, KeptTold]:
        """Everything that credit was told."""
        found = await self._fence.store.fields(self._told)
        return {field.decode(): told_from(value) for field, value in found.items()}

    async def _read_objects(self, keys: Sequence[ObjectKey]) -> dict[ObjectKey, ObjectState]:
        values = await self._fence.read_fields(self._objects, [field_of(key) for key in keys])
        return {
            key: object_from(key, value) for key, value in zip(keys, values, strict=True) if value is not None
        }

    async def _read_names(self, names: Sequence[str]) -> dict[str, frozenset[ObjectKey]]:
        values = await self._fence.read_fields(self._names, list(names))
        return {
            name: frozenset(map(_key, _keys_of(value))) if value else frozenset()
            for name, value in zip(names, values, strict=True)
        }

    async def _read_others(self, states: Mapping[ObjectKey, ObjectState]) -> dict[ObjectKey, ObjectState]:
        others: dict[ObjectKey, ObjectState] = {}
        known = set(states)
        new = _pointed_at(states.values()) - known
        while new and len(known) < len(states) + _MAX_OTHERS:
            found = await self._read_objects(sorted(new))
            others |= found
            known |= new
            new = _pointed_at(found.values()) - known
        return others

    async def _renamed(
        self,
        changed: Sequence[ObjectKey],
        before: Mapping[ObjectKey, ObjectState],
        after: Mapping[ObjectKey, ObjectState],
        filed: Mapping[str, frozenset[ObjectKey]],
    ) -> dict[bytes, bytes]:
        gone: dict[str, set[ObjectKey]] = {}
        come: dict[str, set[ObjectKey]] = {}
        for key in changed:
            old = found_by(before[key]) if key in before else frozenset()
            new = found_by(after[key]) if key in after else frozenset()
            for name in old - new:
                gone.setdefault(name, set()).add(key)
            for name in new - old:
                come.setdefault(name, set()).add(key)
        names = sorted({*gone, *come})
        known = {**await self._read_names([name for name in names if name not in filed]), **filed}
        return {
            name.encode(): pack_keys((known[name] - gone.get(name, set())) | come.get(name, set()))
            for name in names
        }


def _pointed_at(states: Iterable[ObjectState]) -> set[ObjectKey]:
    """What says whom ``states`` are about, and what has become of it."""
    found: set[ObjectKey] = set()
    for state in states:
        found.update(pointers_of(state))
        if isinstance(into := state.get("merged_into"), str):
            found.add(state.key._replace(id=into))
    return found
