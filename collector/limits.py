"""Limits before work (OWASP ASVS 5.0: 2.4.1, 5.2.1, 5.2.3). Sizes are bytes unless they say characters."""

from __future__ import annotations

from typing import Any

from attribution.errors import Rejected
from collector.reasons import Refusal

MAX_TARGET = 65_535
"""Of the request line; 414 beyond it."""
MAX_HEADER_BYTES = 128 * 1024
"""Request line and headers together, a piece of the stream more or less; 431 beyond it."""
MAX_HEADERS = 100
"""Header lines, those after a chunked body included; 431 beyond it."""
MAX_PIPELINED = 32
"""Requests of one connection that may wait for their answers, a piece of the stream more or less."""
MAX_QUERY = 60_000
"""Characters of the pixel's query string."""
MAX_BODY = 1_000_000
MAX_DECOMPRESSED = 5_000_000
MAX_RATIO = 100
"""How many times larger than its gzip stream a body may be once it is over ``RATIO_FREE_BYTES``."""
RATIO_FREE_BYTES = 64 * 1024
MAX_BODIES = 128 * 1024 * 1024
"""Bodies that all connections together hold while they arrive and until they are answered; 503 beyond it."""
MAX_BATCH = 500
MAX_EVENT = 64 * 1024
MAX_DEPTH = 16
MAX_KEYS = 256
MAX_CONNECTIONS = 16_384
"""Or as many as the process may have open files; 503 beyond it."""
HEAD_SECONDS = 10.0
"""Time for a client to send request line and headers."""
BODY_SECONDS = 10.0
"""Time for a client to send its body."""
IDLE_SECONDS = 60.0
"""How long a connection is kept without a request."""
LINGER_SECONDS = 2.0
"""How long a refused client may go on sending before it must have read why."""
WRITE_SECONDS = 30.0
"""How long a client may let its answers lie before the connection is cut."""
_MAX_NETWORKS = 100_000


class RateLimit:
    """A token bucket per name (a client network, a write key): ``rate`` tokens a second, one second's worth at once.

    Kept as one number per name, the time at which its bucket is full again (the "generic cell rate
    algorithm"), so that a quiet one costs nothing and can be forgotten.
    """

    def __init__(self, rate: int) -> None:
        self._cost = 1.0 / rate if rate > 0 else 0.0
        self._full_at: dict[str, float] = {}

    def admits(self, name: str, now: float) -> bool:
        """Take a token of ``name`` at ``now`` (seconds of any steady clock); False if there is none."""
        if not self._cost:
            return True
        full_at = self._full_at.get(name, 0.0)
        if full_at <= now:
            if len(self._full_at) >= _MAX_NETWORKS:
                self._forget(now)
            self._full_at[name] = now + self._cost
            return True
        if full_at + self._cost > now + 1.0:
            return False
        self._full_at[name] = full_at + self._cost
        return True

    def admits_many(self, name: str, now: float, tokens: int) -> bool:
        """Take ``tokens``, of which all but the first are lent: else a large batch would wait for ever."""
        if not self.admits(name, now):
            return False
        if self._cost:
            self._full_at[name] += (tokens - 1) * self._cost
        return True

    def _forget(self, now: float) -> None:
        """Drop names whose bucket is full again; if all are busy, start afresh rather than grow."""
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        if len(self._full_at) >= _MAX_NETWORKS:
            self._full_at.clear()


def check_shape(value: Any) -> None:
    """Raise ``Rejected`` (``too_deep``, ``too_many_keys``) if a decoded JSON event is nested or wide beyond limits."""
    keys = 0
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                keys += len(item)
                below.extend(child for child in item.values() if isinstance(child, dict | list))
            elif isinstance(item, list):
                below.extend(child for child in item if isinstance(child, dict | list))
        if keys > MAX_KEYS:
            raise Rejected(Refusal.too_many_keys, f"An event may have {MAX_KEYS} keys, nested ones included.")
        if not below:
            return
        level = below
    raise Rejected(Refusal.too_deep, f"An event may be nested {MAX_DEPTH} levels deep.")
