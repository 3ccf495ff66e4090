"""``headwater import spend``: cost reports through the collector, with what the files say beside what was taken."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attribution.errors import Misconfigured, Rejected
from attribution.spend.fact import SpendFact
from attribution.spend.fields import fields_of
from attribution.spend.merging import newest
from attribution.spend.reading import FileReading, Reading, read_reports
from attribution.spend.reconciling import agrees, reconcile, to_text, uncounted
from attribution.spend.sheet import ReportFile
from runtime.collector_client import MAX_BATCH_BYTES, Intake, carry_all, open_intake
from runtime.imports.spend_options import SpendOptions

MAX_FACTS = 500
"""Facts in one request; the collector takes no more."""
_AT_ONCE = 2
_SHOWN = 10
REJECTED_FILE = "spend.jsonl"


@dataclass
class SpendImport:
    """What became of the files."""

    facts: int = 0
    """Figures of one thing on one day, to be sent."""
    counts: Counter[str] = field(default_factory=Counter)
    """``new``, ``replaced``, ``unchanged``: durable at the collector."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason: facts that the collector did not take."""
    bad_rows: int = 0
    is_reconciled: bool = True
    """Every record of a file ended in one place, and files and facts say the same sums."""
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        """Nothing that the files say is missing."""
        return self.is_reconciled and not self.bad_rows and not self.refused


async def import_spend(
    files: Sequence[Path],
    run: Mapping[str, Any],
    options: SpendOptions,
    *,
    spend_key: str = "",
    data_dir: Path,
    console: Console,
    now: datetime | None = None,
) -> SpendImport:
    """Read ``files`` together and send their facts. Safe to repeat: the same figures change nothing.

    ``run`` holds ``collector`` and ``site_key`` as run.json does. Bad cells are in ``data_dir/rejected``. Raises
    ``Misconfigured`` before anything is sent for files or assumptions that cannot be used, else for a collector that
    refuses all; ``Transient`` when the collector stays away.
    """
    started_at = time.monotonic()
    reading = _read(files, options, now or datetime.now(UTC))
    facts = _newest(reading)
    result = SpendImport(facts=len(facts), bad_rows=sum(file.bad for file in reading.files))
    _tell(reading, facts, options, result, data_dir / "rejected" / REJECTED_FILE, console)
    if options.is_dry_run or (options.is_strict and not result.is_complete):
        why = "dry run" if options.is_dry_run else "there are bad rows, and --strict wants all or nothing"
        _say(console, f"Nothing was sent: {why}.")
    elif facts:
        site = str(run["site_key"])
        async with open_intake(str(run["collector"]), site, connections=_AT_ONCE) as intake:
            await _send(intake, facts, spend_key, result, console)
        result.seconds = time.monotonic() - started_at
        _tell_counts(result, console)
    return result


def _read(files: Sequence[Path], options: SpendOptions, now: datetime) -> Reading:
    """Raises ``Misconfigured`` when a file is no report: half an import helps nobody."""
    try:
        given = [ReportFile(path.name, path.read_bytes(), now) for path in files]
        reading = read_reports(given, options.assumed())
    except OSError as error:
        raise Misconfigured(f"{error.filename} cannot be read: {error.strerror}.", "Name a file.") from error
    except Rejected as error:
        raise Misconfigured(
            f"An assumption is wrong: {error.message}",
            "Write --currency linkedin_ads=USD, or --currency USD.",
        ) from error
    for file in reading.files:
        if not file.format:
            cell = file.bad_cells[0]
            raise Misconfigured(f"{file.name} is not read ({cell.reason}); nothing was sent.", cell.remedy)
    return reading


def _newest(reading: Reading) -> dict[str, SpendFact]:
    """The newest fact of each key over all files. Raises ``Misconfigured`` where it cannot be told which is newer."""
    facts: dict[str, SpendFact] = {}
    for fact in reading.facts:
        other = facts.get(fact.key)
        if other is not None and other.as_of == fact.as_of and _figures(other) != _figures(fact):
            raise Misconfigured(
                f"Two of the files have other figures for {fact.key}, and neither says that it is newer.",
                "Import them one after the other, the older one first.",
            )
        facts = newest(facts, [fact]) if other is not None else facts | {fact.key: fact}
    return facts


