"""Entries of the ledger written out: as rows of ``credits`` and as objects of ``headwater.credits.v1``.

A conversion has some thirty entries that differ in three numbers. So what they share is written out once for each of
its touches, and an entry is a line of text around these numbers.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from attribution.ledger import (
    Move,
    Moves,
    StoredStatement,
    UnreadableStatement,
    entries_between,
    moves_between,
)
from attribution.money import format_amount
from attribution.packing import unpack_acquisition, unpack_word
from sinks.tables import ACQUISITION, WRITTEN
from streams.rows import Row, WrittenRow, credit_rows, format_ppb, write_row

CreditEntry = msgspec.defstruct("CreditEntry", [(name, Any) for name in WRITTEN["credits"]], gc=False)
"""A ledger row with its names: an object of ``headwater.credits.v1``."""

_encode = msgspec.json.Encoder().encode
_way_of = attrgetter(*ACQUISITION)


Why = tuple[str, str, int]
"""(cause, version of the policy, recorded_at in epoch milliseconds)."""


class Lines(NamedTuple):
    """The same entries twice."""

    rows: list[WrittenRow]
    """Of table ``credits``."""
    objects: list[bytes]
    """Of the topic."""
    is_same_path: bool
    """Terms, value and touches are those of before."""


def lines_between(
    site: str,
    conversion_id: str,
    old: bytes,
    new: bytes,
    why: Why,
    known: Moves | None = None,
) -> Lines:
    """The entries that lead from the stored statement ``old`` (b"" = none) to ``new``; ``known``: as numbers.

    They say what ``credit_rows`` says of ``entries_between``. Raises ``UnreadableStatement``.
    """
    if old == new:
        return Lines([], [], True)
    found = known or moves_between(old, new)
    if found is None:
        entries = entries_between(old, new)
        return lines_of(credit_rows(site, conversion_id, entries, *why))
    stored, moves = found
    try:
        writer = _Writer(site, conversion_id, stored, why)
        return Lines(*writer.lines(moves), is_same_path=bool(old))
    except (ValueError, IndexError) as error:
        raise UnreadableStatement(f"stored statement: {error}") from error


def lines_of(rows: list[Row]) -> Lines:
    """Rows that are there already, written out."""
    objects = [_encode(CreditEntry(*row)) for row in rows]
    return Lines([write_row(row) for row in rows], objects, is_same_path=False)


class _Writer:
    """Writes entries of one conversion. Each is: its model, what it says of the touch, its numbers, its instants."""

    def __init__(self, site: str, conversion_id: str, stored: StoredStatement, why: Why) -> None:
        self._currency = stored.currency
        self._site = _text(site)
        self._conversion = _text(conversion_id)
        terms = (_text(unpack_word(stored.type)), _text(stored.visitor_id))
        cause, policy, recorded_at = why
        last = (_text(stored.currency), _text(cause), _text(policy))
        at = stored.converted_at
        self._heads: list[tuple[str, str]] = []
        self._tails: list[tuple[str, str]] = []
        for identity, age, packed, page in stored.touches:
            rest, named = _way_texts(*_way_of(unpack_acquisition(packed)), page)
            who = (f'"{identity.hex()}"', *terms)
            self._heads.append((_row_head(*who) + rest, _object_head(*who) + named))
            instants = (at - age, at, recorded_at)
            self._tails.append((_row_tail(*last, *instants), _object_tail(*last, *instants)))

    def lines(self, moves: list[Move]) -> tuple[list[WrittenRow], list[bytes]]:
        """Rows and objects."""
        rows: list[WrittenRow] = []
        objects: list[bytes] = []
        currency, conversion, heads, tails = self._currency, self._conversion, self._heads, self._tails
        nothing = format_amount(0, currency)
        for model, changes, value_minor in moves:
            name = _text(model)
            row_start = f"[{self._site},{name},{conversion},"
            object_start = f'{{"site":{self._site},"model":{name},"conversion_id":{conversion},'
            value = format_amount(value_minor, currency)
            for place in range(0, len(changes), 3):
                index = changes[place]
                if index < 0:
                    raise IndexError("an entry of no touch")
                weight, amount = format_ppb(changes[place + 1]), format_amount(changes[place + 2], currency)
                head, tail = heads[index], tails[index]
                row = f'{row_start}{head[0]}"{weight}","{amount}","{value}",{tail[0]}'
                rows.append(msgspec.Raw(row.encode()))
                objects.append(
                    f'{object_start}{head[1]}"weight":"{weight}","amount":"{amount}",'
                    f'"conversion_value":"{value}",{tail[1]}'.encode()
                )
                value = nothing
        return rows, objects


def _text(value: str) -> str:
    """As JSON."""
    return _encode(value).decode()


def _row_head(touchpoint: str, type_: str, visitor: str) -> str:
    return f"{touchpoint},{type_},{visitor},"


def _object_head(touchpoint: str, type_: str, visitor: str) -> str:
    return f'"touchpoint_id":{touchpoint},"conversion_type":{type_},"visitor_id":{visitor},'


@lru_cache(maxsize=8192)
def _way_texts(*way: str) -> tuple[str, str]:
    """Channel to landing page, without and with names, each with a comma behind it."""
    texts = [_encode(word).decode() for word in way]
    names = (*ACQUISITION, "landing_page")
    named = (f'"{name}":{text},' for name, text in zip(names, texts, strict=True))
    return "".join(f"{text}," for text in texts), "".join(named)


def _row_tail(currency: str, cause: str, policy: str, touched: int, converted: int, recorded: int) -> str:
    return f"{currency},{cause},{policy},{touched},{converted},{recorded}]"


def _object_tail(currency: str, cause: str, policy: str, touched: int, converted: int, recorded: int) -> str:
    return (
        f'"currency":{currency},"cause":{cause},"policy_version":{policy},'
        f'"touched_at":{touched},"converted_at":{converted},"recorded_at":{recorded}}}'
    )
