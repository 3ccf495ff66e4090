"""What every task of a process waits for, outermost call first: thread stacks do not show a coroutine that waits."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

_DEEPEST = 30


def waiting_tasks() -> Iterator[str]:
    """One line for each task of all loops (Faust's consumer has a loop of its own)."""
    for task in [found for found in gc.get_objects() if isinstance(found, asyncio.Task)]:
        if not task.done():
            yield f"task {task.get_name()}: {' < '.join(_awaited(task.get_coro()))}"


def _awaited(coroutine: Any) -> list[str]:
    """The chain of coroutines, outermost first."""
    chain: list[str] = []
    while coroutine is not None and len(chain) < _DEEPEST:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            file = frame.f_code.co_filename.rpartition("site-packages/")[2]
            chain.append(f"{file}:{frame.f_lineno} {frame.f_code.co_name}")
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return chain
