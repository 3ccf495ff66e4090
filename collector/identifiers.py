"""New ids: UUIDv7 for events, random ids for visitors, and the first-party cookie that keeps the latter."""

from __future__ import annotations

import os
import re
import secrets

COOKIE_MAX_AGE = 400 * 86_400
"""Seconds; browsers keep no cookie longer than 400 days."""

_COOKIE_VALUE = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_RAND_B = (1 << 62) - 1


def new_event_id(now_ms: int) -> str:
    """A UUIDv7 (RFC 9562): 48 bits of epoch milliseconds, then random bits."""
    noise = int.from_bytes(os.urandom(10))
    number = now_ms << 80 | 7 << 76 | (noise >> 62 & 0xFFF) << 64 | 2 << 62 | noise & _RAND_B
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_visitor_id() -> str:
    """128 random bits in hex: says nothing about the browser it is given to."""
    return secrets.token_hex(16)


class VisitorCookie:
    """The first-party cookie. ``secure`` adds the ``__Host-`` prefix that binds it to this host and to HTTPS."""

    def __init__(self, secure: bool) -> None:
        self.name = "__Host-hw_vid" if secure else "hw_vid"
        self._prefix = self.name + "="
        self._attributes = f"; Max-Age={COOKIE_MAX_AGE}; Path=/; HttpOnly; SameSite=Lax" + (
            "; Secure" if secure else ""
        )

    def read(self, header: str | None) -> str:
        """The visitor id in a ``Cookie`` header, or "" if there is none that we could have written."""
        if not header or self._prefix not in header:
            return ""
        for part in header.split(";"):
            part = part.strip()
            if part.startswith(self._prefix):
                value = part[len(self._prefix) :]
                return value if _COOKIE_VALUE.fullmatch(value) else ""
        return ""

    def write(self, visitor_id: str) -> tuple[str, str]:
        """The ``Set-Cookie`` header for ``visitor_id``."""
        return ("set-cookie", f"{self._prefix}{visitor_id}{self._attributes}")
