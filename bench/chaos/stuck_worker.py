"""The command ``headwater`` whose first life gets stuck in the way that ``STUCK_HOW`` names; later lives are sound.

``STUCK_ONCE`` is a file that the first life makes. ``STUCK_AFTER`` shortens the watchdog's limit, ``STUCK_CALL`` that
of a call (seconds); without them they are the product's.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from pathlib import Path
from typing import Any

from sinks.writer import RowWriter
from streams import partitions, patience, pump, stitch, takeover, watchdog
from streams.app import FencedConsumer, QuickFetchThread

insert = stitch.StitchStage._insert


async def _never(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


async def _insert_and_never_return(*args: Any, **options: Any) -> None:
    await insert(*args, **options)
    await _never()


async def _insert_and_block_the_loop(*args: Any, **options: Any) -> None:
    await insert(*args, **options)
    while True:
        pass


async def _insert_and_hold_the_interpreter(*args: Any, **options: Any) -> None:
    await insert(*args, **options)
    re.match(r"(a+)+b", "a" * 60)  # in C, for longer than anybody lives


async def _fetch_nothing(*_: Any, **__: Any) -> dict[Any, Any]:
    await asyncio.sleep(0.1)
    return {}


_insert_encoded = RowWriter.insert_encoded


def _answer_never(writer: RowWriter, table: str, *rest: Any) -> None:
    if table == "policies":  # written before anything is read
        _insert_encoded(writer, table, *rest)
    else:
        threading.Event().wait()


async def _collect_nothing(*_: Any) -> list[Any]:
    return []


def _get_stuck(how: str) -> None:
    match how:
        case "stage":
            stitch.StitchStage._insert = _insert_and_never_return  # type: ignore[method-assign]
        case "loop":
            stitch.StitchStage._insert = _insert_and_block_the_loop  # type: ignore[method-assign]
        case "interpreter":
            stitch.StitchStage._insert = _insert_and_hold_the_interpreter  # type: ignore[method-assign]
        case "fetcher":
            QuickFetchThread.getmany = _fetch_nothing
        case "call":
            RowWriter.insert_encoded = _answer_never  # type: ignore[method-assign,assignment]
        case "join":
            FencedConsumer.perform_seek = _never  # type: ignore[method-assign]
        case "take-over":
            takeover._open_journal = partitions.take_over = _never  # type: ignore[assignment]
        case "pump":
            pump.Pump._collect = _collect_nothing  # type: ignore[method-assign]


def _is_first_life(flag: Path) -> bool:
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    # Before the worker takes them over.
    if limit := os.environ.get("STUCK_AFTER"):
        watchdog.STUCK_AFTER_SECONDS = float(limit)
        watchdog.JOIN_FACTOR = 4  # joining takes its seconds, also of a shortened limit
    patience.CALL_SECONDS = float(os.environ.get("STUCK_CALL", patience.CALL_SECONDS))
    if (how := os.environ.get("STUCK_HOW", "")) and _is_first_life(Path(os.environ["STUCK_ONCE"])):
        _get_stuck(how)
    from runtime.cli import main

    main()
