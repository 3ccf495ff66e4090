"""The process that owns the ClickHouse folder: ``python -m runtime.embedded.engine_server``.

Listens on loopback only and asks for the password in ``HEADWATER_ENGINE_PASSWORD``: whoever can send SQL to
the engine can read every file that this user can read. SIGTERM and SIGINT finish what is running and close
the folder.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO

from aiohttp import web

from attribution.errors import Misconfigured
from runtime.embedded.engine import Engine, EngineError
from runtime.embedded.engine_http import MAX_HEAD_BYTES, EngineHttp

PASSWORD_VARIABLE = "HEADWATER_ENGINE_PASSWORD"  # noqa: S105 - the name, not the password
_LOCK_WAIT_S = 3.0
_FINISH_WITHIN_S = 8.0


def lock_folder(folder: Path) -> IO[str]:
    """Hold ``folder`` for this process; released when the process ends, however it ends.

    Waits a few seconds for a process that is just dying. Raises ``Misconfigured`` if another one keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = open(folder / "owner.lock", "a+")  # noqa: SIM115 - held until the process ends
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.seek(0)
                raise Misconfigured(
                    f"{folder} is open in another process (pid {lock.read().strip() or 'unknown'}).",
                    "Only one process may open it: stop that process, or use another --data-dir.",
                ) from None
            time.sleep(0.02)
        else:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            return lock


async def serve(folder: Path, port: int, password: str) -> None:
    """Open ``folder`` and answer on 127.0.0.1:``port`` until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = await asyncio.to_thread(Engine, folder)
    http = EngineHttp(engine, password)
    runner = web.AppRunner(
        http.application(),
        access_log=None,
        auto_decompress=False,  # ours knows lz4, limits and several frames
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
        shutdown_timeout=_FINISH_WITHIN_S,
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    print(f"engine {engine.version} on 127.0.0.1:{port}, folder {folder}", flush=True)
    await stop.wait()
    await runner.cleanup()
    await asyncio.to_thread(http.close)
    engine.close()


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 and one line when the folder is taken or the engine is missing."""
    parser = argparse.ArgumentParser(prog="engine_server", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the ClickHouse engine")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    os.environ["TZ"] = "UTC"
    try:
        lock = lock_folder(options.data_dir)
        with lock:
            asyncio.run(
                serve(options.data_dir / "store", options.port, os.environ.get(PASSWORD_VARIABLE, ""))
            )
    except (Misconfigured, EngineError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
