"""What answers at which path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from collector.requests import Request
from collector.responses import Response

Handler = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """What answers at a path."""

    methods: tuple[str, ...]
    endpoint: str
    """Its name in metrics: paths that mean the same share one."""
    handler: Handler
