"""One file as a sheet: its text decoded, its delimiter and header found, its records with their line numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import msgspec

from attribution.errors import Rejected
from attribution.spend.formats import REPEATED, Layout, recognise

PREAMBLE_RECORDS = 30
"""Exports write their title, dates and filters above the header; further down nobody looks for one."""
_DELIMITERS = ",\t;"


class ReportFile(msgspec.Struct, frozen=True):
    """A file as given."""

    name: str
    content: bytes
    imported_at: datetime
    """The instant of the import (UTC); how new its figures are where its rows do not say."""


class BadCell(msgspec.Struct, frozen=True):
    """A cell that made its row unusable, and what to do about it."""

    file: str
    line: int
    column: str
    value: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Record:
    """One record below the header."""

    line: int
    """The line of the file on which it begins, from 1."""
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """A file whose header is understood."""

    file: ReportFile
    layout: Layout
    records: tuple[Record, ...]
    """Every record below the header that is not empty."""


def open_sheet(file: ReportFile) -> Sheet:
    """The sheet of a file. Raises ``Rejected``: ``not_text``, ``unknown_report``, ``repeated_column``."""
    text = _decode(file.content)
    failure: Rejected | None = None
    for delimiter in _DELIMITERS:
        try:
            top = [record.cells for record in islice(_records(text, delimiter), PREAMBLE_RECORDS)]
            place, layout = recognise(top)
        except Rejected as rejected:
            if rejected.reason == REPEATED:
                raise  # its header is understood
            # The delimiter by which anything of the file is a header explains it best.
            if failure is None or "nearest" in rejected.message:
                failure = rejected
            continue
        below = islice(_records(text, delimiter), place + 1, None)
        return Sheet(file, layout, tuple(record for record in below if any(map(str.strip, record.cells))))
    raise failure if failure is not None else Rejected("unknown_report", "The file is empty.", "header")


def _decode(content: bytes) -> str:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise Rejected(
            "not_text", "Save the report as CSV in UTF-8; a spreadsheet (.xlsx) is no CSV."
        ) from error


def _records(text: str, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise Rejected("not_text", f"Not CSV (RFC 4180) at line {line}: {error}.") from error
        if cells is None:
            return
        yield Record(line, tuple(cells))
