"""Who may send webhooks and postbacks for which site, and how that is shown. Read from a file by whoever wires us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from collector.webhooks.secrets import WebhookSecrets
from collector.webhooks.verified import WebhookSender


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """All of an installation."""

    public_url: str = ""
    """How senders call the collector: scheme, host, and the path before ``/webhooks`` if a proxy has one."""
    secrets: Mapping[tuple[str, WebhookSender], tuple[WebhookSecrets, ...]] = field(
        default_factory=dict, repr=False
    )
    """By site and sender. Several: two shops, each with its own; a request has to be of one of them."""
    postback_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """By site: secrets of which a postback must name one. A site that is not here wants none."""

    def sites_of(self, sender: WebhookSender) -> list[str]:
        """Sites for which ``sender`` may send."""
        return [site for site, its in self.secrets if its is sender]
