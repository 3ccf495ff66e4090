"""Facts for the tests of conversions and of the ledger: every field has a harmless default."""

from __future__ import annotations

from typing import Any

import msgspec

from attribution.conversions import ConversionFact

NOON = 1_700_049_600_000
"""2023-11-15 12:00:00 UTC in epoch milliseconds."""

_FACT = ConversionFact(
    conversion_id="ab" * 16,
    site="site",
    type="purchase",
    order_id="o1",
    visitor_id="v1",
    event_id="e1",
    occurred_at=NOON,
    received_at=NOON,
    value_minor=None,
    currency="USD",
)


def fact(**fields: Any) -> ConversionFact:
    """One report of a conversion at noon, without a value unless one is given."""
    return msgspec.structs.replace(_FACT, **fields)
