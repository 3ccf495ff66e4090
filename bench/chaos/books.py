"""A reader who looks at the books all the time: they must balance at every moment, not only at the end."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from attribution.errors import HeadwaterError, Transient
from sinks.checks import check_books
from sinks.client import connect

EVERY_SECONDS = 0.2
SHARE = 0.2
"""Most of its time that the reader may scan: a ledger of millions of entries takes seconds to scan."""


@dataclass
class BooksReader:
    """Polls the ledger with one scan, every ``EVERY_SECONDS`` or as often as ``SHARE`` allows, on a thread of its own.

    A context manager.
    """

    url: str
    database: str
    polls: int = 0
    """Scans that were answered."""
    away: int = 0
    """Scans that were not: the engine was dead."""
    unbalanced: list[str] = field(default_factory=list)
    """What a reader saw that must never be seen."""
    failure: str = ""
    """Why reading ended before its time."""

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="books", daemon=True)

    def __enter__(self) -> BooksReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _read(self) -> None:
        client = connect(self.url, self.database, timeout=10)
        while not self._stop.is_set():
            began = time.monotonic()
            pause = EVERY_SECONDS
            try:
                check = check_books(client, self.database, limit=5)
            except Transient:
                self.away += 1
            except HeadwaterError as error:
                self.failure = str(error)
                return
            else:
                self.polls += 1
                pause = max(pause, (time.monotonic() - began) / SHARE)
                self.unbalanced.extend(f"{f.subject}: {f.detail}" for f in check.findings)
            self._stop.wait(max(0.0, began + pause - time.monotonic()))
