"""The watch over one worker: who makes no progress is noticed, and the process ends so that another one can begin.

Three watchers, each for what would stop the one before it: a task on the event loop judges the partitions; a thread
sees when the event loop itself no longer turns; a thread in C (``faulthandler``) sees when no Python runs at all,
because something holds the interpreter's lock. It ends the process with exit code 1, the others with ``EXIT_STUCK``.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

import structlog

from streams import metrics
from streams.exit_codes import EXIT_STUCK
from streams.partitions import Partitions
from streams.stacks import waiting_tasks
from streams.undelivered import Undelivered, ahead_of
from streams.vitals import Finding

log = structlog.get_logger(__name__)

STUCK_AFTER_SECONDS = 40.0
"""Without a sign of life. Noticing what the consumer does not deliver takes a quarter more, starting again some
seconds: together less than a minute."""
JOIN_FACTOR = 1.25
"""Joining the group may take longer: other members may have to time out first."""
_LOOK_WITHIN_SECONDS = 30.0
_BROKER_SEEN_SECONDS = 5.0
"""A broker that was last seen before this is away."""
_STDERR = 2

End = Callable[[Finding], None]


def end_process(finding: Finding) -> None:
    """Say who is stuck and what everybody waits for, and end at once: no clean-up may wait for a stuck part."""
    log.error("worker_stuck", who=finding.who, seconds=round(finding.seconds, 1), waits_for=finding.waits_for)
    faulthandler.dump_traceback(_STDERR, all_threads=True)
    for line in waiting_tasks():
        print(line, file=sys.stderr)
    sys.stderr.flush()
    os._exit(EXIT_STUCK)


class Heart:
    """Ends the process when ``beat`` is not called for ``limit`` seconds. Its thread needs no event loop."""

    def __init__(self, limit: float, end: End = end_process, *, backstop: bool = True) -> None:
        """``backstop``: arm the watcher in C, too; a process has only one."""
        self._limit = limit
        self._end = end
        self._backstop = backstop
        self._beat_at = time.monotonic()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Watch from now on."""
        self.beat()
        threading.Thread(target=self._watch, name="heart", daemon=True).start()

    def beat(self) -> None:
        """The event loop turns."""
        self._beat_at = time.monotonic()
        if self._backstop and not self._stopped.is_set():
            faulthandler.dump_traceback_later(self._limit * 1.25, exit=True, file=_STDERR)

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        if self._backstop:
            faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._stopped.wait(self._limit / 20):
            silent = time.monotonic() - self._beat_at
            if silent >= self._limit:
                self._end(Finding("event loop", silent, "the call in the main thread's stack"))
                return


class Watchdog:
    """Judges the partitions of one worker, from ``start`` to ``stop``."""

    def __init__(
        self,
        partitions: Partitions,
        kafka: str,
        is_member: Callable[[], bool],
        limit: float,
        end: End = end_process,
    ) -> None:
        """``is_member``: whether the worker belongs to its group. ``limit``: seconds without a sign of life."""
        self._partitions = partitions
        self._kafka = kafka
        self._is_member = is_member
        self._limit = limit
        self._tick = min(1.0, limit / 10)
        self._end = end
        self._heart = Heart(limit, end)
        self._undelivered = Undelivered()
        self._apart = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._broker_seen_at = time.monotonic()
        self.is_joining = False
        """To be told: from the moment on at which the worker wants to be a member of its group."""
        self.finding = Finding("", 0.0, "")
        """The worst, as of the last look."""

    @property
    def is_stuck(self) -> bool:
        """The process is about to end for it."""
        return self.finding.seconds >= self._limit

    def broker_seen(self) -> None:
        """To be told each second while the broker answers: else nothing can be delivered, and nobody can join."""
        self._broker_seen_at = time.monotonic()

    def start(self) -> None:
        """Watch from now on."""
        self._heart.start()
        self._tasks = [asyncio.create_task(self._judge()), asyncio.create_task(self._look())]

    def stop(self) -> None:
        """Watch no more. Safe to call twice."""
        self._heart.stop()
        for task in self._tasks:
            task.cancel()

    async def _judge(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(self._tick)
            self._heart.beat()
            now = time.monotonic()
            self.finding = self._worst(now - before)
            before = now
            metrics.STUCK.set(self.finding.seconds)
            if self.is_stuck:
                self._end(self.finding)

    def _worst(self, passed: float) -> Finding:
        partitions = self._partitions
        broker_answers = time.monotonic() - self._broker_seen_at < _BROKER_SEEN_SECONDS
        if not broker_answers:
            self._undelivered.forget()
        undelivered = self._undelivered.wait(passed, partitions.wanted, is_held_back=not partitions.has_room)
        # Taking partitions over has signs of life of its own: it may wait for a store that is away.
        may_judge = self.is_joining and broker_answers and not partitions.is_taking
        is_apart = may_judge and not (partitions.is_ready and self._is_member())
        self._apart = self._apart + passed if is_apart else 0.0
        apart = Finding("consumer group", self._apart / JOIN_FACTOR, "to be a member with its partitions")
        return max(partitions.finding(), undelivered, apart, key=lambda found: found.seconds)

    async def _look(self) -> None:
        """Ask the log, now and then, for what idle partitions wait for."""
        while True:
            await asyncio.sleep(self._limit / 4)
            wanted = self._partitions.wanted
            if not wanted:
                continue
            try:
                async with asyncio.timeout(_LOOK_WITHIN_SECONDS):
                    self._undelivered.note(wanted, await ahead_of(self._kafka, wanted))
            except Exception as error:
                # Whatever it is (a broker that goes away brings up more than KafkaError): look again the next time.
                log.warning("log_not_seen", error=repr(error))
                self._undelivered.forget()
