"""HTTP content encodings that ClickHouse's interface knows: gzip, deflate, zstd, lz4 (frame format)."""

from __future__ import annotations

import zlib
from typing import Protocol

import lz4.frame
from backports import zstd

from runtime.embedded.engine_sql import Refused

_PREFERENCE = ("lz4", "zstd", "gzip", "deflate")
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_GZIP = 16 + zlib.MAX_WBITS


class _Decompressor(Protocol):
    """What the three libraries have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def pick_encoding(accepted: str) -> str:
    """The cheapest encoding that the header ``Accept-Encoding`` allows, "" if none."""
    offered = {}
    for part in accepted.split(","):
        name, _, quality = part.strip().partition(";")
        offered[name.strip().lower()] = quality.replace(" ", "") not in ("q=0", "q=0.0")
    return next((name for name in _PREFERENCE if offered.get(name)), "")


def compress(data: bytes, encoding: str) -> bytes:
    """``data`` in ``encoding``, one of those that ``pick_encoding`` gives."""
    if encoding == "lz4":
        return bytes(lz4.frame.compress(data))
    if encoding == "zstd":
        return zstd.compress(data, 1)
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP if encoding == "gzip" else zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """The plain bytes, several frames one after another included.

    Raises ``Refused`` for an unknown encoding, broken or cut-off data, and more than ``limit`` bytes.
    """
    pieces: list[bytes] = []
    left = limit
    rest = data
    try:
        while rest:
            frame = _decompressor(encoding)
            piece = frame.decompress(rest, left + 1)
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise Refused(307, "TOO_MANY_BYTES", f"Body over {limit} bytes after decompression")
            if not frame.eof:
                raise Refused(354, "ZLIB_INFLATE_FAILED", f"The {encoding} body ends in the middle")
            rest = frame.unused_data or b""
    except (zlib.error, zstd.ZstdError, RuntimeError) as error:
        raise Refused(354, "ZLIB_INFLATE_FAILED", f"The body is not {encoding}: {error}") from error
    return b"".join(pieces)


def _decompressor(encoding: str) -> _Decompressor:
    match encoding.strip().lower():
        case "gzip" | "deflate":
            return zlib.decompressobj(_GZIP_OR_ZLIB)
        case "zstd":
            return zstd.ZstdDecompressor()
        case "lz4":
            frame: _Decompressor = lz4.frame.LZ4FrameDecompressor()
            return frame
        case other:
            raise Refused(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown Content-Encoding '{other}'")
