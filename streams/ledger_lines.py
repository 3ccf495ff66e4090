"""Entries of the ledger written out: as rows of ``credits`` and as objects of ``headwater.credits.v1``.

A conversion has some thirty entries that differ in three numbers. So what they share is written out once for each of
its touches, and an entry is a line of text around these numbers.
"""

from __future__ import annotations

from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from attribution.entries import entries_between
from attribution.ledger import StoredStatement, UnreadableStatement
from attribution.money import currency_of
from attribution.moves import Move, Moves, moves_between
from attribution.packing import unpack_acquisition, unpack_word
from sinks.tables import ACQUISITION, WRITTEN
from streams.rows import PPB_DIGITS, Row, WrittenRow, credit_rows, write_row

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
        self._currency = currency = stored.currency
        self._site = _text(site)
        self._conversion = _text(conversion_id)
        type_, visitor = _text(unpack_word(stored.type)), _text(stored.visitor_id)
        cause, policy = _text(why[0]), _text(why[1])
        at = stored.converted_at
        row_terms, object_terms = f"{type_},{visitor},", f'"conversion_type":{type_},"visitor_id":{visitor},'
        row_why = f"{_text(currency)},{cause},{policy},"
        object_why = f'"currency":{_text(currency)},"cause":{cause},"policy_version":{policy},"touched_at":'
        # They have no bookings: each counts at the instant of the conversion.
        row_end = f",{at},{why[2]},{at}]"
        object_end = f',"converted_at":{at},"recorded_at":{why[2]},"booked_at":{at}}}'
        self._touches = [
            (
                f'"{identity.hex()}",{row_terms}{way[0]}',
                f'"touchpoint_id":"{identity.hex()}",{object_terms}{way[1]}',
                f"{row_why}{at - age}{row_end}",
                f"{object_why}{at - age}{object_end}",
            )
            for identity, age, packed, page in stored.touches
            for way in (_way_texts(*_way_of(unpack_acquisition(packed)), page),)
        ]

    def lines(self, moves: list[Move]) -> tuple[list[WrittenRow], list[bytes]]:
        """Rows and objects."""
        rows: list[WrittenRow] = []
        objects: list[bytes] = []
        touches, digits = self._touches, currency_of(self._currency).exponent
        nothing = _decimal(0, digits)
        for model, changes, value_minor in moves:
            name = _text(model)
            row_start = f"[{self._site},{name},{self._conversion},"
            object_start = f'{{"site":{self._site},"model":{name},"conversion_id":{self._conversion},'
            value = _decimal(value_minor, digits)
            for index, weight_ppb, amount_minor in zip(
                changes[::3], changes[1::3], changes[2::3], strict=True
            ):
                if index < 0:
                    raise IndexError("an entry of no touch")
                row, named, row_end, named_end = touches[index]
                weight, amount = _decimal(weight_ppb, PPB_DIGITS), _decimal(amount_minor, digits)
                rows.append(
                    msgspec.Raw(f'{row_start}{row}"{weight}","{amount}","{value}",{row_end}'.encode())
                )
                objects.append(
                    f'{object_start}{named}"weight":"{weight}","amount":"{amount}",'
                    f'"conversion_value":"{value}",{named_end}'.encode()
                )
                value = nothing
        return rows, objects


def _decimal(units: int, digits: int) -> str:
    """Whole units as text with so many decimals. Entries of a time decay have numbers that hardly ever come again."""
    if not digits:
        return str(units)
    text = str(abs(units)).rjust(digits + 1, "0")
    return f"{'-' if units < 0 else ''}{text[:-digits]}.{text[-digits:]}"


def _text(value: str) -> str:
    """As JSON."""
    return _encode(value).decode()


@lru_cache(maxsize=8192)
def _way_texts(*way: str) -> tuple[str, str]:
    """Channel to landing page, without and with names, each with a comma behind it."""
    texts = [_text(word) for word in way]
    names = (*ACQUISITION, "landing_page")
    named = (f'"{name}":{text},' for name, text in zip(names, texts, strict=True))
    return "".join(f"{text}," for text in texts), "".join(named)