def _figures(fact: SpendFact) -> tuple[object, ...]:
    """What may not differ: names may, as only some reports have them."""
    return fact.currency, fact.cost, fact.impressions, fact.clicks, fact.views, fact.installs


async def _send(
    intake: Intake, facts: Mapping[str, SpendFact], spend_key: str, result: SpendImport, console: Console
) -> None:
    parcels = _parcels(facts)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("facts"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task("spend", total=len(facts))

        async def carry() -> None:
            # All carriers draw from the one iterator: asyncio switches only at an await.
            for parcel in parcels:
                answer = await intake.spend([fields for _, fields in parcel], spend_key)
                result.counts.update(answer.counts)
                for place, refusal in answer.refused:
                    result.refused[refusal.code] += 1
                    _say(
                        console,
                        f"Refused: {parcel[place][0]}: {refusal.field or refusal.code}: {refusal.message}",
                    )
                progress.advance(bar, len(parcel))

        await carry_all(carry() for _ in range(_AT_ONCE))


def _parcels(facts: Mapping[str, SpendFact]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Facts to send together, each with its key, in the order of the keys."""
    parcel: list[tuple[str, dict[str, Any]]] = []
    size = 0
    for key in sorted(facts):
        fields = fields_of(facts[key])
        length = len(json.dumps(fields, ensure_ascii=False).encode()) + 100
        if parcel and (len(parcel) == MAX_FACTS or size + length > MAX_BATCH_BYTES):
            yield parcel
            parcel, size = [], 0
        parcel.append((key, fields))
        size += length
    if parcel:
        yield parcel


def _tell(
    reading: Reading,
    facts: Mapping[str, SpendFact],
    options: SpendOptions,
    result: SpendImport,
    rejected: Path,
    console: Console,
) -> None:
    """What was read, file by file, what is wrong with it, and its sums beside those of the facts."""
    for file in reading.files:
        _say(console, _line_of(file))
    if reading.bad_cells:
        _say(console, f"Bad cells with remedies: {_write(reading, rejected)}")
        for cell in reading.bad_cells[:_SHOWN]:
            value = f" {cell.value!r}" if cell.value else ""
            _say(
                console, f"  {cell.file} line {cell.line}: {cell.column or cell.reason}{value}: {cell.remedy}"
            )
        if len(reading.bad_cells) > _SHOWN:
            _say(console, f"  ... and {len(reading.bad_cells) - _SHOWN:,} more")
    else:
        rejected.unlink(missing_ok=True)
    lines = reconcile(reading.files, reading.facts)
    result.is_reconciled = agrees(lines, sum(file.rounded for file in reading.files)) and all(
        file.balances for file in reading.files
    )
    _say(console, to_text(lines, by_day=options.by_day))
    if not result.is_reconciled:
        _say(console, "Files and facts do not say the same: this is a fault of ours.")
    if repeated := len(reading.facts) - len(facts):
        _say(console, f"{repeated:,} facts stand in several files: the newest counts.")
    if silent := uncounted(facts):
        _say(console, f"{len(silent):,} facts will not count: another level tells the same money.")


def _line_of(file: FileReading) -> str:
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in file.dropped.most_common())
    return (
        f"{file.name}: {file.format}, {file.records:,} rows = {file.used:,} used"
        f" + {file.dropped.total():,} dropped" + (f" ({dropped})" if dropped else "") + f" + {file.bad:,} bad"
        f"; {file.facts:,} facts" + (f"; {file.rounded:,} rounded to micros" if file.rounded else "")
    )


def _write(reading: Reading, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for cell in reading.bad_cells:
            record = {name: getattr(cell, name) for name in cell.__struct_fields__}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path


def _tell_counts(result: SpendImport, console: Console) -> None:
    counts = ", ".join(f"{result.counts[kind]:,} {kind}" for kind in ("new", "replaced", "unchanged"))
    refused = ", ".join(f"{reason} {count:,}" for reason, count in result.refused.most_common())
    _say(
        console,
        f"{result.facts:,} facts: {counts}, {result.refused.total():,} refused"
        + (f" ({refused})" if refused else "")
        + f"; {result.seconds:.1f} s",
    )


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
