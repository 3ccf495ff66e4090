"""The ledger: what stands credited for a conversion, and the signed entries from one statement to the next.

For every conversion and model, at every moment: the amounts add up to the conversion's value in minor units
and the weights to one, the unattributed entry included. Money is integers; shares are by largest remainder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import msgspec

from attribution.acquisition import Acquisition
from attribution.conversions import ConversionFact
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

_FORMAT = 1
_NO_SHARE = (0, 0)
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


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One signed row of the ledger."""

    model: str
    terms: Terms
    touch: CreditedTouch
    weight_ppb: int
    amount_minor: int
    conversion_value_minor: int
    """Change of the conversion's value, carried by one entry of a change and model only; else 0."""


class Statement(msgspec.Struct, frozen=True, gc=False):
    """What stands credited for one conversion."""

    terms: Terms
    value_minor: int
    touches: dict[str, CreditedTouch]
    """By ``touchpoint_id``, in time order; "" last, when some model credits nobody."""
    shares: dict[str, dict[str, Share]]
    """Model to ``touchpoint_id`` to what it gets; touches that get nothing are left out."""

    def to_bytes(self) -> bytes:
        """The stored form."""
        index = {touchpoint_id: number for number, touchpoint_id in enumerate(self.touches)}
        shares = [
            (
                pack_word(model),
                [
                    number
                    for touchpoint_id, part in parts.items()
                    for number in (index[touchpoint_id], part.weight_ppb, part.amount_minor)
                ],
            )
            for model, parts in self.shares.items()
        ]
        return pack_statement(self.terms, self.value_minor, self.touches.values(), shares)

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
        shares: dict[str, dict[str, Share]] = {}
        for model, numbers in stored.shares:
            triples = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
            parts = shares[unpack_word(model)] = {}
            for index, weight, amount in triples:
                if index < 0:
                    raise ValueError("a share of no touch")
                parts[touches[index].touchpoint_id] = Share(weight, amount)
        terms = Terms(unpack_word(stored.type), stored.visitor_id, stored.currency, stored.converted_at)
        return cls(terms, stored.value_minor, {touch.touchpoint_id: touch for touch in touches}, shares)


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


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StoredStatement).decode
_decode_path = msgspec.msgpack.Decoder(StoredPath).decode
_AsStored = TypeVar("_AsStored", bound=StoredPath)


def read_path(data: bytes) -> StoredPath:
    """What the statement that ``data`` stores begins with; the rest is not read. Raises ``UnreadableStatement``."""
    return _read(_decode_path, data)


def read_statement(data: bytes) -> StoredStatement:
    """The statement that ``data`` stores, as it is stored. Raises ``UnreadableStatement``."""
    return _read(_decode, data)


def _read(decode: Callable[[bytes], _AsStored], data: bytes) -> _AsStored:
    try:
        stored = decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableStatement(f"stored statement: {error}") from error
    if stored.format != _FORMAT:
        raise UnreadableStatement(f"stored statement: format {stored.format} is not {_FORMAT}")
    return stored


encode_statement: Callable[[StoredStatement], bytes] = _encode
"""The stored form."""


def has_model(data: bytes, model: str) -> bool:
    """Whether the statement that ``data`` stores credits by ``model``. Raises ``UnreadableStatement``."""
    return any(name == pack_word(model) for name, _ in read_statement(data).shares)


def pack_statement(
    terms: Terms, value_minor: int, touches: Iterable[CreditedTouch], shares: list[PackedShares]
) -> bytes:
    """The stored form of a statement. Triples count ``touches`` from 0 and leave out who gets nothing."""
    return encode_statement(
        StoredStatement(
            _FORMAT,
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
            shares,
        )
    )


class Move(NamedTuple):
    """What one model's entries say when terms and touches stay as they are."""

    model: str
    changes: list[int]
    """Flat triples: index of the touch, change of weight (billionths), change of amount (minor units)."""
    value_minor: int
    """Change of the conversion's value, which the first of the entries carries."""


class Moves(NamedTuple):
    """Entries from one statement to another as numbers."""

    stored: StoredStatement
    """Terms and touches that they are about; not its shares."""
    moves: list[Move]


def moves_between(old: bytes, new: bytes) -> Moves | None:
    """``entries_between`` as numbers.

    None where terms, value or touches differ, and entries have to be made one by one. Raises ``UnreadableStatement``.
    """
    after = read_statement(new)
    if not old:
        return Moves(after, moves_of([], after.shares, after.value_minor))
    before = read_statement(old)
    if _terms(before) != _terms(after):
        return None
    touches = _touches_of_both(before, after)
    if touches is None:
        return None
    after.touches = touches
    return Moves(after, moves_of(before.shares, after.shares, after.value_minor))


def moves_of(old: Sequence[PackedShares], new: Sequence[PackedShares], value_minor: int) -> list[Move]:
    """From what models gave of a conversion to what they give, of the same touches and the same value."""
    was, now = dict(old), dict(new)
    return [
        move
        for word in dict.fromkeys((*now, *was))
        if was.get(word) != now.get(word)
        for move in moves_of_model(word, was.get(word), now.get(word), value_minor)
    ]


