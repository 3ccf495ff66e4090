"""Before the engine opens its folder: take out of the deduplication logs what was never stored.

ClickHouse writes a block into a table's deduplication log and renames the block's part into place afterwards. A
process that is killed between the two (0.1 ms of each insert) leaves a log that claims the block is there; the
repeated insert is then dropped as a duplicate and its rows are lost for good, although it is answered with success.
At the next start nothing has been merged yet, so a logged part that neither stands in the table's folder nor lies
within a merged one was never stored.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_ADDED = "1"
"""Operation of a log line (operation, part, block id; tab separated): this block was inserted as this part."""
_PART = re.compile(r"(?P<partition>[^_]+)_(?P<first>\d+)_(?P<last>\d+)_\d+(_\d+)?\Z")


class _Part(NamedTuple):
    """What a part's name says: its blocks, from first to last."""

    partition: str
    first: int
    last: int


def forget_lost_blocks(folder: Path) -> int:
    """Correct the deduplication log of every table in the engine's ``folder``; how many blocks were forgotten.

    Only while no engine has the folder open. Each log is replaced in one step.
    """
    return sum(_correct(log) for log in folder.glob("store/*/*/deduplication_logs/deduplication_log_*.txt"))


def _correct(log: Path) -> int:
    parts = _Parts(entry.name for entry in os.scandir(log.parent.parent) if entry.is_dir())
    lines = log.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not _is_lost(line, parts)]
    if len(kept) == len(lines):
        return 0
    draft = log.with_suffix(".new")
    with draft.open("w") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(log)
    return len(lines) - len(kept)


class _Parts:
    """The parts of one table's folder."""

    def __init__(self, names: Iterable[str]) -> None:
        self._reaches: dict[str, tuple[list[int], list[int]]] = {}
        """By partition: the parts' first blocks, ascending, and the furthest block of all up to there."""
        for part in sorted(filter(None, map(_parse, names))):
            firsts, furthest = self._reaches.setdefault(part.partition, ([], []))
            firsts.append(part.first)
            furthest.append(max(part.last, furthest[-1] if furthest else 0))

    def hold(self, part: _Part) -> bool:
        """True if ``part`` stands in the folder, or lies within a merged part that does."""
        firsts, furthest = self._reaches.get(part.partition, ([], []))
        place = bisect_right(firsts, part.first)
        return place > 0 and furthest[place - 1] >= part.last


def _is_lost(line: str, parts: _Parts) -> bool:
    """True for a block that was logged as inserted and is in none of ``parts``."""
    operation, _, rest = line.partition("\t")
    logged = _parse(rest.partition("\t")[0])
    return operation == _ADDED and logged is not None and not parts.hold(logged)


def _parse(name: str) -> _Part | None:
    """None for a name that is no part's: ``detached``, and drafts (``tmp_insert_…``, ``tmp_merge_…``)."""
    found = _PART.match(name)
    if found is None:
        return None
    return _Part(found["partition"], int(found["first"]), int(found["last"]))
