"""How long the names of a sender's events are remembered: longer than it tries, and longer where nothing signs a time.

By the check that let the request in (``collector.webhooks.deliveries`` has each sender's habits and their sources).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from attribution.deals.delivery import POSTBACK

UNSTAMPED = timedelta(days=30)
"""Nothing but the names refuses an old request of a sender that signs no stamp, so they are kept longer."""

REMEMBER_FOR: Mapping[str, timedelta] = MappingProxyType(
    {
        "hubspot_v1": UNSTAMPED,
        "hubspot_v2": UNSTAMPED,
        "hubspot_v3": timedelta(days=2),
        "salesforce_soap": UNSTAMPED,
        "salesforce_data360": UNSTAMPED,
        "pipedrive_basic": UNSTAMPED,
        "stripe_v1": timedelta(days=4),
        "shopify_hmac": UNSTAMPED,
        "standard_v1": timedelta(days=7),
        POSTBACK: UNSTAMPED,
    }
)


def remember_for(scheme: str) -> timedelta:
    """Of a check that nobody knows (any more) the longest."""
    return REMEMBER_FOR.get(scheme, UNSTAMPED)
