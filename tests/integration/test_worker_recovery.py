"""A worker whose broker misbehaves: replaced while it joins, or quarrelling about an offset."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from conftest import ServerThread

from runtime.embedded.servers import BROKER
from sinks.client import connect
from sinks.migrate import migrate
from streams.exit_codes import EXIT_BROKER_CHANGED, EXIT_FAILED

PARTITIONS = 4


async def test_a_broker_replaced_while_a_worker_joins_ends_the_worker_at_once(
    tmp_path: Path, empty_valkey: str, engine: str, fresh_database: str
) -> None:
    """It would join the new broker under the old one's name, and read offsets that mean something else there."""
    migrate(connect(engine, fresh_database), fresh_database)
    log = tmp_path / "worker.log"
    with ServerThread(tmp_path, BROKER) as servers:
        env = {
            "HEADWATER_KAFKA": servers.kafka,
            "HEADWATER_KAFKA_IDEMPOTENT": "false",
            "HEADWATER_REDIS": empty_valkey,
            "HEADWATER_CLICKHOUSE": engine,
            "HEADWATER_DATABASE": fresh_database,
        }
        with log.open("wb") as output:
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "runtime.cli", "work"),
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
            )
        try:
            async with asyncio.timeout(60):
                while b"worker_joins" not in log.read_bytes():
                    await asyncio.sleep(0.01)
                os.kill(servers.pids[BROKER], signal.SIGKILL)
                # Before its consumer was connected it cannot start, after that it sees another cluster id.
                assert await worker.wait() in (EXIT_FAILED, EXIT_BROKER_CHANGED)
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
    assert b"worker_started" not in log.read_bytes()
    assert b"took_over" not in log.read_bytes()
