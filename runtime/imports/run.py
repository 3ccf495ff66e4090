"""``headwater import hits|log``: files through the collector, and a count of where every line ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from attribution.errors import Misconfigured
from runtime.collector_client import MAX_BATCH, MAX_BATCH_BYTES, Intake, carry_all, open_intake
from runtime.imports.access_log import guess_base_url, read_access_log, urlsplit_or_none
from runtime.imports.lines import Dropped, LineReader, Outcome, Parsed, Refused
from runtime.imports.readers import read_hits
from sinks.client import connect

SETTLE_S = 120.0
"""How long to wait until the workers have judged what the collector has taken."""
_AT_ONCE = 4
_SHOWN_REFUSALS = 5


@dataclass
class ImportResult:
    """Where the lines ended. ``read`` = ``accepted`` + all of ``dropped`` + ``refused``, if it ``balances``."""

    read: int = 0
    acknowledged: int = 0
    """Durable at the collector."""
    accepted: int = 0
    """New rows in ``hits``."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By reason: the reader's (``asset``, ``not_get``, ...) and the worker's (``bot``, ``duplicate``, ...)."""
    refused: Counter[str] = field(default_factory=Counter)
    """By reason: lines that cannot be used; they are in ``refused_files`` with the remedy."""
    refused_files: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def balances(self) -> bool:
        """Every line ended in exactly one place."""
        return self.read == self.accepted + self.dropped.total() + self.refused.total()


async def import_files(
    kind: str,
    files: Sequence[Path],
    run: Mapping[str, Any],
    *,
    data_dir: Path,
    console: Console,
    base_url: str | None = None,
) -> ImportResult:
    """Send the hits of ``files`` through the collector and say where every line ended. Safe to repeat.

    ``kind`` is ``hits`` or ``log``. ``run`` holds ``collector``, ``site_key`` and ``clickhouse`` (URLs as in
    run.json). ``base_url`` is the address of the website of a log; guessed from its referrers if absent.
    Refused lines go to ``data_dir/rejected``. Raises ``Misconfigured`` for files or a collector that cannot
    be used, ``Transient`` when the collector stays away.
    """
    readers = [LineReader(path) for path in files]
    _check(kind, readers, base_url)
    site = str(run["site_key"])
    result = ImportResult()
    started_at = time.monotonic()
    ledger = await asyncio.to_thread(_Kept, run, site)
    before = await asyncio.to_thread(ledger.counts)
    async with open_intake(str(run["collector"]), site, connections=_AT_ONCE) as intake:
        with _progress(console) as progress:
            for number, reader in enumerate(readers, start=1):
                outcomes = _outcomes(kind, reader, base_url, site, console)
                sink = _RejectedLines(data_dir / "rejected" / f"{number}-{reader.path.name}.jsonl")
                bar = progress.add_task(reader.path.name, total=reader.size)
                try:
                    await _import_one(outcomes, intake, result, sink, _Bar(progress, bar, reader))
                finally:
                    result.refused_files += sink.close()
    await _settle(ledger, before, result, console)
    result.seconds = time.monotonic() - started_at
    _report(result, console)
    return result


def _check(kind: str, readers: Sequence[LineReader], base_url: str | None) -> None:
    """Find what is wrong with a file or option before anything is sent: half an import helps nobody."""
    if base_url is not None and not (urlsplit_or_none(base_url) or ("", "", ""))[1]:
        raise Misconfigured(
            f"{base_url} is no address of a website.", "Write --base-url https://www.example.com"
        )
    if kind == "hits":
        for reader in readers:
            next(read_hits(reader), None)  # reads the header or knows the format


