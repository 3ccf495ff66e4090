"""The ledger: what stands credited for a conversion.

For every conversion and model, at every moment: the amounts add up to the conversion's value in minor units
and the weights to one (to nothing while it does not stand), the unattributed entry included. Money is integers; shares
are by largest remainder. The entries that lead from one statement to the next are in ``attribution.entries``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

import msgspec

from attribution.acquisition import Acquisition
from attribution.conversions import CONVERSION, BookedValue, ConversionFact
from attribution.errors import HeadwaterError
from attribution.learnt.applied import Models, models_of
from attribution.missing import missing_of
from attribution.models import Parts
from attribution.money import share_by_parts
from attribution.packing import Packed, pack_acquisition, pack_word, unpack_acquisition, unpack_word
from attribution.paths import Path
from attribution.policy import AttributionPolicy

WEIGHT_ONE = 1_000_000_000
"""A whole conversion in the ledger's unit of weight (billionths: ``Decimal(18, 9)``)."""

_PLAIN, _BOOKED = 1, 2
"""Formats of stored statements: without bookings and with them."""
_RECURRING = 1 << 32
"""Parts that add up to less are small numbers that follow from positions."""


class UnreadableStatement(HeadwaterError):
    """Stored bytes are no statement of a format this version knows: stop, do not guess."""


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What all entries of a conversion share. When any of it changes every entry is written anew."""

    conversion_type: str
    visitor_id: str
    """Visitor of the report that counts."""
    currency: str
    converted_at: int
    """Epoch milliseconds, UTC."""


class CreditedTouch(msgspec.Struct, frozen=True, gc=False):
    """Who gets credit: a touchpoint, or nobody (``touchpoint_id`` "", channel ``(unattributed)``)."""

    touchpoint_id: str
    touched_at: int
    """Epoch milliseconds, UTC; of the conversion when unattributed."""
    acquisition: Acquisition
    landing_page: str


class Share(msgspec.Struct, frozen=True, gc=False):
    """What one touch is credited with under one model."""

    weight_ppb: int
    """Billionths of the conversion."""
    amount_minor: int


class Booked(msgspec.Struct, frozen=True, gc=False):
    """What stood credited from the instant of a booking on."""

    booked_at: int
    """Epoch milliseconds, UTC."""
    cause: str
    value_minor: int
    number: int
    """1 = the conversion stood, 0 = it did not."""
    shares: dict[str, dict[str, Share]]
    """As ``Statement.shares``."""


class Statement(msgspec.Struct, frozen=True, gc=False):
    """What stands credited for one conversion."""

    terms: Terms
    value_minor: int
    touches: dict[str, CreditedTouch]
    """By ``touchpoint_id``, in time order; "" last, when some model credits nobody."""
    shares: dict[str, dict[str, Share]]
    """Model to ``touchpoint_id`` to what it gets; touches that get nothing are left out."""
    booked: tuple[Booked, ...] | None = None
    """In order of time; the last one is what stands. None = a hit reported it: it is worth the same from then on."""

    @property
    def as_booked(self) -> tuple[Booked, ...]:
        """The same of a conversion without bookings: one, at its instant."""
        if self.booked is not None:
            return self.booked
        return (Booked(self.terms.converted_at, CONVERSION, self.value_minor, 1, self.shares),)

    def to_bytes(self) -> bytes:
        """The stored form."""
        index = {touchpoint_id: number for number, touchpoint_id in enumerate(self.touches)}
        shares = _pack_shares(self.shares, index)
        if self.booked is None:
            return pack_statement(self.terms, self.value_minor, self.touches.values(), shares)
        last = len(self.booked) - 1
        return encode_statement(
            StoredBooked(
                *_stored_path(_BOOKED, self.terms, self.value_minor, self.touches.values()),
                shares,
                [
                    (
                        one.booked_at,
                        one.cause,
                        one.value_minor,
                        one.number,
                        [] if number == last else _pack_shares(one.shares, index),
                    )
                    for number, one in enumerate(self.booked)
                ],
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Statement:
        """The statement that ``to_bytes`` stored. Raises ``UnreadableStatement``."""
        stored = read_statement(data)
        try:
            return cls._restored(stored)
        except (ValueError, IndexError) as error:
            raise UnreadableStatement(f"stored statement: {error}") from error

    @classmethod
    def _restored(cls, stored: StoredStatement) -> Statement:
        touches = [
            CreditedTouch(identity.hex(), stored.converted_at - age, unpack_acquisition(packed), landing_page)
            for identity, age, packed, landing_page in stored.touches
        ]
        shares = _unpack_shares(stored.shares, touches)
        booked = None
        if isinstance(stored, StoredBooked):
            booked = tuple(
                Booked(at, cause, value, number, _unpack_shares(packed, touches) if packed else shares)
                for at, cause, value, number, packed in stored.bookings
            )
        terms = Terms(unpack_word(stored.type), stored.visitor_id, stored.currency, stored.converted_at)
        return cls(
            terms, stored.value_minor, {touch.touchpoint_id: touch for touch in touches}, shares, booked
        )


def _pack_shares(shares: dict[str, dict[str, Share]], index: dict[str, int]) -> list[PackedShares]:
    return [
        (
            pack_word(model),
            [
                number
                for touchpoint_id, part in parts.items()
                for number in (index[touchpoint_id], part.weight_ppb, part.amount_minor)
            ],
        )
        for model, parts in shares.items()
    ]


def _unpack_shares(
    packed: Iterable[PackedShares], touches: Sequence[CreditedTouch]
) -> dict[str, dict[str, Share]]:
    shares: dict[str, dict[str, Share]] = {}
    for model, numbers in packed:
        triples = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
        parts = shares[unpack_word(model)] = {}
        for index, weight, amount in triples:
            if index < 0:
                raise ValueError("a share of no touch")
            parts[touches[index].touchpoint_id] = Share(weight, amount)
    return shares


PackedShares = tuple[int | str, list[int]]
"""(model as ``pack_word`` has it, flat triples of touch index, weight, amount)."""


StoredTouch = tuple[bytes, int, Packed, str]
"""(touchpoint id, milliseconds before the conversion, acquisition, landing page)."""


class StoredPath(msgspec.Struct, array_like=True, gc=False):
    """What a stored statement begins with: all but who gets what."""

    format: int
    type: int | str
    visitor_id: str
    currency: str
    converted_at: int
    value_minor: int
    touches: list[StoredTouch]


class StoredStatement(StoredPath, array_like=True, gc=False):
    """The MessagePack form of a statement."""

    shares: list[PackedShares]


class StoredBooked(StoredStatement, array_like=True, gc=False):
    """The MessagePack form of a statement with bookings."""

    bookings: list[tuple[int, str, int, int, list[PackedShares]]]
    """(instant, cause, value, number, shares from then on; of the last one [], they are the statement's own)."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredStatement).decode
_decode_booked = msgspec.msgpack.Decoder(StoredBooked).decode
_decode_path = msgspec.msgpack.Decoder(StoredPath).decode
_AsStored = TypeVar("_AsStored", bound=StoredPath)


def read_path(data: bytes) -> StoredPath:
    """What the statement that ``data`` stores begins with; the rest is not read. Raises ``UnreadableStatement``."""
    return _read(_decode_path, data)


def read_statement(data: bytes) -> StoredStatement:
    """The statement that ``data`` stores, as it is stored. Raises ``UnreadableStatement``."""
    stored = _read(_decode, data)
    return _read(_decode_booked, data) if is_booked(stored) else stored


def _read(decode: Callable[[bytes], _AsStored], data: bytes) -> _AsStored:
    try:
        stored = decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableStatement(f"stored statement: {error}") from error
    if stored.format not in (_PLAIN, _BOOKED):
        raise UnreadableStatement(f"stored statement: format {stored.format} is not known")
    return stored


def is_booked(stored: StoredPath) -> bool:
    """Whether the statement that begins so has bookings."""
    return stored.format == _BOOKED


encode_statement: Callable[[StoredStatement], bytes] = _encode
"""The stored form."""


def has_model(data: bytes, model: str) -> bool:
    """Whether the statement that ``data`` stores credits by ``model``. Raises ``UnreadableStatement``."""
    return any(name == pack_word(model) for name, _ in read_statement(data).shares)


def pack_statement(
    terms: Terms, value_minor: int, touches: Iterable[CreditedTouch], shares: list[PackedShares]
) -> bytes:
    """The stored form of a statement. Triples count ``touches`` from 0 and leave out who gets nothing."""
    return encode_statement(StoredStatement(*_stored_path(_PLAIN, terms, value_minor, touches), shares))


def _stored_path(
    format_: int, terms: Terms, value_minor: int, touches: Iterable[CreditedTouch]
) -> tuple[int, int | str, str, str, int, int, list[StoredTouch]]:
    """The fields of a ``StoredPath``."""
    return (
        format_,
        pack_word(terms.conversion_type),
        terms.visitor_id,
        terms.currency,
        terms.converted_at,
        value_minor,
        [
            (
                bytes.fromhex(touch.touchpoint_id),
                terms.converted_at - touch.touched_at,
                pack_acquisition(touch.acquisition),
                touch.landing_page,
            )
            for touch in touches
        ],
    )


def credit(
    fact: ConversionFact, path: Path, policy: AttributionPolicy, models: Models | None = None
) -> Statement:
    """What every model of ``policy`` credits for ``fact``, the report that counts (``Conversion.winner``).

    ``models``: those of ``policy`` (``models_of``), to be given where it has learnt ones. Raises ``Misconfigured`` when
    the policy names an unknown model.
    """
    models = models_of(policy) if models is None else models
    if fact.is_told:
        return _credit_booked(fact, path, policy, models)
    value = fact.value_minor or 0
    terms = Terms(fact.type, fact.visitor_id, fact.currency, fact.occurred_at)
    nobody = {"": nobody_of(fact, path)}
    to_nobody = {"": Share(WEIGHT_ONE, value)}
    if not path.touchpoints:
        return Statement(terms, value, nobody, {name: to_nobody for name, _ in models})
    touches = {
        touch.touchpoint_id: CreditedTouch(
            touch.touchpoint_id, touch.touched_at, touch.acquisition, touch.landing_page
        )
        for touch in path.touchpoints
    }
    ids = list(touches)
    shares = {name: _shares(value, ids, divide(path, policy)) or to_nobody for name, divide in models}
    if any(parts is to_nobody for parts in shares.values()):
        touches |= nobody
    return Statement(terms, value, touches, shares)


def _credit_booked(fact: ConversionFact, path: Path, policy: AttributionPolicy, models: Models) -> Statement:
    """The path is divided once, and each booking's value by the same parts: no cent is lost from one to the next."""
    touches = {
        touch.touchpoint_id: CreditedTouch(
            touch.touchpoint_id, touch.touched_at, touch.acquisition, touch.landing_page
        )
        for touch in path.touchpoints
    }
    ids = list(touches)
    parts = {name: divide(path, policy) if ids else () for name, divide in models}
    if not all(map(any, parts.values())):
        touches[""] = nobody_of(fact, path)
    booked = tuple(
        Booked(
            one.booked_at,
            one.cause,
            one.value_minor,
            one.number,
            {name: _shares_of(one, ids, its) for name, its in parts.items()},
        )
        for one in fact.bookings
    )
    terms = Terms(fact.type, fact.visitor_id, fact.currency, fact.occurred_at)
    shares = booked[-1].shares if booked else {name: {} for name in parts}
    return Statement(terms, fact.net_minor, touches, shares, booked)


def _shares_of(booked: BookedValue, touchpoint_ids: list[str], parts: Parts) -> dict[str, Share]:
    """What each touch gets from a booking on, or nobody; of a conversion that does not stand no weight."""
    whole = booked.number * WEIGHT_ONE
    if not any(parts):
        touchpoint_ids, parts = [""], (1,)
    shared = zip(
        touchpoint_ids, share_by_parts(whole, parts), share_by_parts(booked.value_minor, parts), strict=True
    )
    return {identity: Share(weight, amount) for identity, weight, amount in shared if weight or amount}


def nobody_of(fact: ConversionFact, path: Path) -> CreditedTouch:
    """Who gets the credit of ``fact`` under a model that credits no touch of ``path``: nobody, and why."""
    missing = missing_of(
        has_consent=fact.has_consent, is_known=path.is_known, has_path=bool(path.touchpoints)
    )
    return CreditedTouch("", fact.occurred_at, missing.acquisition, "")


def _shares(value: int, touchpoint_ids: list[str], parts: Parts) -> dict[str, Share]:
    """What each touch gets of ``value`` and of the whole conversion; those that get nothing are left out."""
    whole = sum(parts)
    if whole == 0:
        return {}
    if whole == 1:  # half of the models give all to one; no need to divide
        return {touchpoint_ids[parts.index(1)]: Share(WEIGHT_ONE, value)}
    # Parts by position come again with every path of that length; those by age hardly ever.
    weights = _weights_of(parts) if whole < _RECURRING else share_by_parts(WEIGHT_ONE, parts)
    shared = zip(touchpoint_ids, weights, share_by_parts(value, parts), strict=True)
    return {identity: Share(weight, amount) for identity, weight, amount in shared if weight or amount}


@lru_cache(maxsize=8192)
def _weights_of(parts: Parts) -> tuple[int, ...]:
    return tuple(share_by_parts(WEIGHT_ONE, parts))
