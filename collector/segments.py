"""Spool segments: append-only files of checksummed frames. Blocking file work only; no event loop, no state.

File: 8 bytes of magic, then frames. Frame: length (u32), crc32 (u32) of what follows it, partition (u16), number of
hits (u16), then the hits as JSON objects joined by commas. A frame that a crash tore in two fails its checksum; it
was never acknowledged, and everything from there on is ignored.

A file that is being written ends in zeros: blocks laid out beforehand, so that a commit writes hits alone and not where
the file ends as well. That halves its processor time and its wait. Closing cuts them off; after a crash they stay, and
say nothing.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAGIC = b"HWSPOOL1"
SUFFIX = ".spool"
MAX_FRAME_HITS = 500
MAX_FRAME_BYTES = 256 * 1024
"""A frame is closed before it would grow larger; only a single hit may be larger."""
BLOCK_BYTES = 4096
MAX_LAID_BYTES = 1 << 18
"""The file is laid out for as much again as it holds, in whole blocks, and for no more than this."""
LARGEST_FRAME = 1 << 20
"""No frame is ever larger (an event has at most 64 KB); a length beyond it is damage."""

_HEAD = struct.Struct("<IIHH")
_CHECKED = struct.Struct("<HH")


class Damaged(Exception):
    """A frame that was durable no longer matches its checksum."""


class Frame(NamedTuple):
    """Hits of one partition, in the order in which they were accepted."""

    partition: int
    hits: int
    payload: bytes
    """JSON objects joined by commas."""


@dataclass(slots=True)
class Segment:
    """One file and what is known about it. Changed on the event loop only."""

    number: int
    path: Path
    created_at: float
    """Seconds since the epoch."""
    durable: int = 0
    """Bytes that are fsynced (or were found whole at the start): the part that may be read."""
    sent_once: int = 0
    """Bytes that have been sent at least once, or may have been by an earlier process."""
    is_damaged: bool = False
    """Bytes after ``durable`` are neither whole frames nor zeros: after a power cut, or the disk lost something."""
    offsets: dict[int, int] = field(default_factory=dict)
    """Last acknowledged Kafka offset by partition, in the log of the current broker."""


def segment_path(directory: Path, number: int) -> Path:
    """File of segment ``number``."""
    return directory / f"{number:012d}{SUFFIX}"


def find_segments(directory: Path) -> tuple[list[Segment], int]:
    """Segments left by an earlier process, oldest first, and how many bytes of torn tails are ignored."""
    segments, ignored = [], 0
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        if not path.stem.isdigit():
            continue
        with path.open("rb") as file:
            durable = _whole_bytes(file)
            torn = _torn_bytes(file, durable)
        ignored += torn
        segment = Segment(int(path.stem), path, path.stat().st_mtime, durable, durable, torn > 0)
        segments.append(segment)
    return segments, ignored


def _torn_bytes(file: BinaryIO, durable: int) -> int:
    """Bytes from ``durable`` to the end; 0 if all of them are zeros."""
    file.seek(durable)
    size, is_torn = 0, False
    while tail := file.read(MAX_LAID_BYTES):
        size += len(tail)
        is_torn = is_torn or tail.count(0) < len(tail)
    return size if is_torn else 0


def _whole_bytes(file: BinaryIO) -> int:
    """How far the file consists of whole frames."""
    end = 0
    if file.read(len(MAGIC)) == MAGIC:
        end = len(MAGIC)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, crc, partition, hits = _HEAD.unpack(head)
            if length > LARGEST_FRAME:
                break
            payload = file.read(length)
            if (
                len(payload) < length
                or zlib.crc32(payload, zlib.crc32(_CHECKED.pack(partition, hits))) != crc
            ):
                break
            end += _HEAD.size + length
    return end


def build_frames(hits: Mapping[int, Sequence[bytes]]) -> Iterator[bytes]:
    """Frames, as bytes, of encoded hits by partition."""
    for partition, payloads in hits.items():
        first = size = 0
        for index, payload in enumerate(payloads):
            if index > first and (size + len(payload) > MAX_FRAME_BYTES or index - first >= MAX_FRAME_HITS):
                yield _frame(partition, payloads[first:index])
                first, size = index, 0
            size += len(payload) + 1
        yield _frame(partition, payloads[first:])


def _frame(partition: int, payloads: Sequence[bytes]) -> bytes:
    payload = b",".join(payloads)
    crc = zlib.crc32(payload, zlib.crc32(_CHECKED.pack(partition, len(payloads))))
    return _HEAD.pack(len(payload), crc, partition, len(payloads)) + payload


def read_frames(path: Path, start: int, end: int, limit: int) -> tuple[list[Frame], int]:
    """Whole frames of the file from byte ``start`` (0 = beginning) up to ``end``, about ``limit`` bytes of them.

    Returns them and the byte after the last one. Raises ``Damaged``, ``OSError``.
    """
    start = max(start, len(MAGIC))
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(min(end - start, max(limit, LARGEST_FRAME + _HEAD.size)))
    frames: list[Frame] = []
    at = 0
    while len(data) - at >= _HEAD.size:
        length, crc, partition, hits = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(payload) < length:
            break
        if zlib.crc32(payload, zlib.crc32(_CHECKED.pack(partition, hits))) != crc:
            if frames:
                break  # what is whole first; the next call begins with the damage
            raise Damaged(f"{path.name} is damaged at byte {start}")
        frames.append(Frame(partition, hits, payload))
        at += _HEAD.size + length
        if at >= limit:
            break
    if not frames and start < end:
        raise Damaged(f"{path.name} is damaged at byte {start}")
    return frames, start + at


class SegmentWriter:
    """The file that is being written. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Create the file. Raises ``OSError``; nothing is left behind then."""
        self.path = path
        self.durable = 0
        self._laid = 0
        """So far the file reaches."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DSYNC | os.O_CLOEXEC, 0o600)
        try:
            self.write(MAGIC)
            _sync_directory(path.parent)
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def write(self, data: bytes) -> None:
        """Append and fsync. Raises ``OSError``; the file then ends after what is durable, and must be closed."""
        size, written = len(data), 0
        end = self.durable + size
        if end > self._laid:
            laid = end + min(end, MAX_LAID_BYTES)
            data += bytes(laid - end + -laid % BLOCK_BYTES)
        view = memoryview(data)
        try:
            # A disk that has room for the hits and not for the zeros is full the next time.
            while written < size:
                written += os.pwrite(self._file, view[written:], self.durable + written)
        except OSError:
            os.ftruncate(self._file, self.durable)
            raise
        self._laid = max(self._laid, self.durable + written)
        self.durable = end

    def close(self) -> None:
        """Close the file; what is durable stays so."""
        with suppress(OSError):  # zeros that stay say nothing
            os.ftruncate(self._file, self.durable)
        os.close(self._file)


def _sync_directory(directory: Path) -> None:
    """A new file survives a power cut only once its directory entry does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
