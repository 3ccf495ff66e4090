"""What becomes of one line of an import, the reading of lines, and ids that make an import safe to repeat."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from attribution.errors import Misconfigured

MAX_LINE_BYTES = 65_536
"""A longer line is refused, so that a binary file given by mistake does not fill the memory."""
REMEMBERED_LINES = 500_000
"""Identical lines are counted among this many latest different ones; identical lines stand close together."""


@dataclass(frozen=True)
class Parsed:
    """A line that is a hit: its fields by the contract's names."""

    number: int
    raw: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Dropped:
    """A well-formed line left out on purpose."""

    number: int
    reason: str


@dataclass(frozen=True)
class Refused:
    """A line that cannot be used: which field is wrong, and what to do about it."""

    number: int
    raw: str
    reason: str
    remedy: str
    field: str = ""


Outcome = Parsed | Dropped | Refused


@dataclass
class LineReader:
    """Lines of one file, plain or gzipped, with the place reached in the file (compressed) for progress."""

    path: Path
    size: int = 0
    _file: IO[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            self.size = self.path.stat().st_size
            with self.path.open("rb"):
                pass
        except OSError as error:
            raise Misconfigured(
                f"Cannot read {self.path}: {error.strerror}.", "Give the path of a file."
            ) from error

    def tell(self) -> int:
        """Bytes of the file read so far; its size when all has been read."""
        return self._file.tell() if self._file and not self._file.closed else self.size

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(number from 1, line without its end). A line too long comes cut, ``MAX_LINE_BYTES`` + 1 long.

        Raises ``Misconfigured`` when a gzip file is damaged.
        """
        with self.path.open("rb") as self._file:
            is_gzip = self._file.read(2) == b"\x1f\x8b"
            self._file.seek(0)
            stream: IO[bytes] | gzip.GzipFile = self._file
            if is_gzip:
                stream = gzip.GzipFile(fileobj=self._file)
            number = 0
            try:
                while line := stream.readline(MAX_LINE_BYTES + 1):
                    number += 1
                    rest = line
                    while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                        rest = stream.readline(MAX_LINE_BYTES + 1)
                    yield number, line.rstrip(b"\r\n")
            except (OSError, EOFError, zlib.error) as error:
                hint = f"Lines 1 to {number} have been read; repeat with a whole file, nothing counts twice."
                raise Misconfigured(f"{self.path} is damaged: {error}.", hint) from error


class LineIds:
    """Event ids made of what a line says: the same line gives the same id in every import of the file.

    Identical lines of one file are different hits: the n-th has ``n`` in its id.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def next_id(self, raw: bytes) -> str:
        """The id of the next line that reads ``raw``."""
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        count = self._counts.pop(digest, 0) + 1
        self._counts[digest] = count
        if len(self._counts) > REMEMBERED_LINES:
            self._counts.popitem(last=False)
        return f"{self._prefix}-{digest.hex()}" + (f"-{count}" if count > 1 else "")
