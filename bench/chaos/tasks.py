"""What every task of a process waits for, told in its log at SIGUSR1: for a system that does not recover."""

from __future__ import annotations

import signal
import sys

from streams.stacks import waiting_tasks


def tell_on_signal() -> None:
    """Install the handler."""
    signal.signal(signal.SIGUSR1, lambda *_: _tell())


def _tell() -> None:
    for line in waiting_tasks():
        print(line, file=sys.stderr)
    sys.stderr.flush()