def _outcomes(
    kind: str, reader: LineReader, base_url: str | None, site: str, console: Console
) -> Iterator[Outcome]:
    if kind == "hits":
        return read_hits(reader)
    if kind != "log":
        raise Misconfigured(f"Cannot import {kind!r}.", "Import `hits` or `log`.")
    if base_url is None:
        base_url = guess_base_url(reader)
        console.print(
            f"{reader.path.name}: the website is {base_url} (from its referrers).",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return read_access_log(reader, base_url, site)


class _Bar:
    """Progress of one file in bytes read (of the compressed file, if it is)."""

    def __init__(self, progress: Progress, task: TaskID, reader: LineReader) -> None:
        self._progress, self._task, self._reader = progress, task, reader

    def move(self) -> None:
        self._progress.update(self._task, completed=self._reader.tell())


class _RejectedLines:
    """Refused lines of one file with number, field, reason and remedy; the last import's are kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: int = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")

    def add(self, refused: Refused) -> None:
        record = {
            "line": refused.number,
            "field": refused.field,
            "reason": refused.reason,
            "remedy": refused.remedy,
            "raw": refused.raw,
        }
        self._file.write(json.dumps(record, ensure_ascii=False) + "\n")
        self._lines += 1

    def close(self) -> list[Path]:
        """The file; nothing if no line was refused (then there is no file)."""
        self._file.close()
        if not self._lines:
            self._path.unlink()
            return []
        return [self._path]


async def _import_one(
    outcomes: Iterator[Outcome], intake: Intake, result: ImportResult, sink: _RejectedLines, bar: _Bar
) -> None:
    def refuse(refused: Refused) -> None:
        result.refused[refused.reason] += 1
        sink.add(refused)

    async def carry() -> None:
        # All carriers draw from the one iterator: asyncio switches only at an await.
        while parcel := _next_parcel(outcomes, result, refuse):
            bar.move()
            for hit, refusal in zip(parcel, await intake.batch([hit.fields for hit in parcel]), strict=True):
                if refusal is None:
                    result.acknowledged += 1
                else:
                    refuse(Refused(hit.number, hit.raw, refusal.code, refusal.message, refusal.field))

    await carry_all(carry() for _ in range(_AT_ONCE))
    bar.move()


def _next_parcel(outcomes: Iterator[Outcome], result: ImportResult, refuse: Any) -> list[Parsed]:
    """The next hits to send together; counts on the way what is not to be sent. Empty at the end."""
    parcel: list[Parsed] = []
    size = 0
    for outcome in outcomes:
        result.read += 1
        if isinstance(outcome, Dropped):
            result.dropped[outcome.reason] += 1
        elif isinstance(outcome, Refused):
            refuse(outcome)
        else:
            parcel.append(outcome)
            size += 2 * len(outcome.raw) + 300
            if len(parcel) == MAX_BATCH or size > MAX_BATCH_BYTES:
                break
    return parcel


class _Kept:
    """Counts of one site in ClickHouse: rows of ``hits``, and hits that workers dropped, by reason."""

    def __init__(self, run: Mapping[str, Any], site: str) -> None:
        self._client = connect(str(run["clickhouse"]), str(run.get("database", "headwater")))
        self._parameters = {"site": site}

    def counts(self) -> tuple[int, Counter[str]]:
        """(hits kept, hits dropped by reason) until now."""
        kept = self._client.query("SELECT count() FROM hits WHERE site = {site:String}", self._parameters)
        sql = "SELECT reason, sum(count) FROM drops WHERE site = {site:String} GROUP BY reason"
        rows = self._client.query(sql, self._parameters).result_rows
        return int(kept.result_rows[0][0]), Counter({str(reason): int(count) for reason, count in rows})


async def _settle(
    ledger: _Kept, before: tuple[int, Counter[str]], result: ImportResult, console: Console
) -> None:
    """Wait until the workers have judged everything acknowledged, and count their verdicts."""
    deadline = time.monotonic() + SETTLE_S
    with console.status("Waiting for the workers ..."):
        while True:
            hits, drops = await asyncio.to_thread(ledger.counts)
            new_drops = drops - before[1]
            new_hits = hits - before[0]
            if new_hits + new_drops.total() >= result.acknowledged or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.25)
    result.accepted = new_hits
    result.dropped += new_drops


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("bytes"),
        TimeRemainingColumn(),
        console=console,
    )


def _report(result: ImportResult, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    dropped = ", ".join(f"{reason} {count:,}" for reason, count in result.dropped.most_common())
    refused = ", ".join(f"{reason} {count:,}" for reason, count in result.refused.most_common())
    for path in result.refused_files:
        say(f"Refused lines with remedies: {path}")
        for line in _first_lines(path):
            say(f"  line {line['line']}: {line['field'] or line['reason']}: {line['remedy']}")
    say(
        f"{result.read:,} lines = {result.accepted:,} accepted"
        f" + {result.dropped.total():,} dropped"
        + (f" ({dropped})" if dropped else "")
        + f" + {result.refused.total():,} dead-lettered"
        + (f" ({refused})" if refused else "")
        + f"; {result.seconds:.1f} s"
    )
    if not result.balances:
        ended = result.accepted + result.dropped.total() + result.refused.total()
        say(
            f"This does not add up: {ended:,} verdicts for {result.read:,} lines. Either other hits of this site "
            "came in at the same time, or the workers are not done: see `headwater doctor`."
        )


def _first_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(_SHOWN_REFUSALS), file, strict=False)]
