"""Reports read together: histories first, then every report's rows, summed to one fact for each key."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction

import msgspec

from attribution.errors import Rejected
from attribution.spend.actions import Actions
from attribution.spend.cells import is_empty
from attribution.spend.fact import SpendFact
from attribution.spend.histories import Histories
from attribution.spend.rows import Assumed, Row, RowReader
from attribution.spend.sheet import BadCell, Record, ReportFile, Sheet, open_sheet

Place = tuple[str, str, date]
"""(ad network, currency, day)."""
_WORDS_OF_A_FOOTER = 3
_TOTAL = re.compile(r"total(?::.*)?", re.IGNORECASE)


@dataclass
class FileReading:
    """Where the records of one file ended: ``records`` = ``used`` + all of ``dropped`` + ``bad``."""

    name: str
    format: str = ""
    """Name of the recognised format; empty if none."""
    records: int = 0
    used: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason: ``total``, ``footer``, ``repeated``, ``superseded``, ``other_action``, ``action_without_spend``."""
    bad: int = 0
    bad_cells: list[BadCell] = field(default_factory=list)
    facts: int = 0
    rounded: int = 0
    """Rows whose cost had more than six decimals, each by half a micro at most."""
    empty: Counter[str] = field(default_factory=Counter)
    """Cells without a figure, by field, in columns that the file has."""
    costs: dict[Place, Fraction] = field(default_factory=dict)
    """Costs of the used rows as written, in major units: the file's side of the reconciliation."""

    @property
    def balances(self) -> bool:
        """Every record ended in exactly one place."""
        return self.records == self.used + self.dropped.total() + self.bad


@dataclass
class Reading:
    """All that was read: of each file one fact for each key, and where its records ended."""

    facts: list[SpendFact]
    files: list[FileReading]

    @property
    def bad_cells(self) -> list[BadCell]:
        """Of all files. Who wants all or nothing takes no fact while this is not empty."""
        return [cell for file in self.files for cell in file.bad_cells]


def read_reports(files: Sequence[ReportFile], assumed: Mapping[str, Assumed] | None = None) -> Reading:
    """Read ``files`` (reports, histories, actions in any order). ``assumed`` is by ad network, "" for all others.

    A bad row costs itself only; a file that is recognised as none has one bad cell (its header) and no facts. Never
    raises for what a file holds; ``Rejected`` for an unknown currency or time zone in ``assumed``.
    """
    readings = [FileReading(file.name) for file in files]
    sheets: list[tuple[FileReading, Sheet]] = []
    for file, reading in zip(files, readings, strict=True):
        try:
            sheet = open_sheet(file)
        except Rejected as rejected:
            reading.bad_cells.append(BadCell(file.name, 1, "", "", rejected.reason, rejected.message))
            continue
        reading.format = sheet.layout.format.name
        sheets.append((reading, sheet))
    known = assumed or {}
    histories, actions = Histories(), Actions()
    for reading, sheet in _of_kind(sheets, "history"):
        _read_history(reading, sheet, histories)
    for reading, sheet in _of_kind(sheets, "actions"):
        actions.read(reading, sheet)
    facts: list[SpendFact] = []
    for reading, sheet in _of_kind(sheets, "report", "export", "commissions", "plain"):
        reader = RowReader(sheet, histories, known)
        facts.extend(actions.added_to(fact) for fact in _read_report(reading, sheet, reader))
    actions.settle()
    return Reading(facts, readings)


def _of_kind(sheets: Iterable[tuple[FileReading, Sheet]], *kinds: str) -> Iterable[tuple[FileReading, Sheet]]:
    return (pair for pair in sheets if pair[1].layout.format.kind in kinds)


def _read_history(reading: FileReading, sheet: Sheet, histories: Histories) -> None:
    reader = RowReader(sheet, histories, {})
    for record in sheet.records:
        reading.records += 1
        values = reader.values(record)
        if isinstance(values, list):
            reading.bad += 1
            reading.bad_cells.extend(values)
            continue
        if "changed_at" not in values:
            reading.bad += 1
            remedy = "A version without its instant cannot be told from others."
            header = reader.header_of("changed_at")
            reading.bad_cells.append(BadCell(sheet.file.name, record.line, header, "", "empty_cell", remedy))
            continue
        reading.used += 1
        changed_at = values.pop("changed_at")
        histories.add(sheet.layout.format.ad_network, changed_at, values)


