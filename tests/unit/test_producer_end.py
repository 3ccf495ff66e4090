"""The producer ends even if a library swallows a cancellation."""

from __future__ import annotations

import asyncio

import pytest

from collector import producer


async def test_a_swallowed_cancellation_does_not_keep_the_collector_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As ``asyncio.wait_for`` of Python 3.11 does when its future is done at the same moment."""
    monkeypatch.setattr(producer, "CANCEL_AGAIN_SECONDS", 0.02)
    cancelled = 0
    begun = asyncio.Event()

    async def forgetful() -> None:
        nonlocal cancelled
        while True:
            begun.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
                if cancelled == 3:
                    raise

    async def failing() -> None:
        raise OSError("already over")

    tasks = [asyncio.create_task(forgetful()), asyncio.create_task(failing())]
    await begun.wait()
    async with asyncio.timeout(5):
        await producer._end(tasks)
    assert cancelled == 3
    assert all(task.done() for task in tasks)
