"""Starts child processes, watches them, starts a dead one again, stops all of them in order.

No child outlives the supervisor: each is told to die with it (``PR_SET_PDEATHSIG``), and each leads a process
group of its own, which is killed as a whole, so that a child's own children go with it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from attribution.errors import HeadwaterError, Transient

log = structlog.get_logger("supervisor")

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.02
_CHECK_S = 5.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MAX_LOG_BYTES = 8 << 20
"""A child's log is moved to ``<name>.log.1`` when it is longer; the one before that is dropped."""
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.05, 5.0
_CALM_AFTER_S = 1.0
"""A child that has been ready for so long starts again at once when it dies."""


class ProcessFailed(HeadwaterError):
    """A child did not become ready. ``exit_code`` is None if it was still running; ``output`` ends its log."""

    def __init__(self, name: str, exit_code: int | None, output: str, detail: str) -> None:
        super().__init__(f"{name} {detail}" + (f":\n{output}" if output else "."))
        self.name = name
        self.exit_code = exit_code
        self.output = output


@dataclass(frozen=True)
class Process:
    """One child. ``command`` is asked at each start, so that a start may differ from the last one."""

    name: str
    command: Callable[[], Sequence[str]]
    ready: Callable[[], Awaitable[bool]]
    """Asked every few milliseconds until True. Any ``HeadwaterError`` but ``Transient`` fails this start."""
    env: Mapping[str, str] = field(default_factory=dict)
    """In addition to the environment of the supervisor."""
    ready_within_s: float = 30.0
    tries_again_after: Set[int] = frozenset()
    """Exit codes after which the first start is tried again while there is time: it met what passes by itself."""
    stop_within_s: float = 10.0
    """Time after SIGTERM, then SIGKILL."""
    max_memory_bytes: int = 0
    """A child that holds more is told to end, and started again; 0 = no limit."""
    stop_rank: int = 0
    """Lower ranks stop first; one rank stops together."""


@dataclass
class _Child:
    process: Process
    running: asyncio.subprocess.Process
    restarts: int = 0
    watcher: asyncio.Task[None] | None = None


