"""Many JSON objects of one partition as few Kafka values: a record costs the same whether it holds one or a hundred."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

ENVELOPE_BYTES = 256 * 1024
"""An envelope is closed before it would grow larger; only a single object may be larger."""


def envelopes(values: Iterable[bytes]) -> Iterator[bytes]:
    """``values`` (JSON objects) in their order, as JSON arrays."""
    part: list[bytes] = []
    size = 0
    for value in values:
        if part and size + len(value) > ENVELOPE_BYTES:
            yield _array(part)
            part, size = [], 0
        part.append(value)
        size += len(value) + 1
    if part:
        yield _array(part)


def _array(values: list[bytes]) -> bytes:
    return b"[" + b",".join(values) + b"]"