def moves_of_model(
    word: int | str, taken: list[int] | None, given: list[int] | None, value_minor: int
) -> Iterator[Move]:
    """From what one model gave to what it gives, which is not the same. ``word``: the model as ``pack_word`` has it."""
    model = unpack_word(word)
    if taken and given:
        yield Move(model, _differences(taken, given), 0)
        return
    if taken:
        back = [-number if place % 3 else number for place, number in enumerate(taken)]
        yield Move(model, back, -value_minor)
    if given:
        yield Move(model, given, value_minor)


def _differences(taken: list[int], given: list[int]) -> list[int]:
    """Triples from one share-out of the same touches to another."""
    was = dict(zip(taken[::3], zip(taken[1::3], taken[2::3], strict=True), strict=True))
    now = dict(zip(given[::3], zip(given[1::3], given[2::3], strict=True), strict=True))
    changes: list[int] = []
    for index in was if was.keys() == now.keys() else dict.fromkeys((*was, *now)):
        old_weight, old_amount = was.get(index, _NO_SHARE)
        weight, amount = now.get(index, _NO_SHARE)
        if weight != old_weight or amount != old_amount:
            changes += (index, weight - old_weight, amount - old_amount)
    return changes


def entries_between(old: bytes, new: bytes) -> list[Entry]:
    """``entries`` from one stored statement (b"" = none) to another; equal bytes are not read at all.

    Raises ``UnreadableStatement``.
    """
    if old == new:
        return []
    return entries(Statement.from_bytes(old) if old else None, Statement.from_bytes(new))


def _terms(stored: StoredStatement) -> tuple[object, ...]:
    return (
        stored.type,
        stored.visitor_id,
        stored.currency,
        stored.converted_at,
        stored.value_minor,
    )


def _touches_of_both(before: StoredStatement, after: StoredStatement) -> list[StoredTouch] | None:
    """The same ones, but that only one of them may name nobody, who comes last; None when they differ otherwise."""
    fewer, more = sorted((before.touches, after.touches), key=len)
    if fewer == more or (len(more) == len(fewer) + 1 and not more[-1][0] and more[:-1] == fewer):
        return more
    return None


def credit(
    fact: ConversionFact, path: Path, policy: AttributionPolicy, models: Models | None = None
) -> Statement:
    """What every model of ``policy`` credits for ``fact``, the report that counts (``Conversion.winner``).

    ``models``: those of ``policy`` (``models_of``), to be given where it has learnt ones. Raises ``Misconfigured`` when
    the policy names an unknown model.
    """
    models = models_of(policy) if models is None else models
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


def entries(old: Statement | None, new: Statement) -> list[Entry]:
    """The signed entries that turn what ``old`` credited into what ``new`` credits; none when they agree.

    Unchanged touches get the difference only. When the terms, or a touch's own attributes, differ the old
    entry is taken back whole and the new one written. A model that ``new`` does not know is taken back.
    """
    if old is None:
        return [entry for model in new.shares for entry in _written(new, model, 1)]
    if old.terms != new.terms:
        return [
            entry
            for model in _models(old, new)
            for entry in (*_written(old, model, -1), *_written(new, model, 1))
        ]
    return [entry for model in _models(old, new) for entry in _difference(old, new, model)]


def _models(old: Statement, new: Statement) -> Iterable[str]:
    return dict.fromkeys((*new.shares, *old.shares))


def _written(statement: Statement, model: str, sign: int) -> Iterator[Entry]:
    """All entries of one model, written (+1) or taken back (-1); the first carries the value."""
    value = sign * statement.value_minor
    for touchpoint_id, part in statement.shares.get(model, {}).items():
        touch = statement.touches[touchpoint_id]
        yield Entry(model, statement.terms, touch, sign * part.weight_ppb, sign * part.amount_minor, value)
        value = 0


def _difference(old: Statement, new: Statement, model: str) -> Iterator[Entry]:
    """The entries of one model when the terms are the same. The first carries the change of the value."""
    before, after = old.shares.get(model, {}), new.shares.get(model, {})
    if not before or not after:
        yield from _written(old, model, -1)
        yield from _written(new, model, 1)
        return
    value = new.value_minor - old.value_minor
    for touch, weight, amount in _moved(old, new, before, after):
        yield Entry(model, new.terms, touch, weight, amount, value)
        value = 0


def _moved(
    old: Statement, new: Statement, before: dict[str, Share], after: dict[str, Share]
) -> Iterator[tuple[CreditedTouch, int, int]]:
    """(touch, change of weight, change of amount) for each entry that one model needs."""
    for touchpoint_id in dict.fromkeys((*before, *after)):
        was, now = before.get(touchpoint_id), after.get(touchpoint_id)
        if was and now and old.touches[touchpoint_id] == new.touches[touchpoint_id]:
            weight, amount = now.weight_ppb - was.weight_ppb, now.amount_minor - was.amount_minor
            if weight or amount:
                yield new.touches[touchpoint_id], weight, amount
            continue
        if was:
            yield old.touches[touchpoint_id], -was.weight_ppb, -was.amount_minor
        if now:
            yield new.touches[touchpoint_id], now.weight_ppb, now.amount_minor
