"""The C library's allocator, told to keep what a worker's batches need over and over."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_KEPT_BYTES = 1 << 30
_STEP_BYTES = 16 << 20
_MAPPED_BYTES = 64 << 10


def keep_freed_memory() -> None:
    """Have freed memory stay with the process instead of going back to the system after every batch.

    A batch's rows and other small buffers are made anew for each batch: what the largest batch has needed, the next
    one needs again, and the system would clear every page of it once more. Only what has 64 KiB or more (a full
    record, a request with all rows of a batch) is mapped when it is made and unmapped when it is freed: among the
    others each would leave a hole of its own size, and the process would go on growing long after its largest batch.
    For programs that have not started threads yet. Without glibc it does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mallopt(_M_TOP_PAD, _STEP_BYTES)
    # Threads only carry rows to ClickHouse: heaps of their own would each keep a batch.
    mallopt(_M_ARENA_MAX, 1)
