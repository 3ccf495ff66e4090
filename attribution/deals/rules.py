"""What an installation may say about its deals. Everything has a default."""

from __future__ import annotations

import msgspec

from attribution.deals.stages import Stage, StageMap


class DealRules(msgspec.Struct, frozen=True):
    """How objects become conversions. Part of what decides bookings: the same facts under other rules book anew."""

    default_currency: str = "USD"
    """ISO 4217; of amounts whose currency nobody ever tells."""
    stages: StageMap = StageMap()
    types: dict[Stage, str] = msgspec.field(
        default_factory=lambda: {
            Stage.lead: "lead",
            Stage.mql: "mql",
            Stage.sql: "sql",
            Stage.opportunity: "opportunity",
            Stage.won: "deal_won",
        }
    )
    """Stage to the conversion type that it makes; a stage that is left out makes none."""
    purchase_type: str = "purchase"
    """Conversion type of orders, payments, and the first paid invoice of a subscription."""
    renewal_type: str = "renewal"
    """Conversion type of a subscription's later paid invoices."""
    sources: tuple[str, ...] = (
        *("shopify", "standard", "stripe", "salesforce", "hubspot", "pipedrive", "postback"),
    )
    """Of two senders that tell the same order, the first of these is believed."""
