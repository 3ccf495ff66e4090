"""Errors whose type says what to do.

HeadwaterError
├── Transient      try again later (``retry_after`` seconds)
├── Rejected       the input is wrong: keep it with ``reason``; ``field`` names the culprit
└── Misconfigured  a person must change a setting; ``hint`` says which
"""

from __future__ import annotations


class HeadwaterError(Exception):
    """Base of every error that Headwater raises on purpose."""


class Transient(HeadwaterError):
    """A dependency is away; the same call may work after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Rejected(HeadwaterError):
    """Input that can never be processed as it is.

    ``reason`` is a short snake_case word for counters, ``field`` the offending field ("" if none),
    ``message`` the remedy for a person.
    """

    def __init__(self, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


class Misconfigured(HeadwaterError):
    """Wrong settings; ``hint`` is one line that says what to change."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.hint = hint
