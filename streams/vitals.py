"""Signs of life: what a piece of work is doing, since when, and whether it still may.

Three things tell a partition that is stuck from one that waits: it has something to do; nothing of it began or ended
for a while; and no call to Redis, ClickHouse or Kafka is under way that still has time by its own limits. Such a call
ends by itself, and is repeated while its service is away: whoever waits for an absent store is not stuck.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import NamedTuple, Self

CALL_SECONDS = 50.0
"""Longer than any call takes by its own limits: to Redis 40 s, to Kafka 40 s (``streams.producer.SEND_SECONDS``), for a
journal 20 s, to ClickHouse 45 s (``sinks.writer``). With the watchdog's tick and a new process that is a minute."""


class Finding(NamedTuple):
    """Who made no progress for how many seconds, and what it waits for."""

    who: str
    seconds: float
    waits_for: str


class Vitals:
    """The signs of life of ``who``. Use from one event loop."""

    def __init__(self, who: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.who = who
        self._clock = clock
        self._doing = ""
        self._since = clock()
        self._calls: dict[Calling, None] = {}

    def does(self, what: str) -> None:
        """``what`` begins, and what was before has ended; "" = there is nothing to do."""
        self._doing, self._since = what, self._clock()

    @property
    def is_idle(self) -> bool:
        """Nothing is to be done."""
        return not self._doing

    def finding(self) -> Finding:
        """How it is: 0 seconds while there is nothing to do, or a call under way has time left."""
        now = self._clock()
        if not self._doing:
            return Finding(self.who, 0.0, "")
        if not self._calls:
            return Finding(self.who, now - self._since, self._doing)
        overdue = [call for call in self._calls if now - call.since > call.within]
        if not overdue:
            return Finding(self.who, 0.0, self._doing)
        longest = min(overdue, key=lambda call: call.since)
        return Finding(self.who, now - longest.since, f"{self._doing}: {longest.what}")

    def begin(self, call: Calling) -> None:
        """A call to the outside begins."""
        call.since = self._clock()
        self._calls[call] = None

    def end(self, call: Calling) -> None:
        """It has ended, well or not: a sign of life either way."""
        self._calls.pop(call, None)
        self._since = self._clock()


_current: ContextVar[Vitals | None] = ContextVar("vitals", default=None)


def watched_as(vitals: Vitals) -> None:
    """From now on this task, and those that it starts, show their signs of life in ``vitals``."""
    _current.set(vitals)


class Calling:
    """``with Calling(what, within):`` a call to the outside that ends after ``within`` seconds by its own limits."""

    __slots__ = ("_vitals", "since", "what", "within")

    def __init__(self, what: str, within: float) -> None:
        self.what = what
        self.within = within
        self.since = 0.0
        self._vitals = _current.get()

    def __enter__(self) -> Self:
        if self._vitals is not None:
            self._vitals.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._vitals is not None:
            self._vitals.end(self)