def _read_report(reading: FileReading, sheet: Sheet, reader: RowReader) -> list[SpendFact]:
    rows: dict[tuple[str, tuple[str, ...]], tuple[Row, Record]] = {}
    for record in sheet.records:
        reading.records += 1
        if (reason := _no_row(sheet, record)) is not None:
            reading.dropped[reason] += 1
            continue
        row = reader.row(record)
        if isinstance(row, list):
            reading.bad += 1
            reading.bad_cells.extend(row)
            continue
        identity = (row.fact.key, row.segments)
        other = rows.get(identity)
        if other is None:
            rows[identity] = row, record
        elif row.fact == other[0].fact:
            reading.dropped["repeated"] += 1
        elif row.fact.as_of != other[0].fact.as_of:
            reading.dropped["superseded"] += 1
            if row.fact.as_of > other[0].fact.as_of:
                rows[identity] = row, record
        else:
            reading.bad += 1
            remedy = (
                f"Line {other[0].line} has other figures for the same day and thing, and none is newer: add them up, "
                "or leave the old one out."
            )
            reading.bad_cells.append(
                BadCell(sheet.file.name, row.line, reader.header_of("cost"), "", "repeated_key", remedy)
            )
    reading.used = len(rows)
    reading.empty = +reader.empty
    by_key: defaultdict[str, list[SpendFact]] = defaultdict(list)
    costs: defaultdict[Place, Fraction] = defaultdict(Fraction)
    for row, record in rows.values():
        by_key[row.fact.key].append(row.fact)
        reading.rounded += row.is_rounded
        written = _as_written(sheet, record) if row.stands else Fraction(0)
        costs[row.fact.ad_network, row.fact.currency, row.fact.day] += written
    reading.costs = dict(costs)
    reading.facts = len(by_key)
    return [_added_up(facts) for facts in by_key.values()]


def _no_row(sheet: Sheet, record: Record) -> str | None:
    """Why a record is none of the table: exports end with totals and a line of copyright."""
    if sheet.layout.format.kind != "export":
        return None
    filled = [cell.strip() for cell in record.cells if cell.strip()]
    if len(filled) == 1 or (len(filled) <= _WORDS_OF_A_FOOTER and filled[0].endswith(":")):
        return "footer"  # Display & Video 360 says below the table: "Report Time:,2026/10/02 09:00 GMT"
    day = next(bound.indexes[0] for bound in sheet.layout.bound if bound.field == "day")
    dated = record.cells[day].strip() if day < len(record.cells) else ""
    is_undated = is_empty(dated) or dated == filled[0]
    if _TOTAL.fullmatch(filled[0]) or (is_undated and filled[0].casefold().startswith("total")):
        return "total"  # a campaign may well be named "Total Wine"
    things = [
        not is_empty(record.cells[index])
        for bound in sheet.layout.bound
        if bound.field in ("campaign_id", "campaign", "ad_group_id", "ad_group", "ad_id", "ad")
        for index in bound.indexes
        if index < len(record.cells)
    ]
    return None if any(things) else "total"


def _as_written(sheet: Sheet, record: Record) -> Fraction:
    """The cost of a record in major units, by another way than the fact's: this is what checks it."""
    bound = next(bound for bound in sheet.layout.bound if bound.field == "cost")
    amount = Fraction(Decimal(record.cells[bound.indexes[0]].strip().replace(",", "")))
    return amount / 1_000_000 if bound.reading == "micros" else amount


def _added_up(facts: Sequence[SpendFact]) -> SpendFact:
    """Rows of one key (devices, hours, placements) as one fact."""
    newest = max(facts, key=lambda fact: (fact.as_of, msgspec.json.encode(fact)))
    if len(facts) == 1:
        return newest
    bids = {fact.bid for fact in facts}
    return msgspec.structs.replace(
        newest,
        cost=sum(fact.cost for fact in facts),
        impressions=sum(fact.impressions for fact in facts),
        reach=None,
        clicks=sum(fact.clicks for fact in facts),
        views=sum(fact.views for fact in facts),
        installs=sum(fact.installs for fact in facts),
        platform_conversions=_sum_known(fact.platform_conversions for fact in facts),
        platform_value=_sum_known(fact.platform_value for fact in facts),
        bid=newest.bid if len(bids) == 1 else None,
    )


def _sum_known(amounts: Iterable[int | None]) -> int | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
