"""Hits from CSV, JSON lines and Parquet, by the contract's field names; ``props.x`` is a property ``x``.

A wrong line is refused with its number, the field and what to do; the lines around it are kept.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

from attribution.errors import Misconfigured
from runtime.imports.lines import MAX_LINE_BYTES, LineIds, LineReader, Outcome, Parsed, Refused

_FIELD_NAMES = (
    "site event event_id visitor_id user_id email_sha256 url referrer title occurred_at sent_at "
    "value currency order_id consent props user_agent ip country"
)
FIELDS = frozenset(_FIELD_NAMES.split())
"""Contract section 2, and what a pixel takes from its request."""

EARLIEST_MS = 946_684_800_000
"""2000-01-01T00:00:00Z, as at the collector."""
_LATEST_MS = 4_102_444_800_000
"""2100-01-01T00:00:00Z, as at the collector, which also judges the nearer future."""
_MAX_CSV_RECORD_LINES = 50
_PARQUET_ROWS = 1_000
_MAX_DIGITS = 40
"""Numbers longer than this are left in scientific notation, which the collector refuses as money."""


def read_hits(lines: LineReader) -> Iterator[Outcome]:
    """What becomes of each record of a file; the format is known by the file's name (``.gz`` allowed).

    Raises ``Misconfigured`` for an unknown format or a header that cannot be used.
    """
    name = lines.path.name.lower().removesuffix(".gz")
    if name.endswith(".csv"):
        yield from _read_csv(lines)
    elif name.endswith((".jsonl", ".ndjson")):
        yield from _read_jsonl(lines)
    elif name.endswith(".parquet"):
        yield from _read_parquet(lines.path)
    else:
        raise Misconfigured(
            f"Cannot tell the format of {lines.path.name}.",
            "Name it .csv, .jsonl (.gz allowed) or .parquet.",
        )


def _read_csv(lines: LineReader) -> Iterator[Outcome]:
    ids = LineIds("csv")
    records = _csv_records(lines)
    header: list[str] | None = None
    for number, raw in records:
        if isinstance(raw, Refused):
            yield raw
            continue
        text = _text(raw)
        if header is None:
            header = _header(lines.path, text)
            continue
        if text is None:
            yield _not_utf8(number, raw)
            continue
        if not text.strip():
            continue
        try:
            values = next(csv.reader([text], strict=True))
        except csv.Error as error:
            yield Refused(number, text, "malformed_line", f"Not CSV (RFC 4180): {error}.")
            continue
        if len(values) != len(header):
            remedy = f"{len(values)} values, but {len(header)} columns: quote values that hold a comma."
            yield Refused(number, text, "malformed_line", remedy)
            continue
        row = {name: value for name, value in zip(header, values, strict=True) if value != ""}
        yield _hit(number, text, row, ids)


def _csv_records(lines: LineReader) -> Iterator[tuple[int, bytes | Refused]]:
    """Physical lines, joined while a quoted value goes on. A quote never closed costs its line only."""
    waiting: list[tuple[int, bytes]] = []
    source = iter(lines)
    while True:
        if waiting:
            number, raw = waiting.pop(0)
        elif (first := next(source, None)) is not None:
            number, raw = first
        else:
            return
        if len(raw) > MAX_LINE_BYTES:
            yield number, _too_long(number, raw)
            continue
        if raw.count(b'"') % 2 == 0:
            yield number, raw
            continue
        joined = [raw]
        quotes = raw.count(b'"')
        taken = 0
        while quotes % 2 and len(joined) < _MAX_CSV_RECORD_LINES:
            if taken == len(waiting):
                if (following := next(source, None)) is None:
                    break
                waiting.append(following)
            joined.append(waiting[taken][1])
            quotes += waiting[taken][1].count(b'"')
            taken += 1
        if quotes % 2:
            remedy = "A quoted value is not closed: double the quotes inside it."
            yield number, Refused(number, raw.decode("utf-8", "backslashreplace"), "malformed_line", remedy)
            continue
        del waiting[:taken]
        yield number, b"\n".join(joined)


def _header(path: Path, text: str | None) -> list[str]:
    if text is None:
        raise Misconfigured(f"{path.name} is not UTF-8.", "Save it as UTF-8.")
    names = [name.strip() for name in next(csv.reader([text.removeprefix("\ufeff")]), [])]
    known = ", ".join(sorted(FIELDS))
    for name in names:
        if not _is_field(name):
            hint = f"Rename it to props.{name} to keep it, or to one of: {known}."
            raise Misconfigured(f"{path.name}: unknown column {name!r}.", hint)
    for name in ("visitor_id", "occurred_at"):
        if name not in names:
            raise Misconfigured(f"{path.name}: no column {name}.", "Its first line must name the columns.")
    if len(set(names)) != len(names):
        raise Misconfigured(f"{path.name}: a column is named twice.", "Give every column its own name.")
    return names


def _read_jsonl(lines: LineReader) -> Iterator[Outcome]:
    ids = LineIds("jsonl")
    for number, raw in lines:
        if len(raw) > MAX_LINE_BYTES:
            yield _too_long(number, raw)
            continue
        text = _text(raw)
        if text is None:
            yield _not_utf8(number, raw)
            continue
        if not text.strip():
            continue
        try:
            row = json.loads(text, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            yield Refused(number, text, "malformed_line", f"Not JSON: {error}.")
            continue
        if not isinstance(row, dict):
            yield Refused(number, text, "malformed_line", "Every line must be one JSON object.")
            continue
        if "\\ud" in text.lower() and _has_lone_surrogate(row):
            yield Refused(
                number, text, "not_utf8", "Half of a surrogate pair is no character: repair the escape."
            )
            continue
        yield _hit(number, text, row, ids)


def _read_parquet(path: Path) -> Iterator[Outcome]:
    try:
        parquet: Any = import_module("pyarrow.parquet")
        arrow_error: type[Exception] = import_module("pyarrow").ArrowException
    except ModuleNotFoundError as error:
        raise Misconfigured(
            "Parquet needs the package pyarrow.",
            f"Install it ({sys.executable} -m pip install pyarrow), or export CSV.",
        ) from error
    ids = LineIds("parquet")
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    present = {name: value for name, value in row.items() if value is not None}
                    yield _hit(number, json.dumps(present, default=str, sort_keys=True), present, ids)
    except (arrow_error, OSError) as error:
        hint = f"Rows 1 to {number} have been read; repeat with a whole file, nothing counts twice."
        raise Misconfigured(f"{path} is no Parquet file, or is damaged: {error}.", hint) from error


def _hit(number: int, raw: str, row: dict[str, Any], ids: LineIds) -> Outcome:
    """The fields as the collector takes them; it judges what is not judged here (money, URLs, sizes)."""
    # Every record takes an id, so that a line's id does not depend on whether others carry their own.
    made_id = ids.next_id(raw.encode())
    fields: dict[str, Any] = {}
    props: dict[str, Any] = {}
    for name, value in row.items():
        if not _is_field(name):
            remedy = f"Unknown field: name it props.{name} to keep it."
            return Refused(number, raw, "unknown_field", remedy, name)
        if name.startswith("props."):
            props[name.removeprefix("props.")] = _plain_json(value)
        elif name == "props":
            if isinstance(value, str):
                try:
                    value = json.loads(value)
                except (ValueError, RecursionError):
                    value = None
            if not isinstance(value, dict):
                return Refused(number, raw, "bad_props", "props must be a JSON object.", "props")
            props.update(_plain_json(value))
        elif isinstance(value, bool | dict | list):
            return Refused(number, raw, "wrong_type", f"{name} must be text or a number.", name)
        elif value is not None:
            fields[name] = value if name == "occurred_at" else _plain_text(value)
    if not fields.get("visitor_id"):
        remedy = "visitor_id is missing: a hit without a visitor has no path. Use any stable id per browser."
        return Refused(number, raw, "missing_field", remedy, "visitor_id")
    occurred_at = parse_instant(fields.get("occurred_at"))
    if occurred_at is None:
        remedy = "occurred_at must be ISO 8601 (2026-10-01T12:30:00Z) or epoch milliseconds, 2000 to 2099."
        return Refused(number, raw, "bad_time", remedy, "occurred_at")
    fields["occurred_at"] = occurred_at
    # It corrects the clock of a sender by the moment of receiving, which is long past.
    fields.pop("sent_at", None)
    fields.setdefault("event_id", made_id)
    if props:
        fields["props"] = props
    return Parsed(number, raw, fields)


def parse_instant(value: Any) -> int | None:
    """Epoch milliseconds of ISO 8601 text (UTC if without zone) or epoch milliseconds; None if neither."""
    if isinstance(value, str):
        text = value.strip()
        if text.isdecimal():
            value = int(text)
        else:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                return None
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            value = round(aware.timestamp() * 1000)
    if isinstance(value, datetime):
        return parse_instant(value.isoformat())
    if isinstance(value, Decimal | float):
        value = int(value) if math.isfinite(value) else None
    if not isinstance(value, int) or not EARLIEST_MS <= value < _LATEST_MS:
        return None
    return value


def _is_field(name: str) -> bool:
    return name in FIELDS or (name.startswith("props.") and len(name) > len("props."))


def _plain_text(value: Any) -> str:
    """A field as text: money keeps its digits, instants become ISO 8601."""
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() and abs(value.adjusted()) < _MAX_DIGITS else str(value)
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _plain_json(value: Any) -> Any:
    """A property as JSON can carry it."""
    if isinstance(value, dict):
        return {str(key): _plain_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_json(item) for item in value]
    if isinstance(value, Decimal | float):
        number = float(value)
        return number if math.isfinite(number) else str(value)
    return value if isinstance(value, str | int | None) else _plain_text(value)


def _has_lone_surrogate(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return True
    return False


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _not_utf8(number: int, raw: bytes) -> Refused:
    return Refused(number, raw.decode("utf-8", "backslashreplace"), "not_utf8", "Save the file as UTF-8.")


def _too_long(number: int, raw: bytes) -> Refused:
    text = raw.decode("utf-8", "backslashreplace")
    return Refused(number, text, "too_long", f"A line may have at most {MAX_LINE_BYTES} bytes.")
