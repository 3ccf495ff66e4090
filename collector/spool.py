"""The spool: hits become durable here, many with one fsync, before anybody is answered. Each topic has its own; what is
said of hits holds for the records of any of them.

All state belongs to the event loop; one thread does the file work, one group of hits at a time. Producer and spool
meet in the list of segments: the producer reads files up to ``Segment.durable`` and releases segments from the front.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import queue
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn

import structlog

from attribution.errors import Misconfigured, Transient
from collector.metrics import TopicMetrics
from collector.segments import (
    MAGIC,
    Segment,
    SegmentWriter,
    build_frames,
    find_segments,
    segment_path,
)

COMMIT_SECONDS = 0.002
"""Shortest time from one fsync to the next: under load a group is what came within it, at idle nobody waits."""
SEGMENT_BYTES = 8 << 20
SEGMENT_SECONDS = 30.0
"""A segment is closed at this size or age, so that it can be released as a whole."""
DAMAGED_SUFFIX = ".damaged"
_FRAME_OVERHEAD = 16

log = structlog.get_logger("collector.spool")


class _Job(NamedTuple):
    """One commit for the file thread."""

    hits: dict[int, list[bytes]]
    hit_count: int
    writer: SegmentWriter | None
    path: Path | None
    """Where to begin a new segment; None = go on with ``writer``."""
    group: asyncio.Future[None]


class Spool:
    """Durable queue of hits in ``directory``, bounded by ``max_bytes``."""

    def __init__(self, directory: Path, max_bytes: int, metrics: TopicMetrics) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.segments: list[Segment] = []
        """Oldest first. The last one may still grow."""
        self._metrics = metrics
        self._loop: asyncio.AbstractEventLoop
        self._hits: dict[int, list[bytes]] = {}
        self._pending_count = self._pending_bytes = self._committing_bytes = 0
        self._stored_bytes = 0
        self._refused_bytes = 1
        """What was refused last for want of room."""
        self._group: asyncio.Future[None]
        self._committing: asyncio.Future[None] | None = None
        self._is_scheduled = False
        self._last_commit = 0.0
        self._next_number = 1
        self._writer: SegmentWriter | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        self._grown = asyncio.Event()
        self._lock_file = -1
        self.error = ""
        """Why the last write failed; "" while writing works."""

    async def open(self) -> None:
        """Take the folder over and find what an earlier process left. Raises ``Misconfigured`` if it cannot."""
        self._loop = asyncio.get_running_loop()
        self._group = self._loop.create_future()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock_file = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.segments, ignored = find_segments(self.directory)
        except BlockingIOError as error:
            raise Misconfigured(
                f"Another collector uses the spool {self.directory}.", "Give each collector its own folder."
            ) from error
        except OSError as error:
            raise Misconfigured(
                f"The spool {self.directory} cannot be used ({error}).",
                "Make it a folder this process can write.",
            ) from error
        if self.segments:
            self._next_number = self.segments[-1].number + 1
            log.info("spool_found", segments=len(self.segments), torn_bytes_ignored=ignored)
        self._stored_bytes = sum(segment.durable for segment in self.segments)
        self._thread.start()
        self._grown.set()

    @property
    def stored_bytes(self) -> int:
        """Bytes of all segments, released ones excluded."""
        return self._stored_bytes

    @property
    def is_full(self) -> bool:
        """True when hits are being refused for want of room: what was refused last would be refused again."""
        return self._used_bytes + self._refused_bytes > self.max_bytes

    @property
    def _used_bytes(self) -> int:
        return self._stored_bytes + self._committing_bytes + self._pending_bytes

    def oldest_seconds(self, now: float) -> float:
        """Age of the oldest segment that holds hits, 0 if there is none. ``now``: seconds since the epoch."""
        for segment in self.segments:
            if segment.durable > len(MAGIC):
                return max(0.0, now - segment.created_at)
        return 0.0

    def append(self, partition: int, hit: bytes) -> asyncio.Future[None]:
        """Take an encoded hit; await the result before answering. Raises ``Transient`` when the spool is full.

        The result raises ``Transient`` if the hit could not be made durable.
        """
        size = len(hit) + _FRAME_OVERHEAD
        if self._stored_bytes + self._committing_bytes + self._pending_bytes + size > self.max_bytes:
            self._refuse(size)
        self._pending_bytes += size
        self._pending_count += 1
        if (hits := self._hits.get(partition)) is None:
            hits = self._hits[partition] = []
        hits.append(hit)
        if not self._is_scheduled:
            self._schedule()
        return self._group

    def append_all(self, hits: Iterable[tuple[int, bytes]]) -> asyncio.Future[None]:
        """Like ``append`` for several hits that become durable together, or are refused together."""
        pairs = list(hits)
        size = sum(len(hit) + _FRAME_OVERHEAD for _, hit in pairs)
        if self._used_bytes + size > self.max_bytes:
            self._refuse(size)
        for partition, hit in pairs:
            self.append(partition, hit)
        return self._group

    def _refuse(self, size: int) -> NoReturn:
        self._refused_bytes = size
        raise Transient("the spool is full")

    def probe(self) -> None:
        """After a failed write: try again without waiting for a hit, so that readiness can come back."""
        if self.error and not self._is_scheduled:
            self._schedule()

    async def grown(self) -> None:
        """Wait until something became durable since the last call."""
        await self._grown.wait()
        self._grown.clear()

    def wake(self) -> None:
        """Let the waiting reader look again."""
        self._grown.set()

    def release(self, segment: Segment) -> None:
        """Forget the oldest segment: everything in it is safe elsewhere. Raises ``OSError``.

        A damaged file stays for a person to look at, under a name that no start reads.
        """
        if segment.is_damaged:
            segment.path.rename(segment.path.with_suffix(DAMAGED_SUFFIX))
        else:
            segment.path.unlink(missing_ok=True)
        self.segments.remove(segment)
        self._stored_bytes -= segment.durable

    def cut(self, segment: Segment, durable: int) -> None:
        """Read a damaged segment, which may no longer grow, no further than ``durable``."""
        segment.is_damaged = True
        self._stored_bytes -= segment.durable - durable
        segment.durable = durable

    def close_active(self) -> None:
        """Stop appending to the newest segment, unless a commit is running. The next hit begins a new one."""
        if self._writer is not None and self._committing is None:
            self._writer.close()
            self._writer = None

    def is_active(self, segment: Segment) -> bool:
        """True while ``segment`` may still grow."""
        return self._writer is not None and segment.path == self._writer.path

    async def close(self) -> None:
        """Make durable what is pending, then let go of the folder."""
        while self._pending_count or self._committing is not None:
            group = self._committing or self._group
            await asyncio.wait([group])
        self.close_active()
        self._jobs.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        os.close(self._lock_file)

    def _schedule(self) -> None:
        if self._committing is not None:
            return
        self._is_scheduled = True
        wait = self._last_commit + COMMIT_SECONDS - self._loop.time()
        if wait <= 0:
            self._loop.call_soon(self._commit)
        else:
            self._loop.call_later(wait, self._commit)

    def _commit(self) -> None:
        """Hand everything that is pending to the file thread as one group."""
        self._last_commit = self._loop.time()
        path = None
        if self._writer is None or self._is_due(self.segments[-1]):
            path = segment_path(self.directory, self._next_number)
            self._next_number += 1
        self._committing = self._group
        job = _Job(self._hits, self._pending_count, self._writer, path, self._group)
        self._jobs.put(job)
        self._committing_bytes = self._pending_bytes
        self._group = self._loop.create_future()
        self._hits = {}
        self._pending_count = self._pending_bytes = 0

    def _is_due(self, segment: Segment) -> bool:
        return segment.durable > SEGMENT_BYTES or time.time() - segment.created_at > SEGMENT_SECONDS

    def _work(self) -> None:
        """The file thread."""
        while (job := self._jobs.get()) is not None:
            writer, failure = job.writer, None
            started = time.perf_counter()
            try:
                if job.path is not None:
                    if writer is not None:
                        writer.close()
                        writer = None
                    writer = SegmentWriter(job.path)
                assert writer is not None  # noqa: S101 - the loop gives a path whenever there is no writer
                writer.write(b"".join(build_frames(job.hits)))
            except Exception as error:  # whatever it is, requests wait for an answer and others will come
                failure = error
                if writer is not None:
                    with contextlib.suppress(OSError):
                        writer.close()
                    writer = None
            took = time.perf_counter() - started
            self._loop.call_soon_threadsafe(self._committed, job, writer, failure, took)

    def _committed(
        self, job: _Job, writer: SegmentWriter | None, failure: Exception | None, took: float
    ) -> None:
        """Back on the loop: answer the group, wake the producer, begin the next commit."""
        self._committing = None
        self._committing_bytes = 0
        self._is_scheduled = False
        self._writer = writer
        if writer is not None:
            if job.path is not None:
                self.segments.append(Segment(self._next_number - 1, writer.path, time.time()))
            segment = self.segments[-1]
            self._stored_bytes += writer.durable - segment.durable
            segment.durable = writer.durable
            self._metrics.committed(job.hit_count, took)
            if self.error:
                log.info("spool_writes_again")
                self.error = ""
            if not job.group.done():  # a request that is cancelled cancels what it awaits
                job.group.set_result(None)
            self._grown.set()
        else:
            if not self.error:
                log.error("spool_write_failed", error=str(failure))
            self.error = str(failure)
            if not job.group.done():
                job.group.set_exception(Transient(f"the spool cannot be written: {failure}"))
                job.group.exception()  # seen, even if every requester is gone
        if self._pending_count:
            self._schedule()
