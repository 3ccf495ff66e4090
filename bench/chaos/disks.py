"""A disk that can be full: a small file system of the spool's own, or else a limit on the length of its files."""

from __future__ import annotations

import os
import resource
import subprocess
from contextlib import suppress
from pathlib import Path

_DISK_BYTES = 96 << 20
_BALLAST = "ballast"
_SHORTEST = 16
"""Longest file that the process may write while its disk is "full": no segment is so short."""


class SpoolDisk:
    """The disk under one collector's spool. ``way`` says how it gets full."""

    def __init__(self, folder: Path) -> None:
        """Mount a file system in memory on ``folder`` if this process may."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        options = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=0700", "tmpfs", str(folder)]
        self._is_mounted = (
            os.geteuid() == 0 and subprocess.run(options, capture_output=True, check=False).returncode == 0
        )

    @property
    def way(self) -> str:
        """How it gets full."""
        return "a full tmpfs" if self._is_mounted else "RLIMIT_FSIZE (no right to mount a small disk)"

    def fill(self, pid: int) -> None:
        """From now on no more can be written, by the process ``pid`` or by any process that uses the disk."""
        if not self._is_mounted:
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_SHORTEST, most))
            return
        descriptor = os.open(self._folder / _BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        block = bytes(1 << 16)
        try:
            with suppress(OSError):  # no space left: that is what is wanted
                while True:
                    os.write(descriptor, block)
        finally:
            os.close(descriptor)

    def clear(self, pid: int) -> None:
        """There is room again."""
        if self._is_mounted:
            (self._folder / _BALLAST).unlink(missing_ok=True)
            return
        with suppress(ProcessLookupError):
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))

    def remove(self) -> None:
        """Unmount; what was on it is gone."""
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self._folder)], capture_output=True, check=False)
