"""The demo against the running system: the simulated truth is found, also a second time in one folder."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

import runtime.demo
from runtime.demo import run_demo
from runtime.installation import settings_of
from runtime.simulator.shop_sender import with_sender
from runtime.up import Up, UpOptions


@pytest.mark.slow
async def test_demo_balances_twice_in_one_folder_and_trickles_until_stopped(tmp_path: Path) -> None:
    """Exit code 0 each time: what was there before is not counted."""
    async with Up(with_sender(UpOptions(data_dir=tmp_path / "up", collector_port=0, api_port=0))) as up:
        for number in range(2):
            screen = io.StringIO()
            code = await run_demo(
                up.run,
                settings_of(tmp_path / "up"),
                exit_after=True,
                seed=11,
                people=600,
                console=Console(file=screen),
            )
            print(screen.getvalue())
            assert code == 0
            for model in ("time_decay", "full_path", "markov", "shapley"):
                assert f"credit = revenue, {model}" in screen.getvalue()
            for words in ("spend as billed, EUR", "each refund once", "deals won", "pipeline: deals", "ROAS"):
                assert words in screen.getvalue()
            # Ratios of everything are compared where the simulated world is everything.
            assert ("every metric whose truth is known" in screen.getvalue()) is (number == 0)
        trickling = asyncio.Event()

        class Screen(io.StringIO):
            def write(self, text: str) -> int:
                if "Ctrl-C stops" in text:
                    trickling.set()
                return super().write(text)

        demo = asyncio.create_task(
            run_demo(
                up.run,
                settings_of(tmp_path / "up"),
                exit_after=False,
                seed=12,
                people=5,
                console=Console(file=Screen()),
            )
        )
        await asyncio.wait_for(trickling.wait(), 60)
        demo.cancel()
        with pytest.raises(asyncio.CancelledError):
            await demo


@pytest.mark.slow
async def test_demo_says_no_when_the_books_do_not_balance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purchase that the simulator does not know of makes the exit code 1 and is named."""
    monkeypatch.setattr(runtime.demo, "SETTLE_S", 5.0)
    real_send = runtime.demo.send

    async def send_and_steal(intake, hits, on_acknowledged):  # type: ignore[no-untyped-def]
        await real_send(intake, hits, on_acknowledged)
        stray = {"event": "purchase", "visitor_id": "stray", "order_id": "stray", "value": "0.01"}
        await intake.pixel(
            {**stray, "url": "https://www.lumen-lamps.example/", "currency": "USD"}, "Mozilla/5.0"
        )

    monkeypatch.setattr(runtime.demo, "send", send_and_steal)
    screen = io.StringIO()
    async with Up(with_sender(UpOptions(data_dir=tmp_path / "up", collector_port=0, api_port=0))) as up:
        code = await run_demo(
            up.run,
            settings_of(tmp_path / "up"),
            exit_after=True,
            seed=11,
            people=20,
            console=Console(file=screen),
        )
    assert code == 1
    assert "credit = revenue, linear" in screen.getvalue()
    assert " NO " in screen.getvalue()
