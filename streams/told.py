"""What tables and topics are told of a conversion that was credited again: the rows of its corrections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from attribution.conversions import ConversionFact
from sinks.tables import WRITTEN
from streams.ledger_lines import lines_between, lines_of
from streams.recredit import Correction
from streams.rows import Row, WrittenRow, conversion_row, path_row

NEVER_STOOD = "never_stood"
"""The cause of rows that tell of a conversion that did not stand any more: now it never did, as far as is known."""
TABLES = ("conversions", "paths", "credits")


class Told(NamedTuple):
    """Rows of one conversion."""

    conversion_id: str
    conversions: list[Row]
    paths: list[Row]
    credits: list[WrittenRow]
    objects: list[bytes]
    """The ledger's rows once more, for ``headwater.credits.v1``."""

    def of(self, table: str) -> Sequence[Row | WrittenRow]:
        """Its rows of one of ``TABLES``."""
        if table == "credits":
            return self.credits
        return self.conversions if table == "conversions" else self.paths


def told(corrections: Sequence[Correction]) -> Told:
    """The rows of all corrections of one conversion, of which there is at least one."""
    new = corrections[-1].new
    found = Told(new.conversion_id, [], [], [], [])
    for correction in corrections:
        _tell(correction, found)
    return found


def _tell(correction: Correction, found: Told) -> None:
    old, new, cause, recorded_at = correction.old, correction.new, correction.cause, correction.recorded_at
    before, after = correction.old_statement, correction.after.statement
    why = (cause, correction.policy, recorded_at)
    lines = lines_between(new.site, new.conversion_id, before, after, why, correction.moves)
    found.credits.extend(lines.rows)
    found.objects.extend(lines.objects)
    if old != new:
        # What does not stand (any more) has no row that is not taken back; nor is one written that says the same again.
        given = conversion_row(new, 1, cause, recorded_at) if new.number else None
        taken = conversion_row(old, 1, cause, recorded_at) if old is not None and old.number else None
        if old is not None and taken is not None and (given != taken or not new.is_told):
            found.conversions.append(conversion_row(old, -1, cause, recorded_at))
        if given is not None and (given != taken or not new.is_told):
            found.conversions.append(given)
        if given is None and taken is None:
            over, was = _over(new, recorded_at), _over(old, recorded_at) if old is not None else None
            if over != was:
                # Neither stands. Its rows tell why: it has entries that may be restated, and it has been at its stage.
                gone = NEVER_STOOD if over is None else new.bookings[-1].cause
                found.conversions.extend(conversion_row(new, sign, gone, recorded_at) for sign in (1, -1))
    if lines.is_same_path and correction.before is not None and correction.before.has_path:
        return
    old_path, new_path = correction.old_path, correction.new_path
    if old_path != new_path:
        if old_path is not None:
            found.paths.append(path_row(new.site, new.conversion_id, old_path, -1, recorded_at))
        if new_path is not None:
            found.paths.append(path_row(new.site, new.conversion_id, new_path, 1, recorded_at))


def _over(fact: ConversionFact, recorded_at: int) -> Row | None:
    """What is known of a conversion that does not stand any more; ``None`` = it never did."""
    return conversion_row(fact, -1, fact.bookings[-1].cause, recorded_at) if fact.bookings else None


def told_in_rows(rows: Mapping[str, Sequence[Row]]) -> list[Told]:
    """The same of rows by table, as a former Headwater kept them."""
    found: dict[str, Told] = {}
    for table in TABLES:
        place = WRITTEN[table].index("conversion_id")
        by_id: dict[str, list[Row]] = {}
        for row in rows.get(table, ()):
            by_id.setdefault(row[place], []).append(row)
        for conversion_id, its_rows in by_id.items():
            its = found.setdefault(conversion_id, Told(conversion_id, [], [], [], []))
            if table == "credits":
                lines = lines_of([_dated(row) for row in its_rows])
                its.credits.extend(lines.rows)
                its.objects.extend(lines.objects)
            elif table == "conversions":
                its.conversions.extend(_named(row) for row in its_rows)
            else:
                its.paths.extend(its_rows)
    return list(found.values())


def _dated(row: Row) -> Row:
    """With the instant of its booking, which rows of former versions do not have: that of the conversion."""
    columns = WRITTEN["credits"]
    return (*row, row[columns.index("converted_at")]) if len(row) < len(columns) else row


def _named(row: Row) -> Row:
    """With the ids of a sender, which rows of former versions do not have: they were of hits."""
    return (*row, ()) if len(row) < len(WRITTEN["conversions"]) else row


def rows_of(all_told: Iterable[Told]) -> dict[str, list[Row | WrittenRow]]:
    """Everything by table."""
    all_told = list(all_told)
    return {table: [row for one in all_told for row in one.of(table)] for table in TABLES}
