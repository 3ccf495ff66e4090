"""Valkey's append-only file as it was some seconds ago: copied while it runs, put back before a start."""

from __future__ import annotations

import shutil
from pathlib import Path

_AOF = "appendonlydir"
_TRIES = 20


class AppendOnlyFile:
    """The append-only file in Valkey's ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._live = folder / _AOF
        self._copy = folder / "copy-of-aof"
        self._is_wanted = False

    def copy(self) -> None:
        """Keep the state of this moment. Raises ``OSError`` if it cannot be caught between two rewrites."""
        manifest = next(self._live.glob("*.manifest"))
        for attempt in range(_TRIES):
            shutil.rmtree(self._copy, ignore_errors=True)
            before = manifest.read_bytes()
            try:
                shutil.copytree(self._live, self._copy)
            except (OSError, shutil.Error):  # a rewrite has just removed a file
                if attempt == _TRIES - 1:
                    raise
                continue
            # The same files before and after: what was copied belongs together, its last command may be cut short.
            if manifest.read_bytes() == before:
                return
        raise OSError("the append-only file is being rewritten all the time")

    def restore_at_next_start(self) -> None:
        """The next start begins with the copy. Valkey must be killed now: what it writes on is lost."""
        self._is_wanted = True

    def before_start(self) -> None:
        """To be called when Valkey is dead and about to be started."""
        if not self._is_wanted:
            return
        self._is_wanted = False
        shutil.rmtree(self._live)
        self._copy.rename(self._live)