class Supervisor:
    """Children of this process. Use it from one event loop."""

    def __init__(
        self,
        logs: Path,
        on_change: Callable[[], None] | None = None,
        max_backoff_s: float = _MAX_BACKOFF_S,
        check_s: float = _CHECK_S,
    ) -> None:
        """``logs`` gets one file per child; ``on_change`` is called when a process id has changed.

        ``max_backoff_s`` bounds the pause before a child that keeps dying is started again; every ``check_s``
        seconds logs and memory are looked at.
        """
        self._check_s = check_s
        self._logs = logs
        self._max_backoff_s = max_backoff_s
        self._on_change = on_change or (lambda: None)
        self._children: dict[str, _Child] = {}
        self._log_begins: dict[str, int] = {}
        """Length of a child's log when it was last started."""
        self._is_stopping = False
        self._janitor: asyncio.Task[None] | None = None

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name, of those that run."""
        return {name: c.running.pid for name, c in self._children.items() if c.running.returncode is None}

    def restarts(self, name: str) -> int:
        """How often ``name`` has been started again."""
        return self._children[name].restarts

    async def start(self, *processes: Process) -> None:
        """Start ``processes`` together; return when all are ready. Raises ``ProcessFailed`` if one is not.

        From then on each is watched. After a failure call ``stop``.
        """
        if self._janitor is None:
            self._janitor = asyncio.create_task(self._keep_bounds())
        await together(*(self._start_first(process) for process in processes))

    async def run(self, process: Process) -> None:
        """Run a child that ends by itself (``ready`` is not asked). Raises ``ProcessFailed`` unless it ends
        with 0.
        """
        running = await self._spawn(process)
        try:
            async with asyncio.timeout(process.ready_within_s):
                code = await running.wait()
        except TimeoutError as error:
            raise self._failure(process, None, f"did not end within {process.ready_within_s:g} s") from error
        finally:
            _kill_group(running.pid)
        if code != 0:
            raise self._failure(process, code, f"ended with exit code {code}")

    async def stop(self) -> None:
        """Stop all children: rank by rank SIGTERM, SIGKILL after ``stop_within_s``. Safe to call twice."""
        self._is_stopping = True
        for child in self._children.values():
            if child.watcher is not None:
                child.watcher.cancel()
        ranks = sorted({child.process.stop_rank for child in self._children.values()})
        for rank in ranks:
            of_rank = [c for c in self._children.values() if c.process.stop_rank == rank]
            await asyncio.gather(*(_stop(child) for child in of_rank))
        if self._janitor is not None:
            self._janitor.cancel()

    async def _start_first(self, process: Process) -> None:
        child = _Child(process, await self._spawn(process))
        self._children[process.name] = child
        give_up = asyncio.get_running_loop().time() + process.ready_within_s
        while True:
            try:
                await self._wait_ready(child)
                break
            except ProcessFailed as error:
                is_late = asyncio.get_running_loop().time() >= give_up
                if is_late or error.exit_code not in process.tries_again_after:
                    raise
                log.warning("start is tried again", process=process.name, exit_code=error.exit_code)
            await asyncio.sleep(_FIRST_BACKOFF_S)
            child.running = await self._spawn(process)
            child.restarts += 1
        child.watcher = asyncio.create_task(self._watch(child))

    async def _wait_ready(self, child: _Child) -> None:
        process, running = child.process, child.running
        try:
            async with asyncio.timeout(process.ready_within_s):
                while True:
                    if running.returncode is not None:
                        code = running.returncode
                        raise self._failure(process, code, f"stopped while starting (exit code {code})")
                    with suppress(Transient):
                        if await process.ready():
                            return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            detail = f"was not ready within {process.ready_within_s:g} s"
            raise self._failure(process, None, detail) from error

    async def _watch(self, child: _Child) -> None:
        """Start the child again whenever it dies, sooner or later depending on how long it has lived."""
        clock = asyncio.get_running_loop().time
        name = child.process.name
        backoff = _FIRST_BACKOFF_S
        ready_at = clock()
        while True:
            code = await child.running.wait()
            if clock() - ready_at > _CALM_AFTER_S:
                backoff = _FIRST_BACKOFF_S
            _kill_group(child.running.pid)
            log.warning(
                "process died", process=name, exit_code=code, restarts=child.restarts, again_in_s=backoff
            )
            await asyncio.sleep(backoff)
            backoff = min(self._max_backoff_s, 2 * backoff)
            try:
                child.running = await self._spawn(child.process)
                child.restarts += 1
                self._on_change()
                await self._wait_ready(child)
            except Exception as error:
                # Whatever it is (no memory for a process, a full disk, a client's bug while the server is half
                # there): a watch that ends here would leave the child dead for good.
                log.warning(
                    "process not ready", process=name, error=(str(error) or repr(error)).splitlines()[0]
                )
                _kill_group(child.running.pid)
            else:
                log.info("process is back", process=name, pid=child.running.pid, restarts=child.restarts)
            ready_at = clock()

    async def _spawn(self, process: Process) -> asyncio.subprocess.Process:
        self._logs.mkdir(parents=True, exist_ok=True)
        # O_APPEND: the file may be cut short while the child writes.
        output = os.open(self._log_of(process), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log_begins[process.name] = os.fstat(output).st_size
        try:
            return await asyncio.create_subprocess_exec(
                *process.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **process.env},
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        finally:
            os.close(output)

    def _log_of(self, process: Process) -> Path:
        return self._logs / f"{process.name}.log"

    def _failure(self, process: Process, code: int | None, detail: str) -> ProcessFailed:
        """With the end of what the child has written since its last start: a log outlives many of them."""
        begin = self._log_begins.get(process.name, 0)
        try:
            data = self._log_of(process).read_bytes()
        except OSError:
            data = b""
        since = data[begin:] if len(data) >= begin else data  # it was cut short meanwhile
        text = since[-4000:].decode(errors="replace")
        return ProcessFailed(process.name, code, "\n".join(text.splitlines()[-12:]), detail)

    async def _keep_bounds(self) -> None:
        """Now and then: logs that are too long are cut, children that hold too much memory begin anew."""
        while True:
            await asyncio.sleep(self._check_s)
            for child in list(self._children.values()):
                limit, running = child.process.max_memory_bytes, child.running
                # One that is not watched yet is only just starting.
                if limit and child.watcher is not None and (held := resident_bytes(running.pid)) > limit:
                    log.warning("process too large", process=child.process.name, bytes=held, limit=limit)
                    with suppress(ProcessLookupError):
                        running.terminate()
            for path in self._logs.glob("*.log"):
                with suppress(OSError):
                    if path.stat().st_size > MAX_LOG_BYTES:
                        await asyncio.to_thread(cut_log, path)


async def together(*steps: Coroutine[Any, Any, None]) -> None:
    """Run ``steps`` at the same time; the first ``HeadwaterError`` cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except* HeadwaterError as failures:
        raise failures.exceptions[0] from None


def resident_bytes(pid: int) -> int:
    """Memory that a process holds (Linux); 0 when it cannot be told, or the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0


def cut_log(path: Path) -> None:
    """Move what a log holds to ``<path>.1``, the writer's open file staying the same."""
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    os.truncate(path, 0)


async def _stop(child: _Child) -> None:
    running = child.running
    if running.returncode is None:
        with suppress(ProcessLookupError):
            running.terminate()
        try:
            async with asyncio.timeout(child.process.stop_within_s):
                await running.wait()
        except TimeoutError:
            log.warning("process did not stop, killed", process=child.process.name, pid=running.pid)
    _kill_group(running.pid)
    await running.wait()


def _kill_group(pid: int) -> None:
    """SIGKILL for the process group that ``pid`` leads: what the child itself has started, too."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Runs in the child before its program: SIGKILL for it when the supervisor's thread ends, however it
    ends.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the supervisor died before the line above
