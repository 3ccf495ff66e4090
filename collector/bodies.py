"""Request bodies within limits: declared size first, then streaming, then streaming decompression."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from contextlib import contextmanager

from attribution.errors import Rejected
from collector.limits import (
    BODY_SECONDS,
    MAX_BODIES,
    MAX_BODY,
    MAX_DECOMPRESSED,
    MAX_RATIO,
    RATIO_FREE_BYTES,
)
from collector.reasons import Refusal

_MEDIA_TYPES = ("application/json", "text/plain")
_GZIP = 16 + zlib.MAX_WBITS
_TOO_LARGE = f"Send at most {MAX_BODY} bytes, {MAX_DECOMPRESSED} after decompression."


def check_declared(content_type: str, content_encoding: str, content_length: str) -> bool:
    """Refuse by headers alone, before a byte is read. Returns True if the body is gzip. Raises ``Rejected``."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in _MEDIA_TYPES:
        raise Rejected(
            Refusal.unsupported_media_type,
            "Send application/json, or text/plain with JSON in it.",
            "content-type",
        )
    encoding = content_encoding.strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise Rejected(Refusal.unsupported_media_type, "Send the body plain or as gzip.", "content-encoding")
    _check_length(content_length)
    return encoding == "gzip"


def check_plain(headers: Mapping[str, str]) -> None:
    """The same for a body whose bytes are signed: as large, of any media type, not compressed. Raises ``Rejected``."""
    if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise Rejected(Refusal.unsupported_media_type, "Send the body plain.", "content-encoding")
    _check_length(headers.get("content-length", ""))


def _check_length(content_length: str) -> None:
    if content_length.isdigit() and int(content_length[:20]) > MAX_BODY:
        raise Rejected(Refusal.body_too_large, _TOO_LARGE)


class BodyRoom:
    """Memory for the bodies of all connections together: thousands of clients at their limit would be too many."""

    def __init__(self, size: int = MAX_BODIES) -> None:
        self.size = size
        self.taken = 0
        """Bytes of bodies that are held at the moment."""

    @contextmanager
    def claim(self) -> Iterator[Callable[[int], None]]:
        """A function that takes room for so many bytes more, given back at the end of the block.

        It raises ``Rejected('too_busy')`` when there is not so much room.
        """
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self.taken + size > self.size:
                raise Rejected(Refusal.too_busy, "Too much is being sent at the moment; send it again later.")
            self.taken += size
            held += size

        try:
            yield hold
        finally:
            self.taken -= held


async def read_body(chunks: AsyncIterable[bytes], is_gzip: bool, hold: Callable[[int], None]) -> bytes:
    """The whole body, decompressed. Raises ``Rejected`` as soon as a limit is passed, or what ``hold`` raises.

    ``hold`` is told of each part's size before the next is read.
    """
    gunzip = Gunzip() if is_gzip else None
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in chunks:
                size += len(chunk)
                if size > MAX_BODY:
                    raise Rejected(Refusal.body_too_large, _TOO_LARGE)
                part = gunzip.feed(chunk) if gunzip else chunk
                hold(len(part))
                parts.append(part)
    except TimeoutError as error:
        raise Rejected(Refusal.slow_body, f"Send the body within {BODY_SECONDS:.0f} seconds.") from error
    if gunzip:
        gunzip.finish()
    return b"".join(parts)


class Gunzip:
    """Streaming decompression that stops at the first byte too many."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP)
        self._in = 0
        self._out = 0

    def feed(self, chunk: bytes) -> bytes:
        """Decompressed bytes of ``chunk``. Raises ``Rejected``: ``gzip_bomb``, ``body_too_large``, ``bad_encoding``."""
        self._in += len(chunk)
        allowed = max(RATIO_FREE_BYTES, self._in * MAX_RATIO)
        room = min(allowed, MAX_DECOMPRESSED) - self._out
        try:
            data = self._stream.decompress(chunk, room + 1)
        except zlib.error as error:
            raise Rejected(Refusal.bad_encoding, "The gzip stream is broken.", "content-encoding") from error
        self._out += len(data)
        if self._stream.unused_data:
            raise Rejected(Refusal.bad_encoding, "Bytes follow the gzip stream.", "content-encoding")
        if len(data) > room:
            if allowed < MAX_DECOMPRESSED:
                raise Rejected(
                    Refusal.gzip_bomb, f"The body grows more than {MAX_RATIO} times; send it plain."
                )
            raise Rejected(Refusal.body_too_large, _TOO_LARGE)
        return data

    def finish(self) -> None:
        """Raise ``Rejected('bad_encoding')`` if the stream did not end."""
        if not self._stream.eof:
            raise Rejected(Refusal.bad_encoding, "The gzip stream ends too early.", "content-encoding")
