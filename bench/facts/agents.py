"""A Faust worker that goes wrong on purpose, as its own documentation would write it.

``python -m bench.facts.agents MODE`` with the environment of ``bench.facts.offsets``; appends each value it has handled
and its process id to a file. Values are the numbers of their records.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import faust
from mode import CrashingSupervisor

TAKE = 10
BROKEN = 5
"""The record (or, for the modes that take ten at once, the record of the first ten) at which the agent raises."""


def main(mode: str) -> None:
    """Run until told to stop."""
    handled = Path(os.environ["FACTS_HANDLED"])
    begun = Path(os.environ["FACTS_BEGUN"])
    app = faust.App(
        os.environ["FACTS_GROUP"],
        broker=f"kafka://{os.environ['FACTS_KAFKA']}",
        store="memory://",
        datadir=str(handled.parent / "faust"),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_commit_interval=0.5,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_max_poll_interval=float(os.environ.get("FACTS_MAX_POLL", "1000")),
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
    )
    topic = app.topic(os.environ["FACTS_TOPIC"], value_type=bytes, value_serializer="raw")

    def note(value: int) -> None:
        with handled.open("a") as file:
            file.write(f"{value} {os.getpid()}\n")

    async def one_by_one(stream: Any) -> None:
        async for value in stream:
            if int(value) == BROKEN:
                raise ValueError(f"record {BROKEN}")
            note(int(value))

    async def all_well(stream: Any) -> None:
        async for value in stream:
            note(int(value))

    async def ten_at_once(stream: Any) -> None:
        async for values in stream.take(TAKE, within=1.0):
            numbers = [int(value) for value in values]
            if BROKEN in numbers:
                begun.touch()
                if mode == "take, slow":
                    await asyncio.sleep(3_600)
                raise ValueError(f"the batch with record {BROKEN}")
            for number in numbers:
                note(number)

    async def ten_with_own_acks(stream: Any) -> None:
        async for events in stream.noack_take(TAKE, within=1.0):
            numbers = [int(event.value) for event in events]
            if BROKEN in numbers:
                raise ValueError(f"the batch with record {BROKEN}")
            for number, event in zip(numbers, events, strict=True):
                note(number)
                event.ack()

    agents = {
        "raises": one_by_one,
        "raises, crashing supervisor": one_by_one,
        "take, raises": ten_at_once,
        "take, slow": ten_at_once,
        "noack_take, raises": ten_with_own_acks,
        "stand-by": all_well,
    }
    supervisor = CrashingSupervisor if "crashing" in mode else None
    app.agent(topic, supervisor_strategy=supervisor)(agents[mode])
    faust.Worker(app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main(sys.argv[1])
