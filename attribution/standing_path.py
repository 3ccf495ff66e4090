"""The path that stands for a conversion, as reports on paths know it: read from its stored statement."""

from __future__ import annotations

from typing import NamedTuple

from attribution.ledger import (
    StoredBooked,
    StoredPath,
    UnreadableStatement,
    has_model,
    is_booked,
    read_path,
    read_statement,
)
from attribution.packing import channel_of, unpack_word

LEDGER_MODEL = "linear"
"""Under it every touchpoint that counts has a share, so entries of the ledger tell the path as well."""


class StandingPath(NamedTuple):
    """What a report on paths has to know of one conversion. Instants are epoch milliseconds, UTC."""

    conversion_type: str
    converted_at: int
    currency: str
    value_minor: int
    channels: tuple[str, ...]
    """Of every touchpoint that counts, in the order of time; none: nobody can be credited."""
    first_touch_at: int
    last_touch_at: int
    """Both of the conversion when there is no touchpoint."""


def standing_path(statement: bytes) -> StandingPath | None:
    """The path of a stored statement; None when its conversion does not stand (any more): reports on paths count those
    that do. Raises ``UnreadableStatement``.
    """
    stored = read_path(statement)
    if is_booked(stored):
        whole = read_statement(statement)
        if isinstance(whole, StoredBooked) and not (whole.bookings and whole.bookings[-1][3]):
            return None
    try:
        return _path_of(stored)
    except ValueError as error:
        raise UnreadableStatement(f"stored statement: {error}") from error


def _path_of(stored: StoredPath) -> StandingPath:
    at = stored.converted_at
    # The touch without id is nobody: it stands last where a model credits no touchpoint.
    touches = [(age, packed) for identity, age, packed, _ in stored.touches if identity]
    return StandingPath(
        unpack_word(stored.type),
        at,
        stored.currency,
        stored.value_minor,
        tuple([channel_of(packed) for _, packed in touches]),
        at - touches[0][0] if touches else at,
        at - touches[-1][0] if touches else at,
    )


def path_in_ledger(statement: bytes) -> StandingPath | None:
    """The path of a stored statement as far as the ledger tells it: of a time before paths had a table of their own.

    Raises ``UnreadableStatement``.
    """
    return standing_path(statement) if has_model(statement, LEDGER_MODEL) else None
