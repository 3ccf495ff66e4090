"""Entries of the ledger as numbers, where two statements say who gets how much of the same touches and the same value.

That is what a restatement changes, of millions of conversions; everything else is done entry by entry
(``attribution.entries``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from attribution.ledger import PackedShares, StoredBooked, StoredStatement, StoredTouch, read_statement
from attribution.packing import unpack_word

_NO_SHARE = (0, 0)


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

    None where terms, value or touches differ, or there are bookings, and entries have to be made one by one. Raises
    ``UnreadableStatement``.
    """
    after = read_statement(new)
    if isinstance(after, StoredBooked):
        return None
    if not old:
        return Moves(after, moves_of([], after.shares, after.value_minor))
    before = read_statement(old)
    if isinstance(before, StoredBooked) or _terms(before) != _terms(after):
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
