"""A share of a core for a process, by the kernel's CPU controller (control groups, version 1 or 2).

With a quarter of a core each, two workers leave a machine of two cores enough for the servers: what a second
worker adds can then be read off the clock, as if the servers were elsewhere.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.headwater import BenchFailed

_PERIOD_US = 20_000
"""Short, so that a process that has used its share does not sleep long."""
_VERSION_1 = Path("/sys/fs/cgroup/cpu")
_VERSION_2 = Path("/sys/fs/cgroup")


@contextmanager
def limited_to(pid: int, share: float) -> Iterator[None]:
    """Inside, all threads of ``pid`` together get at most ``share`` of one core.

    Raises ``BenchFailed`` where this user may not make control groups.
    """
    is_first = (_VERSION_1 / "cpu.cfs_quota_us").exists()
    parent = _VERSION_1 if is_first else _VERSION_2
    group = parent / f"headwater-bench-{secrets.token_hex(4)}"
    quota_us = int(_PERIOD_US * share)
    try:
        group.mkdir()
        if is_first:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        raise BenchFailed(f"no control group for a share of a core: {error}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # it has ended
            (parent / "cgroup.procs").write_text(str(pid))
        with suppress(OSError):
            os.rmdir(group)
