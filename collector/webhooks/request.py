"""A webhook as its sender sent it: nothing decoded, nothing joined, nothing put right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from collector.webhooks.reasons import WebhookRefusal, refusal


class WebhookHeaders:
    """Header lines in their order; names are compared without case."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in lines:
            self._values.setdefault(name.lower(), []).append(value)

    def get_all(self, name: str) -> list[str]:
        """Values of every line called ``name`` (lower case)."""
        return self._values.get(name, [])

    def get(self, name: str) -> str | None:
        """The value of the only line called ``name`` (lower case); None if there is none.

        Raises ``Rejected('duplicate_header')`` if there are several, equal ones included: which of them a
        proxy in front of us believed cannot be known.
        """
        values = self.get_all(name)
        if len(values) > 1:
            raise refusal(WebhookRefusal.duplicate_header, f"Send {name} once.", name)
        return values[0] if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """One request. What HubSpot signs includes ``method`` and ``url``, so both must be the sender's own."""

    method: str
    """As sent: ``POST``."""
    url: str
    """In full as the sender called it, scheme, host and query included, percent codes as they came. Behind a
    proxy this is the configured public address plus path and query, never what a ``Host`` header says."""
    headers: WebhookHeaders
    body: bytes = field(repr=False)
    """The raw bytes, before anything read them."""
    peer: str = ""
    """Address of the sender, behind trusted proxies the one they vouch for."""
